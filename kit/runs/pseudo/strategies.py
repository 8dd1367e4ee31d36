"""Strategies: which of the candidates become pseudo labels; small functions behind one interface.

A strategy takes `Candidates` and the plan and returns the positions that it keeps; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kit.config.runs import PseudoPlan
from kit.core.shapes import Labels, Rows, Scores, Weights


@dataclass(frozen=True)
class Candidates:
    """Hold the teachers' predictions of the images that may be chosen.

    Parameters
    ----------
    codes
        (n_candidates,) class codes.
    confidence
        (n_candidates,) the teachers' mean probability of that class, 0..1.
    mean_proba
        (n_classes,) mean probability over the whole pool.
    mean_confidence
        Mean confidence over the whole pool, 0..1.
    n_pool
        Images in the pool, candidates or not.
    """

    codes: Labels
    confidence: Scores
    mean_proba: Weights
    mean_confidence: float
    n_pool: int

    @property
    def n_classes(self) -> int:
        """Return the number of classes."""
        return len(self.mean_proba)


def quota_of(n_pool: int, n_classes: int, plan: PseudoPlan) -> int | None:
    """Return how many images of each class are asked for, at most; None where a threshold decides."""
    if plan.strategy == "balanced":
        return max(1, round(plan.keep_rate * n_pool / n_classes))
    return plan.k if plan.strategy == "top_k" else None


def above_threshold(candidates: Candidates, plan: PseudoPlan) -> Rows:
    """Keep all that are at least as confident as the threshold (Lee 2013)."""
    return np.flatnonzero(candidates.confidence >= plan.threshold)


def top_per_class(candidates: Candidates, plan: PseudoPlan) -> Rows:
    """Keep the same number of the most confident of every class, so that easy classes do not starve hard ones.

    References
    ----------
    Menghini et al. 2023, Enhancing CLIP with CLIP: exploring pseudolabeling for limited-label prompt tuning (GRIP).
    """
    order = np.lexsort((-candidates.confidence, candidates.codes))  # stable: ties go to the first row
    starts = np.searchsorted(candidates.codes[order], np.arange(candidates.n_classes))
    rank = np.arange(len(order)) - starts[candidates.codes[order]]
    quota = quota_of(candidates.n_pool, candidates.n_classes, plan)
    return order if quota is None else order[rank < quota]


def above_adaptive(candidates: Candidates, plan: PseudoPlan) -> Rows:
    """Keep what is as confident as the threshold of its class: the lower, the more rarely the teachers name it.

    References
    ----------
    Wang et al. 2023, FreeMatch: self-adaptive thresholding, equations 5 to 8; the means over the pool stand in for
    their moving averages over batches.
    """
    return np.flatnonzero(candidates.confidence >= thresholds_by_class(candidates)[candidates.codes])


def thresholds_by_class(candidates: Candidates) -> Weights:
    """Return FreeMatch's threshold of every class, (n_classes,) probabilities."""
    return candidates.mean_confidence * candidates.mean_proba / max(float(candidates.mean_proba.max()), 1e-12)


STRATEGIES: dict[str, Callable[[Candidates, PseudoPlan], Rows]] = {
    "balanced": top_per_class,
    "top_k": top_per_class,
    "threshold": above_threshold,
    "adaptive": above_adaptive,
}
