"""Folds and checkpoints of runs that a session did not finish: taken where further than what lies here, or beside it.

Reads ``unfinished.zip``, as `session` writes it; writes the folders of runs.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

from kit.core.errors import InputError
from kit.core.terminal import warn
from kit.data.prepared import Prepared
from kit.kaggle.remote.state import is_of_run, remote_folder
from kit.runs.fit.fold import find_changed_in, read_fitted_in
from kit.runs.store.result import read_result


def check_unfinished(file: Path) -> None:
    """Refuse a zip that holds what is no file of a run."""
    try:
        with zipfile.ZipFile(file) as packed:
            other = [name for name in packed.namelist() if not is_of_run(name)]
    except zipfile.BadZipFile as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    if other:
        raise InputError(f"{file}: {other[0]!r} is no file of a run")


def keep_unfinished(prepared: Prepared, file: Path) -> dict[str, int]:
    """Take the folds and checkpoints of unfinished runs; what is finished stays. Return how many files, by run."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    unpacked = remote_folder(prepared.competition) / ".unfinished"
    shutil.rmtree(unpacked, ignore_errors=True)
    kept: dict[str, int] = {}
    try:
        with zipfile.ZipFile(file) as packed:
            packed.extractall(unpacked)
        for folder in sorted((unpacked / "runs").glob("*/*")):
            target = home / folder.parent.name / folder.name
            if read_result(target.parent.name, target) is None:
                taken = [_take_fold(source, goal) for source, goal in _pairs(folder, target)]
                kept[target.parent.name] = sum(taken)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return {name: n for name, n in kept.items() if n}


def _pairs(folder: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return the folders of a run's folds and pairs of folds, and where they go."""
    homes = {file.parent for file in folder.rglob("*") if file.is_file() and file.parent != folder}
    return [(home, target / home.relative_to(folder)) for home in sorted(homes)]


def _take_fold(source: Path, target: Path) -> int:
    """Move one fold to its place, unless that one is finished; return the number of files."""
    if read_fitted_in(target) is not None:
        return 0
    if read_fitted_in(source) is None:
        return sum(_take_checkpoint(file, target / file.name) for file in sorted(source.glob("checkpoint*.pt")))
    if changed := find_changed_in(source):
        warn(f"{target}: not taken, {changed[0]} is not as it was written (SHA-256)")
        return 0
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    return sum(1 for path in target.iterdir() if path.is_file())


def _take_checkpoint(source: Path, target: Path) -> bool:
    """Move a checkpoint to its place, unless what is there of the same training is as far; return whether it was moved.

    Beside one of another training, of another kind of device or precision, it is kept under a name of its own.
    """
    from kit.models.training.checkpoint import aside, read_progress

    theirs, ours = read_progress(source), read_progress(target)
    if theirs is None:
        return False
    if ours is not None and ours[0] != theirs[0]:
        target = aside(target, theirs[0])
        ours = read_progress(target)
    if ours is not None and theirs[1] <= ours[1]:
        if theirs[1] < ours[1]:
            warn(f"{target}: not taken, what lies here is after epoch {ours[1]}, the session's after epoch {theirs[1]}")
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    return True
