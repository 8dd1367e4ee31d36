"""A shell completes commands, competitions and runs, quickly and without importing anything heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit.cli.completion import VARIABLE, _call_as_typed
from kit.config.known import list_runs
from kit.core.files import Workspace

HOME = Path(__file__).parents[2]
HEAVY = ("torch", "sklearn", "pandas", "numpy", "kit.config.competition")
ASK = (
    "import sys; sys.argv = ['kit']\n"
    "try:\n    from kit.cli import main; main()\n"
    "except SystemExit: pass\n"
    f"print(sorted(set({HEAVY}) & set(sys.modules)))"
)


def complete(*words: str) -> list[str]:
    """Return what bash is told of an unfinished line; its last word is the one to complete."""
    asked = {"COMP_WORDS": "\n".join(["./run.sh", *words]), "COMP_CWORD": str(len(words)), VARIABLE: "complete_bash"}
    told = subprocess.run(
        [sys.executable, "-c", ASK], cwd=HOME, env=os.environ | asked, capture_output=True, text=True, check=True
    )
    *offered, heavy = told.stdout.splitlines()
    assert heavy == "[]" and told.stderr == ""
    return [word for word in offered if word]


def test_commands_are_completed():
    assert complete("su") == ["submission", "submit", "submissions"]


def test_a_competition_is_completed():
    assert complete("train", "dig") == ["digits"]
    assert set(complete("leaderboard", "")) >= {"digits", "food11", "inf473v"}


def test_the_runs_of_that_competition_are_completed():
    assert complete("train", "digits", "probe_") == ["probe_neighbours", "probe_pseudo"]
    assert complete("train", "digits", "probe", "wi") == ["wise_ft"]
    assert complete("train", "inf473v", "b16")[0] == "b16_grid"
    assert complete("submission", "digits", "ens") == ["ensemble"]


@pytest.mark.parametrize("before", [True, False])
def test_a_competition_of_the_workspace_is_completed_wherever_that_stands(tmp_path, before):
    folder = tmp_path / "competitions" / "flowers"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text('[runs.roses]\nmodel = "svm"\n')
    place = ["--workspace", str(tmp_path)]
    start = [*place, "train"] if before else ["train", *place]
    assert complete(*start, "flo") == ["flowers"]
    assert complete(*start, "flowers", "") == ["roses"]


@pytest.mark.parametrize("text", ["", "runs = 3", "[runs", "[runs.a]\ngrid = 3", "runs = [1]"])
def test_a_file_that_cannot_be_read_completes_nothing(tmp_path, text):
    (tmp_path / "competition.toml").write_text(text)
    assert list_runs(str(tmp_path), Workspace(tmp_path)) == []


def test_an_unfinished_line_of_nonsense_completes_nothing():
    assert complete("train", "--json", "true", "nowhere", "x") == []


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_completes_after_the_script_was_installed(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    program = tmp_path / "run.sh"
    program.write_text(f'#!/bin/sh\ncd {HOME} && exec {sys.executable} -m kit "$@"\n')
    program.chmod(0o755)
    script = (
        f"{program} --install-completion && source ~/.bashrc && "
        'COMP_WORDS=(./run.sh train digits wi) COMP_CWORD=3 && cd "$(dirname "$0")" && '
        f'_runsh_completion {program} && printf "%s\\n" "${{COMPREPLY[@]}}" && complete -p run.sh'
    )
    told = subprocess.run(["bash", "-c", script], env=os.environ | {"HOME": str(home)}, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "written to" in told.stdout and "wise_ft" in told.stdout.splitlines() and told.stdout.endswith("run.sh\n")


@pytest.mark.parametrize(("shell", "typed"), [("zsh", "${words[1]}"), ("fish", "(commandline -opc)[1]")])
def test_other_shells_call_the_program_as_it_was_typed(shell, typed):
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="run.sh", complete_var=VARIABLE, shell=shell)
    changed = _call_as_typed(script, shell)
    assert changed.count(typed) == script.count(" run.sh)") + script.count(' run.sh"') >= 1
    assert changed.replace(typed, "run.sh") == script


def test_completion_installs_nothing(tmp_path):
    for name in ("run.sh", "requirements.txt"):
        shutil.copy(HOME / name, tmp_path)
    asked = os.environ | {VARIABLE: "complete_bash"}
    told = subprocess.run([tmp_path / "run.sh"], env=asked, capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "") and not (tmp_path / ".venv").exists()
