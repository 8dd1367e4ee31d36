"""What a person sees: one style for all commands, in a terminal of any width, in a pipe, with --quiet and --json."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.colours import lay_out, write_toml

from kit.cli import blame, main
from kit.cli.app import app, hoist
from kit.cli.call import options, suggest
from kit.config.toml import toml_value
from kit.core import terminal
from kit.core.errors import InputError, plain
from kit.kaggle.submission.ledger import LedgerRow
from kit.kaggle.submission.listing import render_submissions
from kit.models import MODELS
from kit.models.options import FIRST, example_run, first_options, list_options
from kit.runs.store.build import build_model

HOME = Path(__file__).parents[2]
RUNS = """
[runs.forest]
model = "forest"
n_trees = 5
pixels = 4

[runs.svm]
model = "svm"
pixels = 4
"""
NEXT = {  # after the competition has been gone through once
    "check": "all colours",
    "folds": "train colours",
    "features": "train colours",
    "train": "leaderboard colours",
    "ensemble": "submission colours",
    "submission": "leaderboard colours",
    "leaderboard": "report colours",
    "verify": "leaderboard colours",
    "decisions": "submission colours ensemble",
    "triage": "leaderboard colours",
    "clean": "clean colours --yes",
    "submit": "leaderboard colours",
    "all": "triage colours",
}
SAYS_NOTHING_NEXT = {"bench", "pretrain"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A workspace whose competition `colours` has been gone through once."""
    workspace = tmp_path_factory.mktemp("style")
    lay_out(workspace / "data" / "colours")
    write_toml(workspace / "competitions" / "colours", RUNS)
    assert run("all", "colours", "--quiet", "--workspace", str(workspace)) == 0
    return workspace


def run(*arguments: str) -> int:
    """Run a command in this process; return its exit code."""
    before, sys.argv = sys.argv, ["kit", *arguments]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    return int(stop.value.code or 0)


@pytest.fixture
def kit(trained, capsys):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(*arguments, "--workspace", str(trained))
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


def in_terminal(code: str, **environment: str) -> str:
    """Run Python code with a terminal for its stderr; return what it drew there."""
    ours, theirs = pty.openpty()
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    child = subprocess.Popen([sys.executable, "-c", code], cwd=HOME, stderr=theirs, env=known | environment)
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(ours, 65536):
            drawn += part
    except OSError:  # Linux' way to say that the other side is closed
        pass
    os.close(ours)
    assert child.wait() == 0
    return drawn.decode()


@pytest.mark.parametrize("command", NEXT)
def test_every_command_ends_with_what_to_do_next_and_its_json_is_one_document(kit, trained, command):
    if command == "triage":
        pytest.importorskip("cleanlab")
    code, out, err = kit(command, "colours", "--json")
    assert code == 0 and json.loads(out) is not None
    assert err.splitlines()[-1] == f"next        ./run.sh {NEXT[command]} --workspace {trained}"
    assert "\x1b" not in out + err


def source_of(command) -> str:
    """Return the source of a command and of the functions beside it that it names."""
    named = [getattr(inspect.getmodule(command), name, None) for name in command.__code__.co_names]
    beside = [each for each in named if inspect.isfunction(each) and each.__module__ == command.__module__]
    return "".join(map(inspect.getsource, [command, *beside]))


def test_no_command_forgets_to_say_what_is_next():
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        source = inspect.getsource(command.callback) if name in SAYS_NOTHING_NEXT else source_of(command.callback)
        assert ("suggest(" in source) != (name in SAYS_NOTHING_NEXT), name


def test_what_is_next_keeps_the_workspace_the_changes_and_the_seed(capsys, monkeypatch):
    monkeypatch.setattr(options, "workspace", Path("/a b"))
    monkeypatch.setattr(options, "changes", ('runs.x.prompts="names"',))
    monkeypatch.setattr(options, "seed", 3)
    suggest("train", "my birds")
    message = capsys.readouterr().err
    wanted = """./run.sh train 'my birds' --workspace '/a b' --set 'runs.x.prompts="names"' --seed 3"""
    assert message == f"next        {wanted}\n"


def test_stages_say_what_is_reused(kit):
    _, _, err = kit("all", "colours")
    for line in (
        r"folds       3 folds read from .*folds/colours\.csv",
        "train       2 runs: 2 re-used",
        r"ensemble    2 members re-used; .*",
        r"submission  .*/001_ensemble\.csv: written before, the predictions are the same",
        r"report      .*report\.html: as it was, .*",
    ):
        assert re.search(f"^{line}$", err, re.MULTILINE), (line, err)


def test_stages_say_what_is_made(kit):
    _, _, err = kit("all", "colours", "--set", "runs.svm.C=2.5")
    for line in (
        "train       2 runs: 1 re-used, 1 to make",
        r"ensemble    2 members weighed in \d+ s; .*",
        r"report      .*report\.html: written, \d+ sections, .* MB",
    ):
        assert re.search(f"^{line}$", err, re.MULTILINE), (line, err)


@pytest.mark.parametrize("command", ["train", "leaderboard", "verify", "check"])
def test_quiet_prints_the_result_alone(kit, command):
    code, out, err = kit(command, "colours", "--quiet")
    assert code == 0 and out.strip() and err == ""


def test_quiet_still_says_why_a_command_ends(kit):
    code, out, err = kit("train", "colours", "svn", "--quiet")
    assert code == 2 and out == "" and err.startswith("error       ")


@pytest.mark.parametrize("width", [60, 40])
@pytest.mark.parametrize(
    "command", [("check", "colours"), ("folds", "colours"), ("leaderboard", "colours"), ("models",)]
)
def test_tables_fit_a_narrow_terminal(kit, monkeypatch, command, width):
    monkeypatch.setattr(terminal.out, "_width", width)
    _, out, _ = kit(*command, "--quiet")
    assert max(map(len, out.splitlines())) <= width
    if command[0] == "leaderboard":
        assert "forest" in out and "ensemble" in out and "1.000 ± 0.056" in out


def test_submissions_leave_out_the_message_before_the_scores():
    keys = ("file", "run", "cv", "se", "public", "private", "status", "sent", "message", "ref")
    row: LedgerRow = dict.fromkeys(keys, "") | {
        "file": "001_wise.csv",
        "public": "0.51",
        "message": "m" * 30,
        "cv": "0.5",
    }
    row |= {"sent": "2025-01-01T00:00:00", "status": "COMPLETE", "se": "0.01", "run": "wise"}
    width, terminal.out.width = terminal.out.width, 60
    try:
        shown = render_submissions([row], [], "t")
    finally:
        terminal.out.width = width
    headers = [str(column.header) for column in shown.columns]
    assert "message" not in headers and {"file", "CV ± SE", "public"} <= set(headers) and "message" in shown.caption


LOOP = "import kit.core.terminal as t; t.SHOWN_AFTER = 0\nwith t.Progress('encode', 4) as p:\n"
LOOP += "    import time\n    for _ in range(4): time.sleep(.15); p.advance()\nt.stage('features', 'done')"


def test_progress_shows_count_rate_and_time_left():
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", in_terminal(LOOP, TERM="xterm"))
    assert re.search(r"encode .* 3/4 \d\.\d/s \d\d:\d\d", drawn)


@pytest.mark.parametrize(("line", "environment"), [("", {"TERM": "dumb"}), ("t.err.quiet = True\n", {"TERM": "xterm"})])
def test_progress_is_silent_where_it_cannot_or_shall_not_be_drawn(line, environment):
    drawn = in_terminal(LOOP.replace("with", f"{line}with", 1), **environment)
    assert "encode" not in drawn and "\x1b" not in drawn


@pytest.mark.parametrize(("environment", "coloured"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_a_pipe_has_no_control_codes_unless_colours_are_asked_for(environment, coloured):
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    finished = subprocess.run(
        [sys.executable, "-c", LOOP], cwd=HOME, capture_output=True, text=True, env=known | environment
    ).stderr
    assert ("\x1b[" in finished) == coloured and "encode" not in finished and "features" in finished


def test_no_color_is_obeyed_in_a_terminal():
    drawn = in_terminal("import kit.core.terminal as t; t.warn('x')", TERM="xterm", NO_COLOR="1")
    assert "warning" in drawn and not re.search(r"\x1b\[[0-9;]*3\dm", drawn)


def test_a_bare_call_shows_the_help(kit, capsys):
    assert run() == 0
    message = " ".join(capsys.readouterr().out.split())
    assert "leaderboard" in message and "<bool>" not in message and "Exit codes: 0 done" in message


@pytest.mark.parametrize("given", [["all", "--json", "true"], ["all", "--json=1"], ["--quiet", "no", "all"]])
def test_a_flag_with_a_value_is_refused_in_words(given):
    with pytest.raises(InputError, match="takes no value"):
        hoist(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("runs.svm.C=abc", "--set runs.svm.C=abc: [runs.svm] model 'svm' C = 'abc': must be a number"),
        ("runs.svm.D=3", "--set runs.svm.D=3: [runs.svm] model 'svm' has no option 'D'"),
        ("folds.n=1", "--set folds.n=1: [folds] n: must be greater than or equal to 2"),
    ],
)
def test_a_mistake_in_set_does_not_blame_the_file(kit, change, message):
    code, _, err = kit("train", "colours", "--set", change)
    assert code == 2 and message in err and "competition.toml" not in err


def test_a_mistake_in_the_file_is_not_blamed_on_set():
    message = "/x/competition.toml: [runs.svm] model 'svm' has no option 'D'"
    assert blame(message, ("runs.svm.C=3", "runs.forest.D=1")) == message


def test_complaints_are_in_plain_words():
    assert plain("Input should be a valid boolean, unable to interpret input") == (
        "must be true or false, unable to interpret input"
    )
    assert plain("Value error, it is too long") == "it is too long"


@pytest.mark.parametrize("name", MODELS)
def test_models_lists_every_option_of_a_model_with_its_meaning(name):
    listed = list_options(name)
    fields = {field.name: field for field in dataclasses.fields(MODELS[name]) if field.init}
    assert sorted(option.name for option in listed) == sorted(fields)
    for option in listed:
        assert option.meaning and option.type and "typing" not in option.type and "class" not in option.type, option
        assert option.is_required or fields[option.name].default in (option.default, dataclasses.MISSING)


def test_an_option_says_its_range_and_its_default(kit):
    _, out, _ = kit("models", "linear_probe")
    assert 'C = 30.0   (number above 0, or "nested")' in out and "encoders = []   (list of text, or table)" in out
    assert "encoder: required   (text)" in kit("models", "fine_tune")[1]
    code, out, _ = kit("models", "linear_probe", "--json")
    assert code == 0 and "C" in {option["name"] for option in json.loads(out)["options"]}


@pytest.mark.parametrize("name", MODELS)
def test_the_example_of_a_model_has_keys_that_it_takes(name, colours):
    text = "".join(f"{key} = {toml_value(value)}\n" for key, value in example_run(name).items())
    competition = colours(f"[runs.mine]\n{text}")
    assert build_model(competition, competition.run("mine"))
    assert [option.name for option in first_options(name)] == list(FIRST[name])


def test_models_shows_an_example_and_five_keys_before_all_others(kit):
    _, out, _ = kit("models", "linear_probe")
    first, rest = out.split("all other keys:")
    assert "[runs.my_linear_probe]" in first and "smooth = 0.0" in first and "tau = none" in rest


def test_an_unknown_model_is_refused_with_the_nearest(kit):
    code, _, err = kit("models", "svn")
    assert code == 2 and "no model 'svn'; did you mean 'svm'?" in err
