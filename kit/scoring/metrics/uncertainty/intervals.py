"""A score, its standard error and its 95 % interval, which hold near the ceiling and for few groups too.

What the images show of the spread is not all: of 30 images that are all right the score's closed form and its
bootstrap say 0. So one more image is counted as wrong: its label becomes the most probable of its other classes, and
it is rather one about which the model is not sure. How much that moves the score is measured by the metric itself, so
that a rare class moves macro F1 by more.

The interval is that of a share of as many images as have this spread (Korn and Graubard 1998), by Jeffreys' prior of
half an image of either kind: it ends at 0 and 1, and is asymmetric near them. A loss is counted as costs of mistakes
are, by the Gamma distribution. A metric without known bounds has the score +- 1.96 standard errors.

References
----------
L. D. Brown, T. T. Cai, A. DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science 2001.
E. L. Korn, B. I. Graubard, "Confidence Intervals for Proportions with Small Expected Number of Positive Counts
Estimated from Survey Data", Survey Methodology 1998.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kit.core.shapes import Groups, Labels, Proba, Scores, Weights
from kit.scoring.metrics.metric import Metric
from kit.scoring.metrics.names import find_metric
from kit.scoring.metrics.uncertainty.resamples import error_of_score, score_rows
from kit.scoring.metrics.uncertainty.spread import Z_95, count_effective, error_of_mean, widen

N_MISTAKES = 60  # images that are taken to be wrong, one at a time
LEAST = 1e-6  # probability of a mistake: models that say 0 or 1 make some too
TAIL = 0.025  # below and above a 95 % interval


class Estimate(NamedTuple):
    """Hold a score, one standard error, and the ends of the 95 % interval, in the metric's unit.

    The standard error is widened for few images or groups, so that 1.96 of it are the 95 % interval of Student's t.
    """

    score: float
    se: float
    low: float
    high: float


def estimate(metric: str | Metric, labels: Labels, proba: Proba, groups: Groups | None = None) -> Estimate:
    """Return a metric, its standard error and its 95 % interval; without `groups` every image counts for itself.

    Raises
    ------
    InputError
        When the metric is not known or not defined on these images.
    """
    chosen, labels, proba = find_metric(metric), np.asarray(labels), np.asarray(proba)
    score = chosen.score(labels, proba)
    mistaken, weights = _mistake(labels, proba)
    if chosen.per_image is not None:
        values, others = (chosen.per_image(given, chosen.read(given, proba)) for given in (labels, mistaken))
        error, moves = error_of_mean(values, groups), (others - values) / len(values)
    else:
        error = error_of_score(chosen, labels, proba, groups)
        moves, weights = _move(chosen, labels, mistaken, proba, weights) - score, np.ones(N_MISTAKES)
    weights = np.where(np.isfinite(moves), weights, 0)
    moves = np.average(np.abs(np.nan_to_num(moves))[None] ** [[1], [2]], axis=1, weights=weights)
    n_groups = count_effective(len(labels), groups)
    wide = widen(max((n_groups if n_groups > 1 else len(labels)) - 1, 1))
    together = _count_together(len(labels), n_groups) * (wide**2 if 1 < n_groups < len(labels) else 1)
    measured, mistake = (error * wide) ** 2, together * float(moves[1])
    se = float(np.sqrt(measured + mistake))
    counted = 0.5 if chosen.per_image is not None and np.isfinite(chosen.bounds[1]) else 1.0
    low, high = _interval(chosen, score, measured + counted * mistake, counted * float(moves[0]), se)
    return Estimate(score, se, min(low, score), max(high, score))


def score_with_error(
    metric: str | Metric, labels: Labels, proba: Proba, groups: Groups | None = None
) -> tuple[float, float]:
    """Return a metric and its standard error, in the metric's unit, as `estimate` does."""
    return estimate(metric, labels, proba, groups)[:2]


def _count_together(n_images: int, n_groups: float) -> float:
    """Return how many mistakes one brings with it: between none and all of its group, the geometric mean."""
    return (n_images / max(n_groups, 1)) ** (0.5 if n_groups > 1 else 1)


def _interval(metric: Metric, score: float, variance: float, size: float, se: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval; `variance` holds half a mistake, which moves the score by `size`."""
    from scipy.special import betaincinv, gammaincinv

    lowest, highest = metric.bounds
    if not np.isfinite(lowest) or variance <= 0:
        return score - Z_95 * se, score + Z_95 * se
    if np.isfinite(highest):
        width = highest - lowest
        share = float(np.clip((score - lowest) / width, 0, 1))
        n = (share * (1 - share) + size / width) * width**2 / variance
        ends = [float(betaincinv(share * n + 0.5, (1 - share) * n + 0.5, tail)) for tail in (TAIL, 1 - TAIL)]
        return lowest + width * ends[0], lowest + width * ends[1]
    unit = variance / (score - lowest + size)
    ends = [float(gammaincinv((score - lowest) / unit + 0.5, tail)) for tail in (TAIL, 1 - TAIL)]
    return lowest + unit * ends[0], lowest + unit * ends[1]


def _mistake(labels: Labels, proba: Proba) -> tuple[Labels, Weights]:
    """Return labels that make every image that is right wrong, and how likely each is, (n_images,) above 0.

    It is the most probable other class that occurs; of several labels per image, the class about which the
    probabilities are least sure is one of them or is none of them any more. The root of the probability stands for how
    likely it is: networks that are too sure square it.
    """
    everything = np.arange(len(labels))
    if labels.ndim == 2:
        mistaken, unsure = labels.copy(), np.minimum(proba, 1 - proba)
        nearest = unsure.argmax(axis=1)
        mistaken[everything, nearest] ^= 1
        return mistaken, np.sqrt(np.maximum(unsure[everything, nearest], LEAST))
    others, occurring = np.full(proba.shape, -1.0), np.unique(labels)
    others[:, occurring] = proba[:, occurring]
    others[everything, labels] = -1
    mistaken = others.argmax(axis=1) if len(occurring) > 1 else 1 - np.minimum(labels, 1)
    return mistaken, np.sqrt(np.maximum(others.max(axis=1), LEAST))


def _move(metric: Metric, labels: Labels, mistaken: Labels, proba: Proba, weights: Weights) -> Scores:
    """Return the score with one image's label another one, for images drawn by weight, (N_MISTAKES,)."""
    bounds = np.cumsum(weights) / weights.sum()
    at = np.searchsorted(bounds, (np.arange(N_MISTAKES) + 0.5) / N_MISTAKES)
    everything = np.arange(len(labels))
    rows = (np.where(everything == image, len(labels) + place, everything) for place, image in enumerate(at))
    both, twice = np.concatenate([labels, mistaken[at]]), np.concatenate([proba, proba[at]])
    return score_rows(metric, both, [twice], rows)[:, 0]
