"""A score, its standard error and its 95 % interval, which hold near the ceiling and for few groups too.

What the images show of the spread is not all: of 30 images that are all right the score's closed form and its
bootstrap say 0. So one more image is counted as wrong: its label becomes the most probable of its other classes, and
it is rather one about which the model is not sure. How much that moves the score is measured by the metric itself, so
that a rare class moves macro F1 by more.

The interval is that of a share of as many images as have this spread (Korn and Graubard 1998), by Jeffreys' prior of
half an image of either kind: it ends at 0 and 1, and is asymmetric near them. Few images of a class that counts as much
as the others make a score less sure than their number says: Student's t has as many degrees of freedom as the classes'
errors have together (Satterthwaite). For few groups see `alike`. A loss is counted as costs of mistakes
are, by the Gamma distribution. A metric without known bounds has the score +- 1.96 standard errors.

References
----------
L. D. Brown, T. T. Cai, A. DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science 2001.
E. L. Korn, B. I. Graubard, "Confidence Intervals for Proportions with Small Expected Number of Positive Counts
Estimated from Survey Data", Survey Methodology 1998.
F. E. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin 1946.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kit.core.shapes import Groups, Labels, Proba, Rows, Scores, Weights
from kit.scoring.metrics.metric import Metric, decide
from kit.scoring.metrics.names import find_metric
from kit.scoring.metrics.uncertainty.alike import interval_of_groups
from kit.scoring.metrics.uncertainty.resamples import error_of_score, score_rows
from kit.scoring.metrics.uncertainty.spread import Z_95, count_effective, error_of_mean, widen

N_MISTAKES = 60  # images that are taken to be wrong, one at a time
LEAST = 1e-6  # probability of a mistake: models that say 0 or 1 make some too
FEW_GROUPS = 100  # as many equal ones: of more the images tell how alike those of a group are
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
    n_groups = count_effective(len(labels), groups)
    n_apart = n_groups if n_groups > 1 else len(labels)
    (mistaken, weights), freedom = _mistake(labels, proba), n_apart - 1
    if chosen.per_image is not None:
        values, others = (chosen.per_image(given, chosen.read(given, proba)) for given in (labels, mistaken))
        error, moves = error_of_mean(values, groups), (others - values) / len(values)
    else:
        error = error_of_score(chosen, labels, proba, groups)
        of_classes = _move_classes(chosen, labels, proba, weights)
        moves, weights = _move(chosen, labels, mistaken, proba, weights) - score, np.ones(N_MISTAKES)
        freedom = min(freedom, _freedom_of_classes(labels, of_classes - score, n_apart / len(labels)))
    weights = np.where(np.isfinite(moves), weights, 0)
    moves = np.average(np.abs(np.nan_to_num(moves))[None] ** [[1], [2]], axis=1, weights=weights)
    wide = widen(max(freedom, 1))
    together = _count_together(len(labels), n_groups) * (wide**2 if 1 < n_groups < len(labels) else 1)
    measured, mistake = (error * wide) ** 2, together * float(moves[1])
    se = float(np.sqrt(measured + mistake))
    counted = 0.5 if chosen.per_image is not None and np.isfinite(chosen.bounds[1]) else 1.0
    ends = _interval_of_few_groups(chosen, labels, proba, groups) if 1 < n_groups < FEW_GROUPS else None
    low, high = ends or _interval(chosen, score, measured + counted * mistake, counted * float(moves[0]), se)
    low, high = min(low, score), max(high, score)
    return Estimate(score, se if ends is None else max(se, (high - low) / 2 / Z_95), low, high)


def score_with_error(
    metric: str | Metric, labels: Labels, proba: Proba, groups: Groups | None = None
) -> tuple[float, float]:
    """Return a metric and its standard error, in the metric's unit, as `estimate` does."""
    return estimate(metric, labels, proba, groups)[:2]


def _interval_of_few_groups(
    metric: Metric, labels: Labels, proba: Proba, groups: Groups | None
) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval of a bounded mean over images of groups; None of any other metric."""
    lowest, highest = metric.bounds
    if metric.per_image is None or groups is None or not np.isfinite(highest - lowest):
        return None
    width = highest - lowest
    values = np.clip((metric.per_image(labels, metric.read(labels, proba)) - lowest) / width, 0, 1)
    low, high = interval_of_groups(values, groups, TAIL)
    return lowest + width * low, lowest + width * high


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
    return _score_exchanged(metric, labels, proba, at, mistaken[at], proba[at])


def _move_classes(metric: Metric, labels: Labels, proba: Proba, weights: Weights) -> Scores:
    """Return the score with one image of a class decided for another one, for each class that occurs, (n_occurring,).

    Of a class's images that are right it is the one that is mistaken most easily; NaN where none is right.
    """
    is_several, occurring = labels.ndim == 2, _list_occurring(labels)
    of_class = labels.T[occurring] == 1 if is_several else labels == occurring[:, None]
    decided = decide(proba, is_several)
    is_right = of_class & (decided.T[occurring] == 1 if is_several else decided == labels)
    at = np.where(is_right, weights, -1).argmax(axis=1)
    wrong, place = proba[at], np.arange(len(at))
    if is_several:
        wrong[place, occurring] = 1 - wrong[place, occurring] - LEAST
    else:
        others = wrong.copy()
        others[place, occurring] = -1
        nearest = others.argmax(axis=1)
        wrong[place, occurring], wrong[place, nearest] = wrong[place, nearest], wrong[place, occurring]
    scores = _score_exchanged(metric, labels, proba, at, labels[at], wrong)
    return np.where(is_right.any(axis=1), scores, np.nan)


def _score_exchanged(
    metric: Metric, labels: Labels, proba: Proba, at: Rows, other_labels: Labels, other_proba: Proba
) -> Scores:
    """Return the score with image after image at `at` exchanged for another one, (n_exchanged,)."""
    everything = np.arange(len(labels))
    rows = (np.where(everything == image, len(labels) + place, everything) for place, image in enumerate(at))
    both, twice = np.concatenate([labels, other_labels]), np.concatenate([proba, other_proba])
    return score_rows(metric, both, [twice], rows)[:, 0]


def _list_occurring(labels: Labels) -> np.ndarray:
    """Return the codes of the classes that occur, (n_occurring,)."""
    return np.flatnonzero((labels == 1).any(axis=0)) if labels.ndim == 2 else np.unique(labels)


def _freedom_of_classes(labels: Labels, moves: Scores, apart: float) -> float:
    """Return the degrees of freedom of a score to which every class adds its own error (Satterthwaite 1946).

    A class of n images, one of which moves the score by m, adds n m^2 of variance, known from n images, of which the
    share `apart` tells something of its own. All images of a class of which none is right are taken to move the score
    together as far as those of the other classes do in the mean.
    """
    counts = (labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels))[_list_occurring(labels)]
    far = counts * np.abs(moves)
    known = far[np.isfinite(far)]
    variance = np.where(np.isfinite(far), far, known.mean() if len(known) else 1.0) ** 2 / counts
    each = variance**2 / np.maximum(counts * apart - 1, 1)
    return float(variance.sum() ** 2 / each.sum()) if each.sum() > 0 else float("inf")
