"""What every command shares: the global options, the competition made ready, the way results are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kit.competition import Competition
    from kit.leaderboard import Row
    from kit.prepare import Prepared
    from kit.runs import Result

DEFAULT = "digits"
REPOSITORY = Path(__file__).parents[2]

app = typer.Typer(
    help="From a folder of images with few labels to a scored, valid submission.csv.",
    epilog="COMP is a name under kit/competitions or a folder holding competition.toml. Global options may stand "
    "before or after the command.",
    add_completion=False,
    no_args_is_help=True,
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
        Path | None, typer.Option(help="Where data/, runs/, folds/, submissions/ lie; the repository by default.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override, e.g. runs.probe.C=3.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every run.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail instead of skipping a run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Take the global options."""
    from kit import terminal

    options.workspace = (workspace or REPOSITORY).expanduser().resolve()
    options.changes, options.seed = tuple(change or ()), seed
    options.strict, options.json = strict, json
    terminal.err.quiet = quiet


def list_weights(combined: Result, separator: str) -> str:
    """Return the ensemble's weights as text, the heaviest member first, and how far they are shrunk to uniform."""
    ordered = sorted(combined.facts["weights"].items(), key=lambda item: -item[1])
    weights = separator.join(f"{name} {weight:.2f}" for name, weight in ordered)
    shrunk = 1 - combined.facts["shrinkage"]
    return f"{weights}{separator}({shrunk:.0%} of the way to equal weights)" if shrunk else weights


def read(comp: str) -> Competition:
    from kit.competition_file import read_competition
    from kit.files import Workspace

    return read_competition(comp, Workspace(options.workspace), options.changes, options.seed)


def ready(competition: Competition, time_limit: str | None = None, held: bool = False) -> Prepared:
    """Make a competition ready, alone in its workspace."""
    from kit import terminal
    from kit.deadline import parse_duration, set_deadline
    from kit.prepare import prepare

    set_deadline(parse_duration(time_limit) if time_limit else None)
    if held:
        prepared = prepare(competition)
    else:
        with holding(competition):
            prepared = prepare(competition)
    counts = ", ".join(f"{len(prepared.split(split))} {split}" for split in ("labeled", "unlabeled", "test"))
    terminal.stage("images", f"{competition.name}: {len(prepared.classes)} classes, {counts}")
    return prepared


@contextmanager
def holding(competition: Competition) -> Iterator[None]:
    """Hold the competition's runs folder against a second call."""
    from kit import terminal
    from kit.files import hold

    with hold(competition.workspace.runs(competition.name), terminal.warn):
        yield


def say(text: Any, document: Any) -> None:
    """Print a command's result: text, or one JSON document."""
    from kit import terminal

    if options.json:
        terminal.print_json(document)
    elif isinstance(text, str):
        sys.stdout.write(text + "\n")
    else:
        terminal.out.print(text)


def say_board(
    prepared: Prepared, results: list[Result], skipped: dict[str, str], submission: Path | None = None
) -> None:
    """Print the leaderboard."""
    from dataclasses import asdict

    from kit import terminal
    from kit.leaderboard import leaderboard, render

    rows: list[Row] = leaderboard(prepared, results, skipped)
    document = {
        "competition": prepared.competition.name,
        "metric": prepared.competition.facts.metric,
        "runs": [asdict(row) for row in rows],
    }
    say(render(prepared, rows, terminal.out.width), document | ({"submission": str(submission)} if submission else {}))
