"""Every command has its place in --help and an example to copy; the program's name stands in one place."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from kit import __version__
from kit.cli import app as _  # noqa: F401  (imports every command)
from kit.cli.app import EXAMPLE, PANELS, app, hoist
from kit.config.known import list_competitions, list_runs
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.core.names import ENSEMBLE, PROGRAM

HOME = Path(__file__).parents[2]
GROUP = typer.main.get_command(app)
COMMANDS = {name: GROUP.get_command(None, name) for name in GROUP.list_commands(None)}
BY_ITSELF = HOME / "kit" / "kaggle" / "bundle" / "script.py"  # runs without the kit


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_under_a_heading(name):
    assert COMMANDS[name].rich_help_panel in PANELS


def test_the_headings_come_in_their_order():
    assert tuple(dict.fromkeys(command.rich_help_panel for command in COMMANDS.values())) == PANELS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_ends_with_an_example_that_parses(name, capsys):
    program, first, *words = shlex.split(COMMANDS[name].epilog.removeprefix(EXAMPLE))
    assert (program, first) == (PROGRAM, name)
    context = COMMANDS[name].make_context(name, words)
    named = context.params.get("run") or context.params.get("runs") or ()
    if "comp" in context.params and context.params["comp"] in list_competitions(Workspace(HOME)):
        known = [*list_runs(context.params["comp"], Workspace(HOME)), ENSEMBLE]
        assert set([named] if isinstance(named, str) else named) <= set(known)
    with pytest.raises(SystemExit):
        app([name, "--help"], prog_name=PROGRAM)
    assert f"{EXAMPLE}{PROGRAM} {name}" in capsys.readouterr().out.strip().splitlines()[-1]


def test_the_version_is_printed():
    asked = subprocess.run([sys.executable, "-m", "kit", "--version"], cwd=HOME, capture_output=True, text=True)
    assert asked.returncode == 0 and asked.stdout == f"kit {__version__}\n"


def test_a_commands_own_version_is_left_to_it():
    assert hoist(["submit", "digits", "--version", "3"]) == ["submit", "digits", "--version", "3"]


def test_the_programs_name_is_written_in_one_place():
    for file in sorted((HOME / "kit").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        written = [node.value for node in texts if PROGRAM in node.value and node not in docstrings]
        assert file in (BY_ITSELF, HOME / "kit" / "core" / "names.py") or not written, file


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["import", "digits"], "import digits NAME --oof OOF"),
        (["import", "digits", "--oof", "my oof.csv"], "import digits --oof 'my oof.csv' NAME"),
        (["new"], "new NAME --data DATA"),
        (["new", "pets"], "new pets --data DATA"),
    ],
)
def test_a_call_that_lacks_a_word_is_shown_as_it_must_be_typed(words, call):
    with pytest.raises(InputError) as refused:
        GROUP.main(list(words), prog_name=PROGRAM, standalone_mode=False)
    assert f"missing; type: {PROGRAM} {call} (for example {PROGRAM} {words[0]} " in str(refused.value)
