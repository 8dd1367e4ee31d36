"""An alarm that needs no label: a run that is sure of the scored images and lost on all others.

The model of a fold has seen neither the fold's images nor, as labelled ones, the test images and the pool. Where they
are alike, it is as sure of the ones as of the others, and agrees as often with other models. A run that is much surer
of the images that score it, or agrees on them alone, knew their labels, or the others are unlike them.

Arrays of finished runs in, sentences out; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kit.core.names import ENSEMBLE
from kit.core.shapes import Labels, Proba
from kit.data.prepared import Prepared
from kit.runs.store.result import IMPORTED, Result, fold_folder
from kit.scoring.metrics import error_of_mean

LEAST = 0.1  # of a confidence or a rate of agreement: what is less is no alarm, however certain
N_ERRORS = 4.0  # standard errors that a difference must have
REASONS = (
    "either the labels leaked into these models (a name, an id, a file beside the images, other folds' memory), or "
    "scored and test images differ (`check` compares them), or the scored ones have duplicates in other folds"
)


@dataclass(frozen=True)
class Doubt:
    """Hold that a run treats the images that score it otherwise than the others.

    Parameters
    ----------
    run
        Its name.
    kind
        ``"sure"`` or ``"agrees"``.
    others
        ``"test"`` or ``"unlabeled"``: the images that it is lost on.
    scored, elsewhere
        Its mean confidence, or rate of agreement with other runs, on the scored images and on the others, 0..1.
    error
        Standard error of their difference.
    """

    run: str
    kind: str
    others: str
    scored: float
    elsewhere: float
    error: float

    def __str__(self) -> str:
        of = "test" if self.others == "test" else "unlabelled"
        what = "sure of" if self.kind == "sure" else "of one opinion with other runs on"
        return (
            f"its folds' models are {what} the scored images ({self.scored:.2f}) and not the {of} ones "
            f"({self.elsewhere:.2f}, the difference ± {self.error:.2f}): {REASONS}"
        )


def find_doubts(prepared: Prepared, results: Sequence[Result]) -> list[Doubt]:
    """Return at most one doubt of every run that was fitted here; the ensemble and imports have no folds' models."""
    runs = [result for result in results if _has_folds(prepared, result)]
    doubts: dict[str, Doubt] = {}
    scored = {run.name: _read_scored(prepared, run) for run in runs}
    for split in ("test", "unlabeled"):
        if not len(prepared.split(split)):
            continue
        told = {run.name: _FoldProba(prepared, run, scored[run.name], split) for run in runs}
        agreements = _agreements(told)
        for name, proba in told.items():
            pairs = {"sure": proba.confidence(), "agrees": agreements.get(name)}
            for kind, pair in pairs.items():
                if pair is not None and (doubt := _doubt(prepared, name, kind, split, *pair)):
                    doubts.setdefault(name, doubt)
    return list(doubts.values())


def _has_folds(prepared: Prepared, result: Result) -> bool:
    if result.name == ENSEMBLE or result.folder.name == IMPORTED:
        return False
    files = (
        fold_folder(result.folder, fold) / f"{part}.parquet" for fold in prepared.scored for part in ("oof", "test")
    )
    return all(file.exists() for file in files)


class _FoldProba:
    """Hold what each fold's model predicts of the fold's images and of others.

    ``oof`` and ``others`` hold one array per fold, (n_images of the fold or of the others, n_classes).
    """

    def __init__(self, prepared: Prepared, result: Result, oof: list[Proba], split: str) -> None:
        ids = prepared.pool.ids[prepared.split(split)]
        self.oof = oof
        self.others = [result.fold_predictions(fold, split).at(ids).proba for fold in prepared.scored]
        self.decided = [list(map(_decide, folds)) for folds in (self.oof, self.others)]

    def confidence(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how sure it is of every scored image, and of every other one in the mean of the folds' models."""
        return np.concatenate(list(map(_confidence, self.oof))), np.mean(list(map(_confidence, self.others)), axis=0)

    def agreement(self, other: _FoldProba) -> tuple[np.ndarray, np.ndarray]:
        """Return how far it agrees with another run on every scored image and on every other one."""
        pairs = zip(self.decided, other.decided, strict=True)
        on_scored, elsewhere = ([_agreement(*fold) for fold in zip(*both, strict=True)] for both in pairs)
        return np.concatenate(on_scored), np.mean(elsewhere, axis=0)


def _read_scored(prepared: Prepared, result: Result) -> list[Proba]:
    """Return what each fold's model predicts of the fold's images, in their order."""
    held_out = {fold: prepared.pool.ids[prepared.labeled[prepared.folds == fold]] for fold in prepared.scored}
    return [result.fold_predictions(fold, "oof").at(ids).proba for fold, ids in held_out.items()]


def _is_multiclass(proba: Proba) -> bool:
    return np.allclose(proba.sum(axis=1), 1, atol=1e-3)


def _confidence(proba: Proba) -> np.ndarray:
    """Return the probability of the most likely class; of several labels that of all decisions, in the mean."""
    return proba.max(axis=1) if _is_multiclass(proba) else np.maximum(proba, 1 - proba).mean(axis=1)


def _decide(proba: Proba) -> Labels:
    """Return the most likely class, (n_images, 1); of several labels each decision, (n_images, n_classes)."""
    return proba.argmax(axis=1)[:, None] if _is_multiclass(proba) else (proba >= 0.5).astype(np.int8)


def _agreement(ours: Labels, theirs: Labels) -> np.ndarray:
    """Return whether two models name the same class; of several labels the share of the same decisions."""
    return (ours == theirs).mean(axis=1)


def _agreements(told: dict[str, _FoldProba]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return of each run its agreement with that other run which speaks for it most."""
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for ours, theirs in combinations(told, 2):
        pair = told[ours].agreement(told[theirs])
        pairs.setdefault(ours, []).append(pair)
        pairs.setdefault(theirs, []).append(pair)
    return {
        name: min(each, key=lambda pair: float(pair[0].mean() - pair[1].mean()))
        for name, each in pairs.items()
        if len(each) > 1  # of two runs that differ it is not known which is the odd one
    }


def _doubt(
    prepared: Prepared, name: str, kind: str, split: str, scored: np.ndarray, elsewhere: np.ndarray
) -> Doubt | None:
    """Return a doubt where a run's mean on the scored images is far above that on the others."""
    rows = np.concatenate([np.flatnonzero(prepared.folds == fold) for fold in prepared.scored])
    groups = prepared.pool.groups[prepared.labeled[rows]]
    others = prepared.pool.groups[prepared.split(split)]
    error = float(np.hypot(error_of_mean(scored, groups), error_of_mean(elsewhere, others)))
    difference = float(scored.mean() - elsewhere.mean())
    if difference < max(LEAST, N_ERRORS * error):
        return None
    return Doubt(name, kind, split, float(scored.mean()), float(elsewhere.mean()), error)
