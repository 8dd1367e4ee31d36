"""The command that shows what runs now, in this shell, another one or on another machine: status."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli.app import LOOK, command
from kit.cli.call import complete_comp, options, read, say, suggest
from kit.core.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from kit.core.activity import Activity

WATCH_SECONDS = 2.0
PIPED_SECONDS = 30.0  # between two tables where they cannot be drawn over each other


@command(panel=LOOK, example="status digits --watch")
def status(
    comp: Annotated[
        str | None,
        typer.Argument(
            metavar="COMP", help="Competition; all of the workspace by default.", autocompletion=complete_comp
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until nothing runs.")] = False,
) -> None:
    """Show what runs now: run, fold, loss, images per second, time left, memory, disk; it waits for nobody."""
    activities = _read(comp)
    if watch:
        activities = _watch(comp, activities)
    say(_render(activities), {"competitions": {name: _as_dict(each) for name, each in activities.items()}})
    if any(each.is_running for each in activities.values()):
        return
    suggest("leaderboard", comp or next(iter(activities)))


def _read(comp: str | None) -> dict[str, Activity]:
    """Return what the last command of each competition told; InputError where none ever ran."""
    from kit.core.activity import FILE
    from kit.core.files import Workspace
    from kit.core.held import HOLDER, read_work

    workspace = Workspace(options.workspace)
    if comp is None:
        names = sorted(
            {path.parent.name for name in (FILE, HOLDER) for path in (workspace.root / "runs").glob(f"*/{name}")}
        )
    else:
        names = [read(comp).name]
    told = {name: read_work(workspace.runs(name)) for name in names}
    activities = {name: each for name, each in told.items() if each is not None}
    if not activities:
        what = "nothing" if comp is None else f"nothing of {names[0]}"
        raise InputError(f"{what} has run in {workspace.root} yet; what was just begun shows itself after a second")
    return activities


def _watch(comp: str | None, activities: dict[str, Activity]) -> dict[str, Activity]:
    """Show the state again and again until nothing runs; return the last one."""
    from rich.live import Live

    from kit.core import terminal

    if not terminal.can_draw():
        while any(each.is_running for each in activities.values()):
            terminal.err.print(_render(activities))
            _wait_for_end(comp, PIPED_SECONDS)
            activities = _read(comp)
        return activities
    with Live(_render(activities), console=terminal.err, transient=True) as live:
        while any(each.is_running for each in activities.values()):
            time.sleep(WATCH_SECONDS)
            activities = _read(comp)
            live.update(_render(activities), refresh=True)
    return activities


def _wait_for_end(comp: str | None, seconds: float) -> None:
    """Wait some seconds, or until nothing runs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(each.is_running for each in _read(comp).values()):
        time.sleep(min(WATCH_SECONDS, seconds))


def _as_dict(activity: Activity) -> dict[str, Any]:
    """Return an activity for a script."""
    return asdict(activity) | {"running": activity.is_running, "silent_seconds": round(activity.silent_seconds, 1)}


def _render(activities: dict[str, Activity]) -> Table:
    """Return a table with some lines for each competition."""
    from kit.core.terminal import empty_table, escape

    table = empty_table()
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, activity in activities.items():
        for label, text in [(name, _headline(activity)), *(_details(activity) if activity.is_running else [])]:
            table.add_row(escape(label), escape(text))
    return table


def _headline(activity: Activity) -> str:
    """Return what a command does, or how it ended."""
    from kit.core.activity import KILLED
    from kit.core.terminal import spell_seconds

    where = f"process {activity.pid} on {activity.host}"
    if activity.is_running:
        return f"{activity.command}: runs for {spell_seconds(time.time() - activity.started)} ({where})"
    ago = spell_seconds(activity.silent_seconds)
    if activity.state == KILLED:
        return f"nothing runs; {activity.command}: no sign of life for {ago} ({where}); call it again to go on"
    return f"nothing runs; {activity.command}: {activity.state} {ago} ago"


def _details(activity: Activity) -> list[tuple[str, str]]:
    """Return what a running command tells of itself, line by line."""
    from kit.core.terminal import spell_bars, spell_facts, spell_seconds

    devices = [f"{each['name']} ({each['memory_gib']:.1f} GiB)" for each in activity.devices]
    memory = [] if activity.memory_gib is None else [f"{activity.memory_gib:.1f} GiB of memory"]
    disk = [] if activity.disk_free_gib is None else [f"{activity.disk_free_gib:,.0f} GiB free on the disk"]
    lines = [
        ("  working on", spell_facts(activity.facts)),
        ("  progress", spell_bars(activity.bars)),
        ("  last line", activity.stage),
        ("  uses", ", ".join([*devices, *memory, *disk])),
        ("  sign of life", f"{spell_seconds(activity.silent_seconds)} ago"),
    ]
    return [(label, text) for label, text in lines if text]
