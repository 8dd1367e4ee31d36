"""Engines: what a Ray cluster costs beside one process, `all` by both in turn, in one run.

Workspaces are thrown away. Workers are warm: each has imported torch and scikit-learn before the stopwatch starts, and
so has this process. Says too whether both wrote the same submission, byte for byte.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
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


@dataclass(frozen=True)
class Overhead:
    """Hold what a cluster took beside one process.

    Parameters
    ----------
    seconds, local_seconds
        Of `all` on the cluster and in one process, by round.
    ratio, lowest, highest
        The first over the second: median and range over the rounds.
    is_same
        Whether every round of both wrote the same submission.
    """

    seconds: list[float]
    local_seconds: list[float]
    ratio: float
    lowest: float
    highest: float
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
    engine.warm_up()
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    written = set()
    for number in range(n_rounds + 1):
        for name, took in seconds.items():
            if number or name == "local":  # the first one only lets this process import what it needs
                again = _read_again(competition, changes, seed)
                lasted, content = _time_all(again, do_all, is_local=name == "local")
                written.add(content)
                took += [lasted] if number else []
                note(f"round {number}, {name}: {lasted:.1f} s")
    ratios = np.divide(seconds["ray"], seconds["local"])
    low, median, high = float(ratios.min()), float(np.median(ratios)), float(ratios.max())
    return Overhead(seconds["ray"], seconds["local"], median, low, high, len(written) == 1)


def _read_again(competition: Competition, changes: Sequence[str], seed: int | None) -> Callable[[Path], Competition]:
    """Return what reads the competition into another workspace."""
    source = competition.name if competition.is_known else str(competition.folder)
    return lambda root: read_competition(source, Workspace(root), tuple(changes), seed)


def _time_all(
    read: Callable[[Path], Competition], do_all: Callable[[Prepared], Path | None], is_local: bool
) -> tuple[float, bytes]:
    """Return the seconds of `all` in a workspace of its own, and the submission."""
    with tempfile.TemporaryDirectory() as root, engine.paused(is_local):
        competition = read(Path(root).resolve())
        started = time.perf_counter()
        submission = do_all(prepare(competition))
        lasted = time.perf_counter() - started
        if submission is None:
            raise InputError(f"{competition.name}: there are no test images, so no submission to compare")
        return lasted, submission.read_bytes()
