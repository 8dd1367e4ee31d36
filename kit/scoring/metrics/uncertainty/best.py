"""The best of many runs: which of them it may be, and how good it is without the luck by which it was chosen.

The best of k equally good runs is the luckiest: its score is above the truth, and a paired test of every other run
against it calls one of them worse far more often than in 5 % of cases. Both are mended on the same images.

References
----------
P. R. Hansen, A. Lunde, J. M. Nason, "The Model Confidence Set", Econometrica 2011: the joint test.
I. Tsamardinos, E. Greasidou, G. Borboudakis, "Bootstrapping the Out-of-sample Predictions for Efficient and Accurate
Cross-Validation", Machine Learning 2018: the corrected score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kit.core.shapes import Groups, Labels, Mask, Proba, Rows, Scores
from kit.scoring.metrics.metric import Metric
from kit.scoring.metrics.names import find_metric
from kit.scoring.metrics.uncertainty.resamples import bootstrap_rows, score_deviations, score_rows
from kit.scoring.metrics.uncertainty.spread import Z_95, count_effective, jackknife_deviations, widen

N_NORMAL = 2000  # draws of all runs' scores together: the 95 % quantile is good to 2 %
N_CHOICES = 400  # resamples on which the best is chosen anew
LARGEST_WORK = 200_000_000  # images x classes x runs that they may touch together, where the metric is no mean
FEWEST_CHOICES = 20
SAME = 1e-12  # of the variance of two scores: what the difference of equal runs has by rounding


class Contest(NamedTuple):
    """Hold how runs compare with the one of the best score, (n_runs,) each.

    Parameters
    ----------
    difference, error
        How much better than the best a run is on the same images, so at most 0, and one standard error of it, widened
        for few images or groups.
    may_be_best
        Whether a joint test at 95 % leaves the run among those that may be the best. Of equally good runs, however
        many, one is called worse in at most 5 % of cases.
    """

    difference: Scores
    error: Scores
    may_be_best: Mask


def compare_with_best(
    metric: str | Metric, labels: Labels, probas: Sequence[Proba], groups: Groups | None = None
) -> Contest:
    """Compare several runs on the same images with the best of them; of two it is the paired test.

    Raises
    ------
    InputError
        When the metric is not known or not defined on these images.
    """
    chosen, labels = find_metric(metric), np.asarray(labels)
    scores = np.array([chosen.sign * chosen.score(labels, proba) for proba in probas])
    freedom = count_effective(len(labels), groups) - 1
    covariance = _covariance(chosen, labels, probas, groups)
    own = np.diag(covariance)
    variance = own[:, None] + own - 2 * covariance
    error = np.sqrt(np.where(variance > SAME * (own[:, None] + own), variance, 0)) * widen(freedom)
    best = int(scores.argmax())
    return Contest(scores - scores[best], error[best], _may_be_best(scores, error, covariance, freedom))


def correct_best(metric: str | Metric, labels: Labels, probas: Sequence[Proba], groups: Groups | None = None) -> float:
    """Return the score of the best run without the luck by which it was chosen, in the metric's unit.

    The best is chosen anew on resamples of the images, or groups, and scored on the images that were not drawn. What
    that costs against the run that is the best on all is taken off its score. InputError as `compare_with_best`.
    """
    chosen, labels = find_metric(metric), np.asarray(labels)
    scores = np.array([chosen.score(labels, proba) for proba in probas])
    best = int((chosen.sign * scores).argmax())
    if len(probas) == 1:
        return float(scores[best])
    inside, outside = _score_both_sides(chosen, labels, probas, groups)
    inside = np.where(np.isfinite(inside), chosen.sign * inside, -np.inf)
    apart = np.take_along_axis(outside, inside.argmax(axis=1)[:, None], axis=1)[:, 0] - outside[:, best]
    apart = apart[np.isfinite(apart)]
    return float(scores[best] + (apart.mean() if len(apart) else 0.0))


def _covariance(metric: Metric, labels: Labels, probas: Sequence[Proba], groups: Groups | None) -> np.ndarray:
    """Return the covariance of the runs' scores over draws of images, or groups, (n_runs, n_runs)."""
    if metric.per_image is not None:
        values = np.stack([metric.per_image(labels, metric.read(labels, proba)) for proba in probas], axis=1)
        deviations = jackknife_deviations(values, groups)
    else:
        deviations = score_deviations(metric, labels, probas, groups)
    return deviations.T @ deviations


def _may_be_best(scores: Scores, error: np.ndarray, covariance: np.ndarray, freedom: float) -> Mask:
    """Return which runs stay when the worst is left out as long as the largest difference is beyond chance."""
    gaps = scores - scores[:, None]  # how much better the column is
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(gaps > 0, gaps / error, 0.0)
    staying = list(range(len(scores)))
    left_out, statistics = [], []
    while len(staying) > 1:
        worst = distance[np.ix_(staying, staying)].max(axis=1)
        left_out.append(staying.pop(int(worst.argmax())))
        statistics.append(worst.max())
    may_be_best = np.ones(len(scores), dtype=bool)
    for run, statistic, limit in zip(
        left_out, statistics, _limits(left_out, staying, error, covariance, freedom), strict=True
    ):
        if statistic <= limit:
            break
        may_be_best[run] = False
    return may_be_best


def _limits(
    left_out: list[int], last: list[int], error: np.ndarray, covariance: np.ndarray, freedom: float
) -> list[float]:
    """Return the 95 % quantile of the largest difference of the runs that are there as each one is left out.

    They are drawn together from the normal distribution that has their covariance, and spread as Student's t is.
    """
    draw = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(covariance)
    drawn = draw.normal(size=(N_NORMAL, len(covariance))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    if freedom > 0:
        drawn *= np.sqrt(freedom / draw.chisquare(freedom, (N_NORMAL, 1)))
    largest, limits, there = np.zeros(N_NORMAL), [], list(last)
    for run in reversed(left_out):
        known = [other for other in there if error[run, other] > 0]
        apart = np.abs(drawn[:, known] - drawn[:, [run]]) / error[run, known]
        largest = np.maximum(largest, apart.max(axis=1, initial=0))
        there.append(run)
        limits.append(Z_95 if len(there) == 2 else max(Z_95, float(np.quantile(largest, 0.95))))
    return limits[::-1]


def _score_both_sides(
    metric: Metric, labels: Labels, probas: Sequence[Proba], groups: Groups | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return every run's score on the images of each resample, and on those not drawn, (n_draws, n_runs) each."""
    n_images = len(labels)
    if metric.per_image is not None:
        values = np.stack([metric.per_image(labels, metric.read(labels, proba)) for proba in probas], axis=1)
        inside, outside = np.empty((2, N_CHOICES, len(probas)))
        for number, rows in enumerate(bootstrap_rows(n_images, groups, N_CHOICES)):
            drawn = np.bincount(rows, minlength=n_images)
            spared = (drawn == 0).astype(np.float64)
            inside[number] = drawn @ values / len(rows)
            outside[number] = spared @ values / max(spared.sum(), 1)
        return inside, outside
    work = sum(proba.size for proba in probas)
    n_draws = int(np.clip(LARGEST_WORK // max(work, 1), FEWEST_CHOICES, N_CHOICES // 2))
    sides: tuple[list[Rows], list[Rows]] = ([], [])
    for rows in bootstrap_rows(n_images, groups, n_draws):
        sides[0].append(rows)
        sides[1].append(np.flatnonzero(np.bincount(rows, minlength=n_images) == 0))
    inside, outside = (score_rows(metric, labels, probas, side) for side in sides)
    return inside, outside
