"""Pseudo labels: chosen per fold, from models that never saw the fold.

For fold k the teachers' fold-k models have labelled the pool (runs/NAME/TEACHER/KEY/fold_k/unlabeled.parquet); the
choice keeps the same number per class, so that easy classes do not grow while hard ones starve (cf. GRIP, Menghini et
al. 2023). Writes nothing; crossval.py stores the choice and its diary beside the fold it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.competition import PseudoPlan
from kit.predictions import Predictions, mean_predictions


@dataclass(frozen=True)
class PseudoLabels:
    """Hold chosen pseudo labels.

    Parameters
    ----------
    ids
        (n_chosen,) ids.
    codes
        (n_chosen,) class codes.
    confidence
        (n_chosen,) the teachers' mean probability of the class.
    diary
        What was chosen: per class, how far the teachers agree.
    """

    ids: np.ndarray
    codes: np.ndarray
    confidence: np.ndarray
    diary: dict[str, Any]


def choose_pseudo_labels(teachers: list[Predictions], plan: PseudoPlan) -> PseudoLabels:
    """Choose the same number of the most confident images for every class.

    Parameters
    ----------
    teachers
        Predictions of the same unlabelled images by each teacher's fold-k model.
    plan
        How many to keep, and whether all teachers must agree.

    Returns
    -------
    PseudoLabels
        At most ``keep_rate * n_images / n_classes`` per class; fewer where no more are left, which the diary shows.
    """
    first = teachers[0]
    teachers = [first, *(teacher.at(first.ids) for teacher in teachers[1:])]
    mean = mean_predictions(teachers).proba  # (n_images, n_classes)
    votes = np.stack([teacher.proba.argmax(axis=1) for teacher in teachers])  # (n_teachers, n_images)
    codes = mean.argmax(axis=1)
    agreed = (votes == codes).all(axis=0)
    candidates = np.flatnonzero(agreed) if plan.agree else np.arange(len(codes))
    quota = max(1, round(plan.keep_rate * len(codes) / mean.shape[1]))
    chosen = _top_per_class(mean[candidates, codes[candidates]], codes[candidates], mean.shape[1], quota)
    rows = np.sort(candidates[chosen])
    per_class = np.bincount(codes[rows], minlength=mean.shape[1])
    diary = {
        "n_pool": len(codes),
        "n_chosen": len(rows),
        "keep_rate": len(rows) / max(len(codes), 1),
        "quota_per_class": quota,
        "agreement": float(agreed.mean()) if len(codes) else 0.0,
        "mean_confidence": float(mean[rows, codes[rows]].mean()) if len(rows) else 0.0,
        "per_class": dict(zip(first.classes, per_class.tolist(), strict=True)),
    }
    return PseudoLabels(first.ids[rows], codes[rows], mean[rows, codes[rows]], diary)


def _top_per_class(confidence: np.ndarray, codes: np.ndarray, n_classes: int, quota: int) -> np.ndarray:
    """Return the positions of the `quota` most confident of every class; ties go to the first row."""
    order = np.lexsort((np.arange(len(codes)), -confidence, codes))
    starts = np.searchsorted(codes[order], np.arange(n_classes))
    rank = np.arange(len(order)) - starts[codes[order]]
    return order[rank < quota]
