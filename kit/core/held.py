"""A folder or file that one process holds at a time; who waits hears for whom, how long already, how far that is.

The lock is the operating system's, so a killed call leaves none behind. Beside it stands a note of who holds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.activity import Activity, read_activity
from kit.core.files import read_object
from kit.core.terminal import spell_activity, spell_seconds

if TYPE_CHECKING:
    from filelock import BaseFileLock

POLL_SECONDS = 0.5
HOLDER = ".holder"  # who holds a folder, while it is held
AGAIN_SECONDS = 30.0  # until one who waits is told again; each pause is twice the one before it
LEVELS = 3  # folders above the note in which its process may tell how far it is: runs/NAME holds them all
LONGEST_SECONDS = 600.0  # between two such lines


class Held(Exception):
    """Another process holds it; the text says who, as far as is known."""


def hold(folder: Path, say: Callable[[str], None] | None, command: str = "") -> contextlib.AbstractContextManager[None]:
    """Hold a workspace folder alone. While another call holds it, say which one and how far it is, and wait.

    `command` is what others are told of this one; by default its words. Where `say` is None nobody waits: Held.
    """
    return hold_lock(folder / ".lock", folder / HOLDER, folder, say, command)


@contextlib.contextmanager
def hold_lock(
    lock: Path, holder: Path, what: Path, say: Callable[[str], None] | None, command: str = ""
) -> Iterator[None]:
    """Hold a lock, with a note beside it of who does; wait while another process has it.

    Parameters
    ----------
    holder
        The note; what its process tells of itself is read in the nearest folder above it that knows.
    what
        What is named to those who wait.
    say
        Hears whom this call waits for: at once, and again after longer and longer pauses. None: nobody waits.

    Raises
    ------
    Held
        When another process has the lock and `say` is None.
    """
    from filelock import FileLock, Timeout

    file_lock = FileLock(lock, poll_interval=POLL_SECONDS)
    try:
        file_lock.acquire(blocking=False)
    except Timeout:
        if say is None:
            raise Held(describe_holder(holder)) from None
        _wait(file_lock, lambda: say(f"{what}: waiting for {describe_holder(holder)}"))
    with contextlib.suppress(OSError):  # a courtesy to those who wait, which a full disk need not grant
        facts = {"command": command or shlex.join(sys.argv[1:]), "pid": os.getpid(), "host": socket.gethostname()}
        holder.write_text(json.dumps(facts | {"since": time.time()}), encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        file_lock.release()


def is_held(folder: Path) -> bool:
    """Tell whether another process holds a folder now."""
    from filelock import FileLock, Timeout

    if not (folder / ".lock").exists():
        return False
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def read_work(folder: Path) -> Activity | None:
    """Return what the last command in a folder told of itself; of one that only just holds it what its note says.

    None where none ever ran.
    """
    told = read_activity(folder)
    if (told is None or not told.is_running) and is_held(folder):
        with contextlib.suppress(OSError, KeyError, TypeError):
            facts = read_object(folder / HOLDER, "command", "pid", "host", "since") or {}
            return Activity(facts["command"], facts["pid"], facts["host"], facts["since"], time.time())
    return told


def describe_holder(holder: Path) -> str:
    """Say who holds a folder or file, since when, and how far that process is.

    The note may not be written yet, and some systems let nobody read it meanwhile.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = read_object(holder, "command", "pid", "since") or {}
        host = facts.get("host", socket.gethostname())
        where = "" if host == socket.gethostname() else f" on {host}"
        seconds = max(time.time() - facts["since"], 0.0)
        who = f"`{facts['command']}` (process {facts['pid']}{where}, for {spell_seconds(seconds)})"
        for folder in holder.parents[:LEVELS]:
            activity = read_activity(folder)
            if activity and (activity.pid, activity.host) == (facts["pid"], host) and activity.is_running:
                return f"{who}, which is at {how_far}" if (how_far := spell_activity(activity)) else who
        return who
    return "another call"


def _wait(lock: BaseFileLock, tell: Callable[[], None]) -> None:
    """Acquire a lock that another process has; tell of it now, and again after pauses that grow."""
    from filelock import Timeout

    pause = AGAIN_SECONDS
    while True:
        tell()
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=pause)
            return
        pause = min(2 * pause, LONGEST_SECONDS)
