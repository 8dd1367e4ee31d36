"""Whether a run that lies here is the one that was checked elsewhere, but for what machines round otherwise.

Reads both folders; writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import InputError
from kit.core.files import read_object
from kit.core.tensors import read_tensors
from kit.runs.store.result import Result
from kit.scoring.predictions import read_predictions

ROUNDING = 1e-4  # of a probability or a score, by which machines differ
OF_LARGEST = 0.01  # of the largest weight, likewise: an optimiser stops a little elsewhere
OF_MACHINE = {"threads", "kernels"}  # of provenance.json: they decide the last digits
OF_MAKING = {"made", "machine", "commit", "kit", "versions", "seconds", "features", "log", "from"}  # of run.json


def is_same(here: Result, checked: Result) -> bool:
    """Return whether a run here says all that a checked one does: settings, scores, predictions, what it was fitted on.

    Whatever else lies beside it is not looked at.
    """
    if not _are_close(_without(here.record.document, OF_MAKING), _without(checked.record.document, OF_MAKING)):
        return False
    files = [file.relative_to(checked.folder) for file in checked.folder.rglob("*") if file.is_file()]
    try:
        return all(_is_close(here.folder / file, checked.folder / file) for file in files)
    except (InputError, OSError, EOFError, ValueError):  # the one here is broken
        return False


def _is_close(here: Path, checked: Path) -> bool:
    """Return whether a file here says what a checked one does; of other notes only that it is there."""
    if not here.is_file():
        return False
    if checked.name == "provenance.json":
        return _without(read_object(here), OF_MACHINE) == _without(read_object(checked), OF_MACHINE)
    if checked.suffix == ".parquet":
        ours, theirs = read_predictions(here), read_predictions(checked)
        is_alike = ours.classes == theirs.classes and np.array_equal(ours.ids, theirs.ids)
        return is_alike and _are_close_arrays(ours.proba, theirs.proba, ROUNDING)
    if checked.suffix == ".npy":
        return _are_close_arrays(np.load(here, allow_pickle=False), np.load(checked, allow_pickle=False), ROUNDING)
    if checked.suffix == ".safetensors":
        weights, known = read_tensors(here), read_tensors(checked)
        return weights.keys() == known.keys() and all(
            _are_close_arrays(weights[name], value, OF_LARGEST * np.abs(value).max(initial=0))
            for name, value in known.items()
        )
    return True


def _are_close_arrays(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> bool:
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=tolerance)


def _without(document: dict[str, Any] | None, names: set[str]) -> dict[str, Any]:
    """Return what a JSON object says but for some of it."""
    return {name: value for name, value in (document or {}).items() if name not in names}


def _are_close(ours: object, theirs: object) -> bool:
    """Return whether two JSON values are the same but for rounding."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_are_close(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_are_close, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return bool(np.isclose(ours, theirs, rtol=0, atol=ROUNDING, equal_nan=True))
    return ours == theirs
