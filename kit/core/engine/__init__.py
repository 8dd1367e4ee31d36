"""Who does the work: this machine, or a cluster of Ray.

One concept, the task (task.py): a function by its name and plain arguments, whose results are files. `run_tasks` has
tasks done by the engine in use: here, one after the other or one process per GPU (local.py), or on the nodes of a
cluster (cluster.py, which alone imports Ray). The same tasks, with the same number of threads, give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kit.core.engine import task as serving
from kit.core.engine.local import LocalEngine
from kit.core.engine.task import Done, Node, Shared, Task
from kit.core.errors import InputError, nearest
from kit.core.installed import is_lacking, spell_lack

if TYPE_CHECKING:
    from kit.core.engine.cluster import RayEngine

__all__ = [
    "ENGINES",
    "Done",
    "Node",
    "Shared",
    "Task",
    "begin_tasks",
    "cancel_tasks",
    "connect",
    "is_remote",
    "list_nodes",
    "make_engine",
    "paused",
    "run_tasks",
    "using",
    "warm_up",
]

ENGINES = ("local", "ray")
LOCAL, RAY = ENGINES
ON_THIS_MACHINE = LocalEngine()
_engine: LocalEngine | RayEngine = ON_THIS_MACHINE


def make_engine(name: str = LOCAL, address: str | None = None) -> LocalEngine | RayEngine:
    """Return an engine by its name; nothing is reached yet.

    InputError where there is none of that name, its package is not installed, or an address is given to the local one.
    """
    if name not in ENGINES:
        raise InputError(f"--engine {name}: {nearest(name, ENGINES)}")
    if name == LOCAL:
        if address is not None:
            raise InputError(f"--address {address} is of a cluster; add --engine ray")
        return ON_THIS_MACHINE
    if is_lacking("ray"):
        raise InputError(f"{spell_lack('ray')}: --engine ray needs it, here and on every node")
    from kit.core.engine.cluster import RayEngine

    return RayEngine(address or "auto")


@contextmanager
def using(engine: LocalEngine | RayEngine) -> Iterator[None]:
    """Have tasks done by an engine in this block; it lets go of its cluster in the end."""
    global _engine
    before, _engine = _engine, engine
    try:
        yield
    finally:
        _engine = before
        engine.close()


@contextmanager
def paused(is_paused: bool = True) -> Iterator[None]:
    """Have tasks done on this machine in this block; the engine in use stays connected."""
    global _engine
    before = _engine
    _engine = ON_THIS_MACHINE if is_paused else before
    try:
        yield
    finally:
        _engine = before


def warm_up(modules: Sequence[str] = ()) -> None:
    """Let every process of the engine in use import torch, and the `modules` of tasks by their names."""
    _in_use().warm_up(modules)


def cancel_tasks(tasks: Sequence[Task] | None = None) -> None:
    """Take tasks back that were begun and that nobody waits for any more: these, or all there are."""
    _in_use().cancel(tasks)


def connect() -> None:
    """Reach the cluster of the engine in use; InputError where it cannot be reached."""
    _in_use().connect()


def list_nodes() -> list[Node]:
    """Return the machines of the engine's cluster; none where this machine computes alone."""
    return _in_use().list_nodes()


def is_remote() -> bool:
    """Return whether tasks go to a cluster, where they may be begun before they are waited for."""
    return _in_use().begins_ahead


def begin_tasks(tasks: Sequence[Task], shared: Shared) -> None:
    """Have tasks begun that `run_tasks` will ask for; the local engine waits until then."""
    _in_use().begin(tasks, shared)


def run_tasks(tasks: Sequence[Task], shared: Shared, devices: Sequence[str] = ("cpu",)) -> Iterator[Done]:
    """Have tasks done; give each as it is done, in any order.

    Parameters
    ----------
    shared
        What the tasks have in common: a prepared competition.
    devices
        Of this machine, over which tasks that can use a GPU are spread.

    Raises
    ------
    TimeIsUp
        When the time limit is reached; what is done stays.
    InputError
        When the user's input makes a task impossible: as the task says it, once.
    """
    yield from _in_use().run(tasks, shared, devices)


def _in_use() -> LocalEngine | RayEngine:
    """Return the engine in use; a task's own tasks are done where it is."""
    return ON_THIS_MACHINE if serving.is_serving else _engine
