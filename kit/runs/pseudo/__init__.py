"""Pseudo labels: chosen per fold, from models that never saw the fold.

For fold k the teachers' fold-k models have labelled the pool (runs/NAME/TEACHER/KEY/fold_k/unlabeled.parquet); a
strategy chooses among their predictions, by default the same number per class, so that easy classes do not grow while
hard ones starve. Nothing is written here: `kit.runs.fit` keeps the choice and its record beside the fold. By file::

    opinion.py     what several teachers predict together
    strategies.py  which of the candidates are chosen
    cores.py       clusters of the pool that vouch for a label
    record.py      what a choice looked like
    rounds.py      one fold's labels of a round, and why the rounds ended
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.config.runs import PseudoPlan
from kit.core.shapes import Ids, Labels, Mask, Rows, Scores, Weights
from kit.data.images import Images, names_of
from kit.runs.pseudo.cores import find_cores
from kit.runs.pseudo.opinion import Opinion, form_opinion
from kit.runs.pseudo.record import Record, compare_rounds, describe_balance
from kit.runs.pseudo.strategies import STRATEGIES, Candidates, quota_of, thresholds_by_class
from kit.scoring.predictions import Predictions


@dataclass(frozen=True)
class PseudoLabels:
    """Hold chosen pseudo labels.

    Parameters
    ----------
    ids, codes
        (n_chosen,) images and their class codes.
    confidence
        (n_chosen,) the teachers' mean probability of the class.
    weights
        (n_chosen,) training weights, above 0; a real label has 1.
    record
        What was chosen: per class, how evenly, how far the teachers agree, and how it differs from the last round.
    """

    ids: Ids
    codes: Labels
    confidence: Scores
    weights: Weights
    record: Record


def choose_pseudo_labels(
    teachers: Sequence[Predictions],
    plan: PseudoPlan,
    labeled: Images | None = None,
    pool: Images | None = None,
    before: dict[str, int] | None = None,
    weights: Sequence[float] | None = None,
) -> PseudoLabels:
    """Choose among the teachers' predictions of the pool.

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
        The last round's choice, class code by id; for the record alone.
    weights
        The teachers', above 0; equal ones by default.

    Returns
    -------
    PseudoLabels
        As many as there are, where fewer pass than were asked for; the record shows it. A class that no teacher ever
        names is lifted to its share of the labelled images.
    """
    first = teachers[0]
    strength = 0.0 if plan.align == "none" else plan.align_strength
    opinion = form_opinion(teachers, _prior(plan, labeled, len(first.classes)), strength, weights)
    confidence = opinion.proba.max(axis=1, initial=0)
    positions = np.flatnonzero(_allowed(first.ids, opinion, plan, labeled, pool))
    candidates = Candidates(
        opinion.codes[positions],
        confidence[positions],
        opinion.proba.mean(axis=0, dtype=np.float64) if len(first) else np.ones(len(first.classes)),
        float(confidence.mean()) if len(first) else 0.0,
        len(first),
    )
    rows = np.sort(positions[STRATEGIES[plan.strategy](candidates, plan)])
    record = _describe(first, opinion, candidates, plan, rows) | {"before": None}
    if before is not None:
        today = dict(zip(first.ids, opinion.codes.tolist(), strict=True))
        chosen = dict(zip(first.ids[rows], opinion.codes[rows].tolist(), strict=True))
        record["before"] = compare_rounds(chosen, before, today)
    of_labels = _weigh(confidence[rows], plan, labeled)
    return PseudoLabels(first.ids[rows], opinion.codes[rows], confidence[rows], of_labels, record)


def _allowed(ids: Ids, opinion: Opinion, plan: PseudoPlan, labeled: Images | None, pool: Images | None) -> Mask:
    """Return which images may be chosen, (n_images,): where the teachers agree and the cores vouch, as is asked for."""
    allowed = opinion.agreed.copy() if plan.agree else np.ones(len(ids), dtype=bool)
    if plan.cores is None or not len(ids):
        return allowed
    if labeled is None or pool is None:
        raise ValueError("cores are found among the pool and the labelled images: hand in both")
    images = pool.take(_positions(names_of(pool), ids))
    return allowed & (find_cores(plan.cores, images, labeled, opinion.proba) == opinion.codes)


def _weigh(confidence: Scores, plan: PseudoPlan, labeled: Images | None) -> Weights:
    """Return the training weights of the chosen, (n_chosen,) float32, all above 0."""
    weights = confidence.astype(np.float64) if plan.weight == "confidence" else np.full(len(confidence), plan.weight)
    if plan.total_weight is not None and labeled is not None and len(weights):
        weights = weights * (plan.total_weight * len(labeled) / weights.sum())
    return weights.astype(np.float32)


def _prior(plan: PseudoPlan, labeled: Images | None, n_classes: int) -> Weights:
    """Return the class prior (n_classes,); no class is at zero."""
    if plan.align == "uniform" or labeled is None or not len(labeled):
        return np.full(n_classes, 1 / n_classes)
    counts = np.maximum(np.bincount(labeled.labels, minlength=n_classes), 1)
    return counts / counts.sum()


def _positions(names: Ids, wanted: Ids) -> Rows:
    """Return where each wanted name stands."""
    position = {name: row for row, name in enumerate(names)}
    return np.array([position[name] for name in wanted], dtype=np.int64)


def _describe(pool: Predictions, opinion: Opinion, candidates: Candidates, plan: PseudoPlan, rows: Rows) -> Record:
    """Return the record of one choice."""
    n_pool, classes = len(pool), pool.classes
    per_class = np.bincount(opinion.codes[rows], minlength=len(classes))
    quota = quota_of(n_pool, len(classes), plan)
    lacking = np.flatnonzero(per_class < quota) if quota and n_pool else ()
    thresholds = None
    if plan.strategy == "adaptive":
        thresholds = dict(zip(classes, thresholds_by_class(candidates).round(4).tolist(), strict=True))
    return {
        "n_pool": n_pool,
        "n_chosen": len(rows),
        "keep_rate": len(rows) / max(n_pool, 1),
        "quota_per_class": quota,
        "thresholds": thresholds,
        "agreement": float(opinion.agreed.mean()) if n_pool else 0.0,
        "max_confidence": float(candidates.confidence.max(initial=0)),
        "mean_confidence": float(opinion.proba[rows, opinion.codes[rows]].mean()) if len(rows) else 0.0,
        "per_class": dict(zip(classes, per_class.tolist(), strict=True)),
        "balance": describe_balance(per_class),
        "lifted": [] if plan.align != "none" else [classes[code] for code in opinion.lifted],
        "short": [classes[code] for code in lacking],
    }
