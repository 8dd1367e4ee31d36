"""Streams: stdout that is closed, full, ASCII or read by nobody; files that cannot be; one message, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from kit.cli.app import Group
from kit.core.errors import InputError

HOME = Path(__file__).parents[2]


def call(*arguments: str, shell: str = "") -> tuple[int, str, str]:
    """Run a command, its streams redirected as in a shell: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "kit", *arguments]
    done = subprocess.run(["bash", "-c", f'"$@" {shell}', "bash", *command], cwd=HOME, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("arguments", [["models", "svm"], ["models", "svm", "--json"], ["--help"]])
def test_a_command_whose_stdout_is_closed_does_its_work(arguments):
    code, _, err = call(*arguments, shell=">&-")
    assert code == 0 and "Traceback" not in err


def test_a_command_whose_streams_are_all_closed_keeps_its_exit_code():
    assert call("check", "nothing-of-this-name", shell=">&- 2>&- <&-")[0] == 2


def test_a_call_without_stdin_can_ask_whether_somebody_is_there():
    code = "from kit.cli.streams import open_streams; open_streams(); import sys; print(sys.stdin.isatty())"
    finished = subprocess.run(
        ["bash", "-c", '"$@" <&-', "bash", sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True
    )
    assert (finished.returncode, finished.stdout) == (0, "False\n")


def test_a_stream_without_unicode_gets_a_sign_for_what_it_cannot_show():
    code = "from kit.cli.streams import open_streams; open_streams()\n"
    code += "from kit.core.terminal import out; out.print('0.9 ± 0.1')"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=HOME, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, b"0.9 ? 0.1\n", b"")


def test_json_for_a_stream_without_unicode_loses_no_character():
    code = (
        "from kit.cli.streams import open_streams; open_streams()\n"
        "from kit.core.terminal import print_json; print_json({'class': 'Käse ✓'})"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=HOME, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert finished.returncode == 0 and json.loads(finished.stdout.decode("ascii")) == {"class": "Käse ✓"}


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["models", "--json"]])
def test_a_reader_that_goes_away_is_no_failure(arguments):
    command = [sys.executable, "-m", "kit", *arguments]
    started = subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    started.stdout.close()  # as `| head -c 0`
    err = started.stderr.read().decode()
    started.stderr.close()
    assert started.wait(timeout=60) == 0 and "Error" not in err and "Exception" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["models", "svm"]])
def test_a_full_stdout_is_named_and_not_the_workspace(arguments):
    code, _, err = call(*arguments, shell=">/dev/full")
    assert code == 2 and "standard output: No space left on device" in err
    assert str(HOME) not in err and "Traceback" not in err and "Exception" not in err


def test_a_link_that_leads_back_to_itself_is_named(tmp_path):
    (tmp_path / "runs").symlink_to("runs")
    code, _, err = call("folds", "digits", "--workspace", str(tmp_path))
    assert code == 2 and f"{tmp_path}/runs" in err and "leads back to itself" in err and "Traceback" not in err


def test_an_error_of_a_file_that_nobody_foresaw_is_one_message_and_a_failure(tmp_path):
    name = "n" * 300  # ENAMETOOLONG
    code, _, err = call("folds", "digits", "--workspace", str(tmp_path / name))
    assert code == 1 and "File name too long" in err and name in err.replace("\n", "") and "Traceback" not in err


def test_a_question_that_nobody_answers_ends_in_words():
    commands = typer.Typer(cls=Group)

    @commands.callback()
    def start() -> None:
        pass

    @commands.command()
    def ask() -> None:
        typer.confirm("Send it?")

    @commands.command()
    def load() -> None:
        raise EOFError("No data left in file")

    ended = CliRunner().invoke(commands, ["ask"], input="").exception
    assert isinstance(ended, InputError) and "nothing was done" in str(ended)
    ended = CliRunner().invoke(commands, ["load"]).exception
    assert isinstance(ended, RuntimeError) and "No data left in file" in str(ended)
