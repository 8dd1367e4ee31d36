"""What every command shares: global options, arguments, the competition made ready, the way results are printed."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.api.place import holding, looking, workspace_folder
from kit.cli.app import app, running
from kit.cli.completion import install_completion, show_completion
from kit.core.errors import InputError, some
from kit.core.names import CHECKOUT, ENSEMBLE, command_line, default_workspace

if TYPE_CHECKING:
    from kit.config.competition import Competition
    from kit.core.files import Workspace
    from kit.data.prepared import Prepared
    from kit.runs.store import Result

__all__ = [
    "DEFAULT",
    "Comp",
    "ResultName",
    "TimeLimit",
    "complete_comp",
    "complete_result",
    "complete_run",
    "follow_up",
    "holding",
    "looking",
    "make_board",
    "options",
    "read",
    "ready",
    "say",
    "suggest",
]

DEFAULT = "digits"
CHANGING = ("all", "folds", "features", "train", "ensemble", "submission", "submit", "bundle", "clean", "plan")


@dataclass
class Options:
    """Hold the global options of this call."""

    workspace: Path = CHECKOUT
    changes: tuple[str, ...] = ()
    seed: int | None = None
    strict: bool = False
    json: bool = False
    engine: str = "local"
    address: str | None = None


options = Options()


def complete_comp(ctx: typer.Context) -> list[str]:
    """Return the competitions that there are, for the shell."""
    from kit.config.known import list_competitions

    return list(list_competitions(_workspace_of(ctx)))


def complete_run(ctx: typer.Context) -> list[str]:
    """Return the runs and grids of the competition that was typed, for the shell."""
    from kit.config.known import list_runs

    return list_runs(ctx.params.get("comp") or DEFAULT, _workspace_of(ctx))


def complete_result(ctx: typer.Context) -> list[str]:
    """Return the runs of the competition that was typed, and its ensemble, for the shell."""
    return [*complete_run(ctx), ENSEMBLE]


def _workspace_of(ctx: typer.Context) -> Workspace:
    """Return the workspace of an unfinished call."""
    from kit.core.files import Workspace

    return Workspace(workspace_folder(ctx.find_root().params.get("workspace")))


def _show_version(is_asked: bool) -> None:
    """Print the kit's version, and end."""
    if is_asked:
        from kit import __version__

        typer.echo(f"kit {__version__}")
        raise typer.Exit


Comp = Annotated[
    str,
    typer.Argument(
        metavar="COMP", help="Competition: a name or a folder.", show_default=True, autocompletion=complete_comp
    ),
]
ResultName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, or the ensemble.", autocompletion=complete_result)
]
TimeLimit = Annotated[
    str | None, typer.Option(help="Stop cleanly after this long (9h, 30m, 45s); call again to go on.")
]

Note = Annotated[str | None, typer.Option(help="What these runs try, in your words; history shows it.")]

Track = Annotated[
    list[str] | None,
    typer.Option(
        help="Log finished runs: tensorboard, mlflow or wandb, as files; mlflow=URL, wandb=online. Repeatable."
    ),
]


@app.callback()
def set_options(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="Where data/, runs/, folds/, submissions/ lie: by default the checkout, or here where it is read-only."
        ),
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override, e.g. runs.probe.C=3.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31, help="Seed of every run.")] = None,
    engine: Annotated[str, typer.Option(help="Who computes: local, or ray, the nodes of a Ray cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster: auto, or HOST:PORT of its head.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail instead of skipping a run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    _install: Annotated[
        bool,
        typer.Option(
            "--install-completion", callback=install_completion, is_eager=True, help="Let this shell complete words."
        ),
    ] = False,
    _show: Annotated[
        bool,
        typer.Option(
            "--show-completion", callback=show_completion, is_eager=True, help="Print the script that completes words."
        ),
    ] = False,
) -> None:
    """Take the global options."""
    from kit.core import engine as engines
    from kit.core import terminal

    options.workspace = workspace_folder(workspace)
    options.changes, options.seed = tuple(change or ()), seed
    options.strict, options.json = strict, json
    options.engine, options.address = engine, address
    terminal.err.quiet = quiet
    context.with_resource(engines.using(engines.make_engine(engine, address)))


def suggest(*words: str) -> None:
    """Say what to do next, the last line of a command: one to copy, with this call's workspace, changes and seed."""
    from kit.core import terminal

    given = [] if options.workspace == default_workspace() else ["--workspace", str(options.workspace)]
    given += [word for change in options.changes for word in ("--set", change)]
    given += [] if options.seed is None else ["--seed", str(options.seed)]
    given += [] if options.engine == "local" else ["--engine", options.engine]
    given += [] if options.address is None else ["--address", options.address]
    sys.stdout.flush()  # the result stands above it, also where both go into one pipe
    terminal.stage("next", command_line(*words, *given))


def _check_default() -> None:
    """Refuse to take the default competition for a command that changes things, where the workspace holds others."""
    from kit.config.known import list_own
    from kit.core.files import Workspace

    context = running[-1] if running else None
    if context is None or context.info_name not in CHANGING:
        return
    source = context.get_parameter_source("comp")
    others = [name for name in list_own(Workspace(options.workspace)) if name != DEFAULT]
    if source is not None and source.name == "DEFAULT" and others:
        raise InputError(
            f"{context.info_name} which competition? {options.workspace} holds {some(others)}; "
            f"{command_line(context.info_name, others[0])}, or {command_line(context.info_name, DEFAULT)} for the "
            "embedded one"
        )


def follow_up(prepared: Prepared, results: list[Result], comp: str) -> tuple[str, ...]:
    """Return what to do next once the results were looked at, and say why."""
    from kit.api.stages import after_looking
    from kit.core import terminal

    word, why = after_looking(prepared, results)
    terminal.note(why)
    return (word, comp, "--preset", "best") if word == "plan" else (word, comp)


def read(comp: str) -> Competition:
    """Read a competition by its name or folder, with this call's workspace, changes and seed."""
    from kit.config.reader import read_competition
    from kit.core.files import Workspace

    _check_default()
    return read_competition(comp, Workspace(options.workspace), options.changes, options.seed)


def ready(
    competition: Competition, time_limit: str | None = None, held: bool = False, look_again: bool = False
) -> Prepared:
    """Make a competition ready, alone in its workspace.

    With `look_again` altered copies of images are sought, by features, before its first folds are assigned.
    """
    from kit.core.deadline import parse_duration, set_deadline
    from kit.core.engine import connect
    from kit.data.prepared import prepare

    connect()  # what cannot be reached is told before any work
    set_deadline(parse_duration(time_limit) if time_limit else None)
    with nullcontext() if held else holding(competition):
        if look_again:
            from kit.api.stages import keep_copies_together

            keep_copies_together(competition)
        return prepare(competition)


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
    prepared: Prepared, results: list[Result], skipped: dict[str, str] | None = None, **files: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Return the leaderboard as `say` takes it: a table, and a document that also says where `files` lie.

    It reads the runs' folders: hold the workspace against a `clean` while it does.
    """
    from dataclasses import asdict

    from kit.api.stages import compare
    from kit.core import terminal
    from kit.report.board import render_board
    from kit.report.board.levels import render_levels

    compared = compare(prepared, results, skipped)
    document = {
        "competition": prepared.competition.name,
        "metric": prepared.competition.facts.metric,
        "runs": [asdict(row) for row in compared.rows],
        "looks": asdict(compared.looks),
    }
    made = {name: str(path) for name, path in files.items() if path is not None}
    board: Any = render_board(prepared, compared.rows, terminal.out.width)
    if compared.levels:
        from rich.console import Group

        document["levels"] = compared.levels
        board = Group(board, render_levels(prepared, compared.levels))
    return board, document | made
