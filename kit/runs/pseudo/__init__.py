"""Pseudo labels: chosen per fold, from models that never saw the fold.

For fold k the teachers' fold-k models have labelled the pool (runs/NAME/TEACHER/KEY/fold_k/unlabeled.parquet); a
strategy chooses among what they say, by default the same number per class, so that easy classes do not grow while hard
ones starve. Writes nothing; fitting.py stores the choice and its diary beside the fold it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.config.competition import PseudoPlan
from kit.data.images import Images
from kit.runs.pseudo.cores import find_cores
from kit.runs.pseudo.diary import compare_rounds, describe_balance
from kit.runs.pseudo.opinion import Opinion, form_opinion
from kit.runs.pseudo.strategies import STRATEGIES, Candidates, adaptive_thresholds, quota_of
from kit.scoring.predictions import Predictions


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
    weights
        (n_chosen,) training weights, above 0; a real label has 1.
    diary
        What was chosen: per class, how evenly, how far the teachers agree, and how it differs from the last round.
    """

    ids: np.ndarray
    codes: np.ndarray
    confidence: np.ndarray
    weights: np.ndarray
    diary: dict[str, Any]


def choose_pseudo_labels(
    teachers: Sequence[Predictions],
    plan: PseudoPlan,
    labeled: Images | None = None,
    pool: Images | None = None,
    before: dict[str, int] | None = None,
) -> PseudoLabels:
    """Choose among what the teachers say of the pool.

    Parameters
    ----------
    teachers
        Predictions of the same unlabelled images by each teacher's fold-k model.
    plan
        The strategy and its options.
    labeled
        The labelled images of the training folds: their shares are the class prior (the uniform one without), their
        number is what ``plan.total_weight`` counts in.
    pool
        The unlabelled images, in any order, named as the teachers' ids; needed for ``plan.cores``.
    before
        The last round's choice, class code by id; for the diary alone.

    Returns
    -------
    PseudoLabels
        As many as there are, where fewer pass than were asked for; the diary shows it. A class that no teacher ever
        names is lifted to its share of the labelled images.
    """
    first = teachers[0]
    strength = 0.0 if plan.align == "none" else plan.align_strength
    opinion = form_opinion(teachers, _prior(plan, labeled, len(first.classes)), strength)
    confidence = opinion.proba.max(axis=1, initial=0)
    allowed = opinion.agreed.copy() if plan.agree else np.ones(len(first), dtype=bool)
    if plan.cores is not None and len(first):
        named = pool.take(_positions(pool.names, first.ids))
        allowed &= find_cores(plan.cores, named, labeled, opinion.proba) == opinion.codes
    positions = np.flatnonzero(allowed)
    candidates = Candidates(
        opinion.codes[positions],
        confidence[positions],
        opinion.proba.mean(axis=0, dtype=np.float64) if len(first) else np.ones(len(first.classes)),
        float(confidence.mean()) if len(first) else 0.0,
        len(first),
    )
    rows = np.sort(positions[STRATEGIES[plan.strategy](candidates, plan)])
    diary = _describe(first, opinion, candidates, plan, rows) | {"before": None}
    if before is not None:
        today = dict(zip(first.ids, opinion.codes.tolist(), strict=True))
        chosen = dict(zip(first.ids[rows], opinion.codes[rows].tolist(), strict=True))
        diary["before"] = compare_rounds(chosen, before, today)
    weights = _weigh(confidence[rows], plan, labeled)
    return PseudoLabels(first.ids[rows], opinion.codes[rows], confidence[rows], weights, diary)


def _weigh(confidence: np.ndarray, plan: PseudoPlan, labeled: Images | None) -> np.ndarray:
    """Return the training weights of the chosen, (n_chosen,) float32, all above 0."""
    weights = confidence.astype(np.float64) if plan.weight == "confidence" else np.full(len(confidence), plan.weight)
    if plan.total_weight is not None and labeled is not None and len(weights):
        weights = weights * (plan.total_weight * len(labeled) / weights.sum())
    return weights.astype(np.float32)


def _prior(plan: PseudoPlan, labeled: Images | None, n_classes: int) -> np.ndarray:
    """Return the class prior (n_classes,); no class is at zero."""
    if plan.align == "uniform" or labeled is None or not len(labeled):
        return np.full(n_classes, 1 / n_classes)
    counts = np.maximum(np.bincount(labeled.labels, minlength=n_classes), 1)
    return counts / counts.sum()


def _positions(names: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where each wanted name stands."""
    position = {name: row for row, name in enumerate(names)}
    return np.array([position[name] for name in wanted], dtype=np.int64)


def _describe(
    said: Predictions, opinion: Opinion, candidates: Candidates, plan: PseudoPlan, rows: np.ndarray
) -> dict[str, Any]:
    """Return the diary of one choice."""
    per_class = np.bincount(opinion.codes[rows], minlength=len(said.classes))
    quota = quota_of(len(said), len(said.classes), plan)
    lacking = np.flatnonzero(per_class < quota) if quota and len(said) else ()
    thresholds = adaptive_thresholds(candidates) if plan.strategy == "adaptive" else None
    return {
        "n_pool": len(said),
        "n_chosen": len(rows),
        "keep_rate": len(rows) / max(len(said), 1),
        "quota_per_class": quota,
        "thresholds": None
        if thresholds is None
        else dict(zip(said.classes, thresholds.round(4).tolist(), strict=True)),
        "agreement": float(opinion.agreed.mean()) if len(said) else 0.0,
        "max_confidence": float(candidates.confidence.max(initial=0)),
        "mean_confidence": float(opinion.proba[rows, opinion.codes[rows]].mean()) if len(rows) else 0.0,
        "per_class": dict(zip(said.classes, per_class.tolist(), strict=True)),
        "balance": describe_balance(per_class),
        "lifted": [] if plan.align != "none" else [said.classes[code] for code in opinion.lifted],
        "short": [said.classes[code] for code in lacking],
    }
