"""A task: a function by its name and plain arguments, which any process on any machine can do.

What a task leaves is files; it returns next to nothing. What many tasks have in common, a prepared competition, is
handed over once. `do` does a task in this process; `work` in a process that serves another one.
"""

from __future__ import annotations

import importlib
import pickle
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from kit.core.deadline import set_deadline
from kit.core.files import key_of
from kit.core.process import set_up_process, with_threads
from kit.core.terminal import overheard, repeat

Line = tuple[str, str, str]
is_serving = False  # whether this process does tasks for another one


class Shared(Protocol):
    """What tasks have in common: it knows its workspace, and itself in another workspace."""

    @property
    def root(self) -> Path:
        """Return the folder of its workspace."""
        ...

    @property
    def hidden(self) -> tuple[Path, ...]:
        """Return the files that no task may read: they are never carried."""
        ...

    def moved(self, move: Callable[[str | Path], Path]) -> Self:
        """Return the same with its files elsewhere; `move` says where a file lies there."""
        ...


@dataclass(frozen=True)
class Task:
    """Hold a piece of work.

    Parameters
    ----------
    function
        ``"package.module:name"``; it is called with what is shared, then with the arguments by name.
    arguments
        JSON-like.
    label
        What `status` calls it, such as ``"probe, fold 2"``.
    gpus
        GPUs that it can use; of a machine without one it asks for none.
    gibibytes
        Memory that it needs, about.
    minds_amx
        Whether a CPU with AMX would compute it in another precision than one without.
    reads
        Files and folders that it needs, as they lie here: carried to a node that does not see them.
    writes
        Folders in which it leaves its files, or files that it leaves, carried back from there.
    """

    function: str
    arguments: dict[str, Any]
    label: str
    gpus: float = 0.0
    gibibytes: float = 1.0
    minds_amx: bool = True
    reads: tuple[Path, ...] = field(default=(), compare=False)
    writes: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def key(self) -> str:
        """Return what tells it from other tasks."""
        return key_of(self.function, self.arguments)


@dataclass(frozen=True)
class Node:
    """Hold a machine of a cluster: its cores and GPUs, and the memory that tasks may ask for."""

    host: str
    cpus: int
    gpus: int
    gibibytes: float


@dataclass(frozen=True)
class Done:
    """Hold a task that is done, and what its function returned."""

    task: Task
    value: Any


@dataclass(frozen=True)
class Order:
    """Hold a task as another process gets it, with what it must know of the one that it serves.

    Parameters
    ----------
    n_threads
        That it computes with: the same number wherever it runs.
    seconds_left
        Until the time limit; None without one.
    has_gpu
        Whether the process was given a GPU, or part of one.
    """

    task: Task
    n_threads: int
    seconds_left: float | None
    has_gpu: bool = False


@dataclass(frozen=True)
class Outcome:
    """Hold what became of a task in another process.

    Parameters
    ----------
    error
        What it raised; None where it is done.
    said
        The lines that it would have printed.
    host
        Where it ran.
    """

    value: Any
    error: Exception | None
    said: list[Line]
    host: str


def do(task: Task, shared: Any, n_threads: int) -> Any:
    """Do a task in this process; return what its function returns, and raise what it raises."""
    module, _, name = task.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    with with_threads(n_threads):
        return function(shared, **task.arguments)


def work(order: Order, shared: Any) -> Outcome:
    """Do a task for another process; what it raises is told."""
    global is_serving
    is_serving = True
    set_up_process()
    set_deadline(order.seconds_left)
    with overheard() as said:
        try:
            value, error = do(order.task, shared, order.n_threads), None
        except Exception as raised:
            value, error = None, _portable(raised)
    return Outcome(value, error, said, socket.gethostname())


def refuse_lack(outcome: Outcome) -> Outcome:
    """Return an outcome that is no lack of memory.

    Raises
    ------
    MemoryError
        Where memory was lacking, the GPU's too: another machine may have it.
    """
    error = outcome.error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's word for it
        raise MemoryError(str(error)) from error
    return outcome


def _portable(error: Exception) -> Exception:
    """Return an error that another process can be told: itself where that can be pickled, its traceback noted."""
    error.add_note(f"on {socket.gethostname()}:\n{''.join(traceback.format_tb(error.__traceback__))}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        told = RuntimeError(f"{type(error).__name__}: {error}")
        told.__notes__ = error.__notes__
        return told
    return error


def read_outcome(task: Task, outcome: Outcome) -> Done:
    """Print what another process had to say of a task, and raise what it raised."""
    repeat(outcome.said)
    if outcome.error is not None:
        raise outcome.error
    return Done(task, outcome.value)
