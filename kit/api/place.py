"""Where a call works and whom it waits for: the workspace, the runs folder held or read beside who holds it, the time.

What the command line and Python do before and around every stage.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.errors import InputError
from kit.core.names import CHECKOUT, default_workspace

if TYPE_CHECKING:
    from kit.config.competition import Competition

called_as: ContextVar[str] = ContextVar("called_as", default="")  # the call in Python that `status` names


def workspace_folder(workspace: str | Path | None) -> Path:
    """Return the workspace's folder: the one given, else the default. InputError for what is no path."""
    if not isinstance(workspace, str | Path | None):
        raise InputError(
            f'workspace is {workspace!r} ({type(workspace).__name__}); it is to look like "/kaggle/working"'
        )
    return Path(workspace or default_workspace()).expanduser().resolve()


def competitions_home(workspace: Path) -> Path:
    """Return the folder of new competitions: the kit's own, or that of another workspace."""
    from kit.config.known import HOME

    return HOME if workspace == CHECKOUT else workspace / "competitions"


@contextmanager
def holding(competition: Competition) -> Iterator[None]:
    """Hold the competition's runs folder against a second call; `status` sees meanwhile what is done."""
    from kit.core import activity, terminal
    from kit.core.held import hold

    folder = competition.workspace.runs(competition.name)
    command = called_as.get() or shlex.join(sys.argv[1:])
    with hold(folder, terminal.warn, command), activity.shown(folder, command):
        yield


@contextmanager
def looking(competition: Competition) -> Iterator[None]:
    """Read the last finished state: hold the runs folder where it is free, and else look beside who holds it.

    Only a `clean` is waited for: it would take away what is being read.
    """
    from kit.core import arrays, terminal
    from kit.core.activity import read_activity
    from kit.core.held import hold, is_held

    folder = competition.workspace.runs(competition.name)
    busy = read_activity(folder) if is_held(folder) else None
    if busy is None or not busy.is_running or "clean" in shlex.split(busy.command):
        with hold(folder, terminal.warn, called_as.get()):
            yield
        return
    how_far = f", at {told}" if (told := terminal.spell_activity(busy)) else ""
    terminal.note(f"beside {busy.command!r}, which runs (process {busy.pid}{how_far}): this shows what is finished")
    with arrays.impatient():
        yield


def check_begun(competition: Competition) -> None:
    """Refuse a look at runs where there are no folds yet: a look would make them, and those who read write nothing.

    Where the data are missing too, that is said: whoever gets them first can make folds.
    """
    from kit.core.held import HOLDER, describe_holder, is_held
    from kit.data.table.sources import check_root

    if competition.workspace.folds(competition.name).exists():
        return
    if is_held(folder := competition.workspace.runs(competition.name)):
        raise InputError(
            f"no folds of {competition.name} yet, so no finished run: they are being made by "
            f"{describe_holder(folder / HOLDER)}; {competition.command('status')} shows how far it is"
        )
    if competition.data.embedded is None:
        check_root(competition)
    raise InputError(
        f"no folds of {competition.name} yet, so no finished run; {competition.command('train')} makes both"
    )


@contextmanager
def in_time(limit: str | float | None) -> Iterator[None]:
    """Let what is done inside end after a duration such as ``"9h"``, or seconds; None for no limit.

    InputError where it is no duration.
    """
    from kit.core.deadline import parse_duration, set_deadline

    set_deadline(None if limit is None else parse_duration(str(limit)))
    try:
        yield
    finally:
        set_deadline(None)


@contextmanager
def computing(engine: str | None, address: str | None) -> Iterator[None]:
    """Have tasks done by ``"local"`` or ``"ray"``, at a cluster's address; by the engine in use where neither is given.

    InputError where there is no such engine, or no cluster answers.
    """
    from kit.core import engine as engines

    if engine is None and address is None:
        yield
        return
    with engines.using(engines.make_engine(engine or engines.LOCAL, address)):
        engines.connect()
        yield


def blame(message: str, changes: Sequence[str]) -> str:
    """Return a message on a table of competition.toml with the ``--set`` that is at fault in place of the file."""
    named = re.search(r"competition\.toml: \[([\w.-]+)\] (.*)", message, re.DOTALL)
    if named is None:
        return message
    table, cause = named.groups()
    for change in reversed(changes):
        path = change.partition("=")[0].strip()
        key = path.removeprefix(f"{table}.").partition(".")[0]
        if path == table or (path.startswith(f"{table}.") and re.search(rf"\b{re.escape(key)}\b", cause)):
            return f"--set {change}: [{table}] {cause}"
    return message
