"""Trackers: finished runs in TensorBoard, MLflow or Weights & Biases, by their own libraries.

Reads finished runs; writes ``runs/NAME/track/``: event files, MLflow's database and artifacts, W&B's offline runs, and
``tracked.json``, by which nothing is logged twice. Nothing leaves the machine unless a server is named:
``mlflow=http://...``, ``wandb=online``.

- `logged`: what is logged of a run, the same for all. `tensorboard`, `mlflow`, `wandb`: one tracker each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from kit.core.errors import InputError, nearest
from kit.core.files import read_object, write_json
from kit.core.names import round_of
from kit.core.terminal import note, warn
from kit.data.prepared import Prepared
from kit.runs.store.result import Result
from kit.runs.track.logged import Logged, describe_logged

HOME, TRACKED = "track", "tracked.json"  # below runs/NAME
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny", "wandb": "wandb"}  # by what is imported
PASSWORD = re.compile(r"//[^/@]*@")


@dataclass(frozen=True)
class Tracker:
    """Hold one tracker and where it writes: "" for files in the workspace, else a server."""

    name: str
    address: str = ""

    @property
    def place(self) -> str:
        """Return the tracker and its address for a person, without a password."""
        return self.name + (f"={PASSWORD.sub('//***@', self.address)}" if self.address else "")


def read_trackers(words: Sequence[str]) -> list[Tracker]:
    """Return the trackers that ``--track`` names, before any work.

    InputError where there is no such tracker, its package is not installed, or its address cannot be one.
    """
    trackers = []
    for word in words:
        name, _, address = word.partition("=")
        if name not in PACKAGES:
            raise InputError(f"--track {name}: {nearest(name, PACKAGES)}")
        if name == "tensorboard" and address:
            raise InputError("--track tensorboard takes no address: it writes files")
        if name == "wandb" and address not in ("", "online"):
            raise InputError(f"--track wandb={address}: write wandb (files, for `wandb sync`) or wandb=online")
        if name == "mlflow" and address and "://" not in address:
            raise InputError(f"--track mlflow={address}: name a server, mlflow=http://localhost:5000")
        if find_spec(name) is None:
            package = PACKAGES[name]
            raise InputError(f"--track {name}: {name} is not installed; pip install {package}, or 'kit[track]'")
        trackers.append(Tracker(name, address))
    return trackers


def make_logger(prepared: Prepared, trackers: Sequence[Tracker]) -> Callable[[Result, Path | None], None] | None:
    """Return what logs a finished run, and the report where there is one; None without trackers."""
    if not trackers:
        return None

    def log(result: Result, report: Path | None = None) -> None:
        if round_of(result.name) is None:
            for tracker in trackers:
                log_run(prepared, result, tracker, report)

    return log


def log_run(prepared: Prepared, result: Result, tracker: Tracker, report: Path | None = None) -> bool:
    """Log a run, unless it was logged there before; return whether it is there now.

    What the tracker's library cannot do is a warning: the run itself is finished, and the next call tries again.
    """
    home = prepared.competition.workspace.runs(prepared.competition.name) / HOME
    logged = describe_logged(prepared, result, report)
    tracked = read_object(home / TRACKED) or {}
    there = tracked.get(tracker.place, {})
    if logged.key in there:
        return True
    try:
        where = _write(tracker, logged, home)
    except Exception as error:  # of a foreign library, a server or a network
        cause = PASSWORD.sub("//***@", str(error))
        warn(f"{tracker.place} could not take {result.name} ({cause}); the same call tries again")
        return False
    write_json(home / TRACKED, tracked | {tracker.place: {**there, logged.key: where}})
    note(f"{tracker.place}: {result.name} logged; {where}")
    return True


def _write(tracker: Tracker, logged: Logged, home: Path) -> str:
    """Let a tracker write a run; return how to look at it."""
    module = import_module(f"kit.runs.track.{tracker.name}")
    return module.write(logged, home / tracker.name, tracker.address)
