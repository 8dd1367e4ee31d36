"""Stopwatch: the seconds that each stage of a call took, kept in ``runs/NAME/times.json`` for the report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.core.files import read_object, write_json

TIMES_FILE = "times.json"
NOTHING_DONE = 1.0  # seconds: a stage that took less re-used what was there, and its last real time stays


class Stopwatch:
    """Measure stages, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of what is done inside to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def write(self, folder: Path) -> None:
        """Write the stages that did any work into times.json; those that did none keep the time of an earlier call."""
        known = read_times(folder)
        took = {stage: round(n, 1) for stage, n in self.seconds.items() if n >= NOTHING_DONE or stage not in known}
        write_json(folder / TIMES_FILE, known | took)


def read_times(folder: Path) -> dict[str, float]:
    """Return the seconds of each stage when it last did any work; empty where nothing was measured."""
    times = read_object(folder / TIMES_FILE) or {}
    return {stage: seconds for stage, seconds in times.items() if isinstance(seconds, int | float)}
