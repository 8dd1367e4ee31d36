"""Engines: what a Ray cluster costs beside one process, `all` by both in turn, in one run.

Workspaces are thrown away; what else lies in the competition's workspace, its images, weights and metrics, is linked
into them. Workers are warm: each has imported what tasks import before the stopwatch starts, and so has this process.
Processes that a round begins end with it. Seconds of the CPU are told beside those of the clock, for a machine that
does other work too: this process' and its children's and, of a cluster whose nodes are all on this machine, theirs.
Says too whether both wrote the same submission, byte for byte.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core import engine
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.core.names import command_line
from kit.core.terminal import note
from kit.data.prepared import Prepared, prepare

N_ROUNDS = 3
OF_TASKS = ("kit.runs.fit.tasks", "timm")  # what tasks import
MADE = ("runs", "folds", "submissions")  # folders of a workspace that `all` fills


@dataclass(frozen=True)
class Overhead:
    """Hold what a cluster took beside one process.

    Parameters
    ----------
    seconds, local_seconds
        Of `all` on the cluster and in one process, by round.
    ratio, lowest, highest
        The first over the second: median and range over the rounds.
    cpu_seconds, local_cpu_seconds, cpu_ratio
        The same of the CPU, all processes together; of Ray's those on this machine.
    is_same
        Whether every round of both wrote the same submission.
    """

    seconds: list[float]
    local_seconds: list[float]
    ratio: float
    lowest: float
    highest: float
    cpu_seconds: list[float]
    local_cpu_seconds: list[float]
    cpu_ratio: float
    is_same: bool


def bench_engines(
    competition: Competition,
    changes: Sequence[str],
    seed: int | None,
    do_all: Callable[[Prepared], Path | None],
    n_rounds: int = N_ROUNDS,
) -> Overhead:
    """Do everything of a competition `n_rounds` times in one process and on the cluster in use, in turn.

    `do_all` does it and returns the submission. InputError where no cluster is in use, or there are no test images.
    """
    if not engine.is_remote():
        call = command_line("bench", "engines", competition.name, "--engine", "ray")
        raise InputError(f"bench engines compares a cluster with this process: {call}")
    engine.warm_up(OF_TASKS)
    rounds: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
    written = set()
    for number in range(n_rounds + 1):
        for name, took in rounds.items():
            if number or name == "local":  # the first one only lets this process import what it needs
                again = _read_again(competition, changes, seed)
                lasted, computed, content = _time_all(again, do_all, is_local=name == "local")
                written.add(content)
                took += [(lasted, computed)] if number else []
                note(f"round {number}, {name}: {lasted:.1f} s, {computed:.1f} s of the CPU")
    (seconds, cpu), (local_seconds, local_cpu) = (list(zip(*rounds[name], strict=True)) for name in ("ray", "local"))
    ratios, cpu_ratios = np.divide(seconds, local_seconds), np.divide(cpu, local_cpu)
    low, median, high = float(ratios.min()), float(np.median(ratios)), float(ratios.max())
    cpus = list(cpu), list(local_cpu), float(np.median(cpu_ratios))
    return Overhead(list(seconds), list(local_seconds), median, low, high, *cpus, len(written) == 1)


def _read_again(competition: Competition, changes: Sequence[str], seed: int | None) -> Callable[[Path], Competition]:
    """Return what reads the competition into another workspace, into which what belongs to its own is linked."""

    def read(root: Path) -> Competition:
        for place in competition.workspace.root.absolute().iterdir():
            if place.exists() and not place.name.startswith(".") and place.name not in MADE:  # a link may lead nowhere
                (root / place.name).symlink_to(place)
        return read_competition(str(competition.folder), Workspace(root), tuple(changes), seed)

    return read


def _count_cpu(is_local: bool) -> float:
    """Return the CPU seconds of this process, of its children that ended, and of a cluster's processes here.

    Those of Ray are seen where Linux shows them.
    """
    of_children = os.times()
    seconds = time.process_time() + of_children.children_user + of_children.children_system
    for file in () if is_local else Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            title = file.with_name("cmdline").read_bytes().partition(b"\0")[0]
            if title.startswith(b"ray::") or title.endswith((b"/raylet", b"/gcs_server")):
                fields = file.read_text(encoding="utf-8").rpartition(")")[2].split()
                seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return seconds


def _time_all(
    read: Callable[[Path], Competition], do_all: Callable[[Prepared], Path | None], is_local: bool
) -> tuple[float, float, bytes]:
    """Return the seconds of `all` in a workspace of its own, those of the CPU, and the submission."""
    with tempfile.TemporaryDirectory() as root, engine.paused(is_local):
        competition = read(Path(root).resolve())
        started, computed = time.perf_counter(), _count_cpu(is_local)
        with _ending_children():
            submission = do_all(prepare(competition))
        lasted, computed = time.perf_counter() - started, _count_cpu(is_local) - computed
        if submission is None:
            raise InputError(f"{competition.name}: there are no test images, so no submission to compare")
        return lasted, computed, submission.read_bytes()


@contextmanager
def _ending_children() -> Iterator[None]:
    """End the processes that were begun in this block and outlive it: the next round shall have the machine alone."""
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
            process.join()
