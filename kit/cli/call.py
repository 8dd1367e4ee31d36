"""What every command shares: the global options, the competition made ready, the way results are printed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from kit.core.errors import InputError
from kit.core.names import IS_CHECKOUT, PROGRAM

if TYPE_CHECKING:
    from kit.config.competition import Competition
    from kit.data.prepared import Prepared
    from kit.report.board import Row
    from kit.runs.store import Result

DEFAULT = "digits"
REPOSITORY = Path(__file__).parents[2]

EPILOG = (
    "COMP is a name under kit/competitions or a folder holding competition.toml. Global options may stand before or "
    "after the command.\n\n"
    "Exit codes: 0 done; 1 a failure, or a leak that was found; 2 a mistake to mend; 130 stopped, the next call goes "
    "on.\n\n"
    "In a pipe there are no colours and no progress; FORCE_COLOR=1 keeps the colours, NO_COLOR=1 drops them "
    "everywhere, COLUMNS=80 sets the width."
)


class PlainFlags:
    """List options without a type behind those that take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of a command."""
        params = super().get_params(ctx)
        for own in params:
            if getattr(own, "is_flag", False):
                own.metavar = ""
        return params


class Command(PlainFlags, TyperCommand):
    """One command."""


class Group(PlainFlags, TyperGroup):
    """All commands."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; say what Typer would end as a bare "Aborted."."""
        try:
            return super().invoke(ctx)
        except typer.Abort as error:
            raise InputError("the question was not answered, so it was taken for a no; nothing was done") from error
        except EOFError as error:
            raise RuntimeError(f"a file ended in the middle ({error}); {PROGRAM} check COMP looks for it") from error


class App(typer.Typer):
    """Gather the commands."""

    def command(self, *names: Any, **settings: Any) -> Any:
        """Add a command."""
        return super().command(*names, cls=Command, **settings)


app = App(
    help="From a folder of images with few labels to a scored, valid submission.csv.",
    epilog=EPILOG,
    cls=Group,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@dataclass
class Options:
    """Hold the global options of this call."""

    workspace: Path = REPOSITORY
    changes: tuple[str, ...] = ()
    seed: int | None = None
    strict: bool = False
    json: bool = False


options = Options()

Comp = Annotated[str, typer.Argument(metavar="COMP", help="Competition: a name or a folder.", show_default=True)]
TimeLimit = Annotated[
    str | None, typer.Option(help="Stop cleanly after this long (9h, 30m, 45s); call again to go on.")
]


@app.callback()
def set_options(
    workspace: Annotated[
        Path | None,
        typer.Option(help="Where data/, runs/, folds/, submissions/ lie; the checkout by default, else here."),
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override, e.g. runs.probe.C=3.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31, help="Seed of every run.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail instead of skipping a run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Take the global options."""
    from kit.core import terminal

    options.workspace = (workspace or (REPOSITORY if IS_CHECKOUT else Path())).expanduser().resolve()
    options.changes, options.seed = tuple(change or ()), seed
    options.strict, options.json = strict, json
    terminal.err.quiet = quiet


def suggest(*words: str) -> None:
    """Say what to do next, the last line of a command: one to copy, with this call's workspace, changes and seed."""
    from kit.core import terminal

    given = [] if options.workspace == REPOSITORY else ["--workspace", str(options.workspace)]
    given += [word for change in options.changes for word in ("--set", change)]
    given += [] if options.seed is None else ["--seed", str(options.seed)]
    sys.stdout.flush()  # the result stands above it, also where both go into one pipe
    terminal.stage("next", shlex.join([PROGRAM, *words, *given]))


def read(comp: str) -> Competition:
    """Read a competition by its name or folder, with this call's workspace, changes and seed."""
    from kit.config.reader import read_competition
    from kit.core.files import Workspace

    return read_competition(comp, Workspace(options.workspace), options.changes, options.seed)


def ready(competition: Competition, time_limit: str | None = None, held: bool = False) -> Prepared:
    """Make a competition ready, alone in its workspace."""
    from kit.core.deadline import parse_duration, set_deadline
    from kit.data.prepared import prepare

    set_deadline(parse_duration(time_limit) if time_limit else None)
    if held:
        prepared = prepare(competition)
    else:
        with holding(competition):
            prepared = prepare(competition)
    return prepared


@contextmanager
def holding(competition: Competition) -> Iterator[None]:
    """Hold the competition's runs folder against a second call."""
    from kit.core import terminal
    from kit.core.files import hold

    with hold(competition.workspace.runs(competition.name), terminal.warn):
        yield


def say(text: Any, document: Any) -> None:
    """Print a command's result: text, or one JSON document."""
    from kit.core import terminal

    if options.json:
        terminal.print_json(document)
    elif isinstance(text, str):
        sys.stdout.write(text + "\n")
    else:
        terminal.out.print(text)


def make_board(
    prepared: Prepared, results: list[Result], skipped: dict[str, str], **files: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Return the leaderboard as `say` takes it: a table, and a document that also says where `files` lie.

    It reads the runs' folders: hold the workspace against a `clean` while it does.
    """
    from dataclasses import asdict

    from kit.core import terminal
    from kit.report.board import leaderboard, render

    rows: list[Row] = leaderboard(prepared, results, skipped)
    document = {
        "competition": prepared.competition.name,
        "metric": prepared.competition.facts.metric,
        "runs": [asdict(row) for row in rows],
    }
    made = {name: str(path) for name, path in files.items() if path is not None}
    board: Any = render(prepared, rows, terminal.out.width)
    if prepared.hierarchy is not None and results:
        from rich.console import Group

        from kit.report.board.levels import render_levels, score_levels

        document["levels"] = {result.name: score_levels(prepared, result) for result in results}
        board = Group(board, render_levels(prepared, document["levels"]))
    return board, document | made
