"""The runs that are verified, and all they were made from: read once, however many checks need them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import LeakFound
from kit.core.files import remedy_for
from kit.core.names import ENSEMBLE
from kit.data.prepared import Prepared
from kit.runs.store.find import result_at
from kit.runs.store.imported import list_imported
from kit.runs.store.result import EVERYTHING, IMPORTED, Result, fold_folder, read_provenance
from kit.scoring.predictions import Predictions, read_predictions

TOLERANCE = 1e-6  # of a probability or a score: they are kept as float32
REFIT_TOLERANCE = 1e-4  # of a probability that a network or an optimiser gives again: other machines round otherwise
N_POOLS = 8  # predictions of the unlabelled images held in memory at a time: they are large


@dataclass(frozen=True)
class ReadRun(Result):
    """A result whose predictions are read once, however many checks need them."""

    read: Callable[[Path], Predictions]

    def predictions(self, split: str) -> Predictions:
        return self.read(self.folder / f"{split}.parquet")

    def fold_predictions(self, fold: int, split: str) -> Predictions:
        return self.read(fold_folder(self.folder, fold) / f"{split}.parquet")


def with_sources(prepared: Prepared, results: Sequence[Result]) -> dict[tuple[str, str], ReadRun]:
    """Return the results, their teachers and members, and so on, by name and key."""
    read, imported = _make_reader(), list_imported(prepared)
    runs: dict[tuple[str, str], ReadRun] = {}
    ahead = list(results)
    while ahead:
        result = ahead.pop(0)
        if (result.name, result.record.key) in runs:
            continue
        runs[result.name, result.record.key] = ReadRun(result.name, result.folder, result.record, read)
        for name, key in result.record.sources.items():
            source = result_at(prepared, name, IMPORTED if name in imported else key)
            if source.record.key != key:
                raise LeakFound(f"{result.name}: made from {name} {key}, but {source.folder} is {source.record.key}")
            ahead.append(source)
    return runs


def _make_reader() -> Callable[[Path], Predictions]:
    """Return a `read_predictions` that remembers what it read, of the pool the last few alone."""
    pools, others = functools.lru_cache(N_POOLS)(read_predictions), functools.cache(read_predictions)
    return lambda path: pools(path) if path.stem == "unlabeled" else others(path)


def is_fitted(run: Result) -> bool:
    """Return whether a run was fitted here, fold by fold."""
    return run.folder.name != IMPORTED and run.name != ENSEMBLE


def fitted_folds(prepared: Prepared, run: Result) -> list[int]:
    """Return the folds of which a run has a model, the refit's among them."""
    return [*prepared.scored, *([EVERYTHING] if run.record.refit else [])]


def read_ledger(run: Result, fold: int) -> dict[str, Any]:
    """Return what a fold's model was fitted on, as it wrote it itself."""
    ledger = read_provenance(run.folder, fold)
    if ledger is None:
        path = fold_folder(run.folder, fold) / "provenance.json"
        cause = "is not as it was written" if path.exists() else "is missing"
        raise LeakFound(f"{run.name} fold {fold}: {path} {cause}; what it saw is unknown; {remedy_for(path)}")
    return ledger


def differ(ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Return whether any value is farther away than the tolerance; what is not a number is."""
    return not (np.abs(ours - theirs) <= tolerance).all()
