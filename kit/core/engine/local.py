"""The engine of this machine: one task after the other in this process, or one process per GPU side by side."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.queues import SimpleQueue
from typing import Any

from kit.core.activity import tell
from kit.core.deadline import check_deadline, seconds_left
from kit.core.engine.task import Done, Node, Order, Outcome, Task, do, read_outcome, work
from kit.core.process import count_threads


class LocalEngine:
    """Do tasks on this machine."""

    begins_ahead = False

    def begin(self, tasks: Sequence[Task], shared: Any) -> None:
        """Begin nothing: tasks are done when their results are asked for."""

    def run(self, tasks: Sequence[Task], shared: Any, devices: Sequence[str]) -> Iterator[Done]:
        """Do tasks; give each as it is done. Several that can use a GPU are spread over the `devices`."""
        is_spread = len(devices) > 1 and len(tasks) > 1 and all(task.gpus for task in tasks)
        yield from _spread(tasks, shared, devices) if is_spread else _do_in_turn(tasks, shared)

    def cancel(self, tasks: Sequence[Task] | None = None) -> None:
        """Take nothing back: nothing is begun."""

    def warm_up(self, modules: Sequence[str]) -> None:
        """Import nothing: this process does when it is first asked to."""

    def connect(self) -> None:
        """Reach nothing: it is here."""

    def list_nodes(self) -> list[Node]:
        """Return none: this machine is all there is."""
        return []

    def close(self) -> None:
        """Let go of nothing."""


def _do_in_turn(tasks: Sequence[Task], shared: Any) -> Iterator[Done]:
    """Do tasks in this process."""
    for task in tasks:
        check_deadline()
        yield Done(task, do(task, shared, count_threads()))


_shared: Any = None  # of a process of the pool


def _spread(tasks: Sequence[Task], shared: Any, devices: Sequence[str]) -> Iterator[Done]:
    """Do tasks in one process per device."""
    context = multiprocessing.get_context("spawn")
    free = context.SimpleQueue()
    for device in devices:
        free.put(device)
    with ProcessPoolExecutor(len(devices), context, _take_device, (free, shared)) as processes:
        n_threads = count_threads()
        jobs = {processes.submit(_work, Order(task, n_threads, seconds_left())): task for task in tasks}
        waiting = list(tasks)
        for job in as_completed(jobs):
            tell(tasks="; ".join(task.label for task in waiting[: len(devices)]))
            done = read_outcome(jobs[job], job.result())
            waiting.remove(done.task)
            yield done
    tell(tasks=None)


def _take_device(free: SimpleQueue, shared: Any) -> None:
    """Give a process of the pool its own device, and what its tasks have in common."""
    global _shared
    os.environ["KIT_DEVICE"], _shared = free.get(), shared


def _work(order: Order) -> Outcome:
    """Do a task in a process of the pool."""
    return work(order, _shared)
