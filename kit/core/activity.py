"""What this process does: its command, its stage and its bars, for `status` in another shell or on another machine.

Writes ``runs/NAME/activity.json`` every two seconds while a command holds the folder, and once more when it ends. A
killed process leaves the file as it was: who reads it looks at when it was written, and whether the process lives.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kit.core.files import read_object, write_json

FILE = "activity.json"
WRITE_SECONDS = 2.0
LOST_SECONDS = 30.0  # without a sign of life: killed, or its machine is gone
GIB = 2**30
RUNNING, FINISHED, STOPPED, KILLED = "running", "finished", "stopped", "killed"


@dataclass
class Bar:
    """Hold how far one loop is.

    Parameters
    ----------
    detail
        What the loop tells of itself, such as its loss.
    n_made, n_reused
        Items made by this process, and by an earlier one.
    """

    label: str
    total: int
    detail: str = ""
    n_made: int = 0
    n_reused: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def n_done(self) -> int:
        """Return how many items are done."""
        return self.n_made + self.n_reused

    @property
    def per_second(self) -> float:
        """Return items made per second."""
        return self.n_made / max(time.perf_counter() - self.started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds that the rest takes at this rate; None before the first item."""
        return (self.total - self.n_done) / self.per_second if self.n_made else None

    def as_dict(self) -> dict[str, Any]:
        """Return the bar as `status` shows it."""
        left, rate = self.seconds_left, round(self.per_second, 4)
        shown = {"label": self.label, "done": self.n_done, "total": self.total, "detail": self.detail}
        return shown | {"per_second": rate, "seconds_left": None if left is None else round(left, 1)}


@dataclass(frozen=True)
class Activity:
    """Hold what a process told of itself.

    Parameters
    ----------
    command
        Its words after the program's name.
    started, updated
        Seconds since 1970.
    bars
        The loops that run, the outermost first, as `Bar.as_dict` gives them.
    facts
        What it told by `tell`: run, fold, ...
    memory_gib, disk_free_gib
        Memory in use, and free space on the workspace's disk.
    devices
        GPUs with the memory that it holds there.
    state
        ``"running"``, ``"finished"``, ``"stopped"`` (by the user or the time limit), or how it failed.
    """

    command: str
    pid: int
    host: str
    started: float
    updated: float
    stage: str = ""
    bars: tuple[dict[str, Any], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    memory_gib: float | None = None
    devices: tuple[dict[str, Any], ...] = ()
    disk_free_gib: float | None = None
    state: str = RUNNING

    @property
    def silent_seconds(self) -> float:
        """Return for how long there was no sign of life."""
        return max(time.time() - self.updated, 0.0)

    @property
    def is_running(self) -> bool:
        """Return whether the process still runs: it lives on this machine, or wrote lately on another."""
        if self.state != RUNNING:
            return False
        if self.host == socket.gethostname():
            return _is_alive(self.pid)
        return self.silent_seconds < LOST_SECONDS


bars: list[Bar] = []  # those that run, the outermost first
_facts: dict[str, Any] = {}
_stage = ""


def note_stage(text: str) -> None:
    """Remember the last line that a person was shown."""
    global _stage
    _stage = text


def tell(**facts: Any) -> None:
    """Tell what is being worked on, such as ``run="probe", fold=2``; None takes a fact back."""
    _facts.update(facts)
    for name in [name for name, value in facts.items() if value is None]:
        del _facts[name]


@contextmanager
def shown(folder: Path, command: str) -> Iterator[None]:
    """Let `status` see what this process does in a folder, until the block ends."""
    started, over = time.time(), threading.Event()
    _facts.clear()

    def keep_writing() -> None:
        while not over.wait(WRITE_SECONDS):
            _write(folder, command, started, RUNNING)

    _write(folder, command, started, RUNNING)
    writer = threading.Thread(target=keep_writing, daemon=True, name="activity")
    writer.start()
    state = STOPPED
    try:
        yield
        state = FINISHED
    except Exception as error:
        state = _spell_failure(error)
        raise
    finally:
        over.set()
        writer.join()
        _write(folder, command, started, state)


def read_activity(folder: Path) -> Activity | None:
    """Return what the last command in a folder told of itself; None where there was none."""
    value = read_object(folder / FILE, "command", "pid", "host", "started", "updated")
    if value is None:
        return None
    with suppress(TypeError):  # written by another version
        activity = Activity(**value)
        is_lost = activity.state == RUNNING and not activity.is_running
        return Activity(**{**value, "state": KILLED}) if is_lost else activity
    return None


def describe_machine() -> str:
    """Return where this process runs: the host, its cores, the GPUs in use."""
    names = [device["name"] for device in _devices()]
    return ", ".join([socket.gethostname(), f"{os.cpu_count()} cores", *dict.fromkeys(names)])


def _write(folder: Path, command: str, started: float, state: str) -> None:
    """Write the file; a full disk stops no work."""
    told = list(bars) if state == RUNNING else []
    activity = Activity(
        command=command,
        pid=os.getpid(),
        host=socket.gethostname(),
        started=started,
        updated=time.time(),
        stage=_stage,
        bars=tuple(bar.as_dict() for bar in told),
        facts=dict(_facts),
        memory_gib=_memory_gib(),
        devices=_devices(),
        disk_free_gib=_disk_free_gib(folder),
        state=state,
    )
    with suppress(OSError):
        write_json(folder / FILE, asdict(activity), indent=None)


def _spell_failure(error: Exception) -> str:
    """Return how a command ended that raised: by its time limit, or with what it could not do."""
    from kit.core.errors import TimeIsUp

    return STOPPED if isinstance(error, TimeIsUp) else f"failed: {str(error) or type(error).__name__}"


def _is_alive(pid: int) -> bool:
    """Return whether a process of this machine lives."""
    if sys.platform == "win32":  # os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a killed process whose parent has not noticed
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def _memory_gib() -> float | None:
    """Return the memory that this process holds; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / GIB, 2)


def _disk_free_gib(folder: Path) -> float | None:
    """Return the free space of the disk that a folder lies on."""
    try:
        return round(shutil.disk_usage(folder).free / GIB, 1)
    except OSError:
        return None


def _devices() -> tuple[dict[str, Any], ...]:
    """Return the GPUs that this process has used, with the memory that it holds there; torch is not imported for it."""
    cuda = sys.modules.get("torch.cuda")
    if cuda is None or not getattr(cuda, "is_initialized", bool)():  # False too while another thread still imports it
        return ()
    return tuple(
        {"name": cuda.get_device_name(i), "memory_gib": round(cuda.memory_reserved(i) / GIB, 2)}
        for i in range(cuda.device_count())
    )
