"""The runs that are verified, and all they were made from: read once, however many checks need them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.activity import describe_machine
from kit.core.errors import InputError, LeakFound
from kit.core.files import remedy_for
from kit.core.names import ENSEMBLE
from kit.core.rounding import list_versions
from kit.data.prepared import Prepared
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import describe_exclusion
from kit.runs.store.find import result_at, run_key, settings_of
from kit.runs.store.imported import list_imported
from kit.runs.store.result import EVERYTHING, IMPORTED, Result, fold_folder, read_provenance
from kit.runs.store.seals import has_the_features
from kit.scoring.predictions import Predictions, read_predictions

TOLERANCE = 1e-6  # of a probability or a score: they are kept as float32
REFIT_TOLERANCE = 1e-4  # of a probability that a network or an optimiser gives again: other machines round otherwise
N_POOLS = 8  # predictions of the unlabelled images held in memory at a time: they are large


@dataclass(frozen=True)
class ReadRun(Result):
    """A result whose predictions are read once, and whose settings are found once, however many checks need them.

    `settings` are None where competition.toml has other ones today, and of a run that is made of rounds.
    """

    read: Callable[[Path], Predictions]
    settings: Run | None

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
        runs[result.name, result.record.key] = ReadRun(
            result.name, result.folder, result.record, read, find_settings(prepared, result)
        )
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


def find_settings(prepared: Prepared, run: Result) -> Run | None:
    """Return the settings of a run by competition.toml, if it has these today."""
    if not is_fitted(run) or run.record.rounds:
        return None
    try:
        settings = settings_of(prepared, run)
        return settings if run_key(prepared, settings) == run.folder.name else None
    except InputError:  # its table is not there any more, or names what is not there
        return None


def can_derive(prepared: Prepared, settings: Run, run: Result) -> bool:
    """Return whether what follows from features can be derived again.

    Another machine, device or library rounds features otherwise: there it needs the very features that the run read.
    """
    then, now = run.record.versions, list_versions()  # an earlier kit recorded fewer libraries
    is_made_here = run.record.machine == describe_machine() and bool(then) and then.items() <= now.items()
    return is_made_here or has_the_features(prepared, settings, run.record.features)


def describe_settings(prepared: Prepared, settings: Run) -> dict[str, Any]:
    """Return what run.json has to say of a run's settings."""
    options = json.loads(json.dumps(build_model(prepared.competition, settings).options(), default=str))
    return {
        "model": settings.model,
        "options": options,
        "pseudo": json.loads(settings.pseudo.model_dump_json()) if settings.pseudo else None,
        "use_test_images": settings.use_test_images,
        "refit": settings.refit,
        "exclude": describe_exclusion(prepared, settings),
    }


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
