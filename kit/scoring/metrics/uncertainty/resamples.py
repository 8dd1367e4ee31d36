"""Resamples of images, or of groups of them, and a metric on each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np

from kit.core.errors import InputError
from kit.core.shapes import Groups, Labels, Proba, Rows
from kit.core.terminal import track
from kit.scoring.metrics.metric import Metric, ResampledMetric, of_each
from kit.scoring.metrics.uncertainty.spread import count_effective

N_BOOTSTRAP = 400
FEWEST_GROUPS = 30  # as many equal ones: fewer are left out in turn, for a bootstrap of them is too sure
FEWEST_IMAGES = 60  # the same of images: a draw of fewer often lacks a rare class
FEWEST_DRAWS = 50  # a standard error of so many is itself good to a tenth
LARGEST_BLOCK = 500_000  # images drawn for the resamples that are counted together
LARGEST_KEPT = 4_000_000  # of resamples that are kept: 32 MB
LARGEST_WORK = 100_000_000  # probabilities that the draws of a metric of probabilities may touch together


def error_of_score(metric: Metric, labels: Labels, proba: Proba, groups: Groups | None) -> float:
    """Return the standard error of a score.

    A group of the share h, left out, moves the score by its residuals over 1 - h: the error is freed of that bias, as
    `kit.scoring.metrics.uncertainty.spread.error_of_mean` is.
    """
    if groups is not None and count_effective(len(labels), groups) <= 1:
        return error_of_score(metric, labels, proba, None) * float(np.sqrt(len(labels)))
    if len(labels) < FEWEST_IMAGES and (groups is None or len(np.unique(groups)) == len(labels)):
        groups = np.arange(len(labels))
    deviations = score_deviations(metric, labels, [proba], groups)[:, 0]
    if _leaves_out(len(labels), groups):
        _, sizes = np.unique(np.asarray(groups), return_counts=True)
        n_groups, kept = len(sizes), 1 - sizes / len(labels)
        if n_groups == len(deviations):
            deviations = deviations * np.sqrt(kept / (1 - 1 / n_groups))
    return float(np.sqrt((deviations**2).sum()))


def score_deviations(metric: Metric, labels: Labels, probas: Sequence[Proba], groups: Groups | None) -> np.ndarray:
    """Return how scores move with the images, (n_moves, n_runs): the products' sums are their covariance.

    Images or groups are drawn with replacement; few groups are left out in turn. Where the metric is not defined on a
    draw, the draw is left out.
    """
    if _leaves_out(len(labels), groups):
        everything, (_, codes) = np.arange(len(labels)), np.unique(np.asarray(groups), return_inverse=True)
        rest = (np.flatnonzero(codes != code) for code in range(codes.max() + 1))
        scores = score_rows(metric, labels, probas, [everything, *rest])
        moved = scores[1:][np.isfinite(scores[1:]).all(axis=1)] - scores[0]
        return moved * np.sqrt(1 - 1 / max(len(moved), 1))
    is_alone = count_effective(len(labels), groups) <= 1
    draws = _draw_scores(metric, labels, probas, None if is_alone else groups)
    draws = draws[np.isfinite(draws).all(axis=1)]
    if not len(draws):
        return np.zeros((1, len(probas)))
    return (draws - draws.mean(axis=0)) / np.sqrt(len(draws)) * (np.sqrt(len(labels)) if is_alone else 1.0)


def _leaves_out(n_images: int, groups: Groups | None) -> bool:
    """Return whether the groups are too few to be drawn."""
    n_groups = count_effective(n_images, groups)
    if groups is not None and n_groups == n_images:
        return n_images < FEWEST_IMAGES
    return groups is not None and 1 < n_groups < FEWEST_GROUPS


def _draw_scores(metric: Metric, labels: Labels, probas: Sequence[Proba], groups: Groups | None) -> np.ndarray:
    """Return the scores on bootstrap resamples, (n_draws, n_runs)."""
    n_draws = N_BOOTSTRAP
    if metric.needs == "proba":
        n_draws = int(np.clip(LARGEST_WORK // max(probas[0].size, 1), FEWEST_DRAWS, N_BOOTSTRAP))
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(labels) * n_draws <= LARGEST_KEPT:
        return score_rows(
            metric, labels, probas, _keep_rows(len(labels), codes if codes is None else codes.tobytes(), n_draws)
        )
    draws = track(bootstrap_rows(len(labels), codes, n_draws), "bootstrap", n_draws)
    return score_rows(metric, labels, probas, draws)


@lru_cache(maxsize=1)
def _keep_rows(n_images: int, codes: bytes | None, n_draws: int) -> list[Rows]:
    """Return the resamples of `bootstrap_rows`, the last of which are kept: the runs of a table have the same ones."""
    groups = None if codes is None else np.frombuffer(codes, dtype=np.intp)
    return list(bootstrap_rows(n_images, groups, n_draws))


def score_rows(metric: Metric, labels: Labels, probas: Sequence[Proba], samples: Iterable[Rows]) -> np.ndarray:
    """Return the scores on each sample of rows, (n_samples, n_runs)."""
    scorers = [make_scorer(metric, np.asarray(labels), np.asarray(proba)) for proba in probas]
    each, n_at_once = iter(samples), max(LARGEST_BLOCK // max(len(labels), 1), 1)
    blocks = iter(lambda: list(islice(each, n_at_once)), [])
    scores = [np.stack([score(block) for score in scorers], axis=1) for block in blocks]
    return np.concatenate([np.empty((0, len(scorers))), *scores])


def make_scorer(metric: Metric, labels: Labels, proba: Proba) -> ResampledMetric:
    """Return the metric of resamples; the decisions are taken once."""
    predicted = metric.read(labels, proba)
    if metric.share:
        return metric.share(labels, predicted)

    def score(rows: Rows) -> float:
        try:
            return metric.of(labels[rows], predicted[rows])
        except InputError:  # a custom metric that asks for every class, of which a rare one was not drawn
            return float("nan")

    return of_each(score)


def bootstrap_rows(n_images: int, groups: Groups | None = None, n_draws: int = N_BOOTSTRAP) -> Iterator[Rows]:
    """Draw the same resamples every time, one at a time: two runs are compared on the same draws."""
    draw = np.random.default_rng(0)
    if groups is None:
        return (draw.integers(0, n_images, n_images) for _ in range(n_draws))
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    members, ends = np.argsort(codes, kind="stable"), np.cumsum(sizes)

    def take(drawn: np.ndarray) -> Rows:
        """Return the members of the drawn groups: group by group, each one's positions counted from its first."""
        taken = sizes[drawn]
        within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        return members[np.repeat(ends[drawn] - taken, taken) + within]

    return (take(draw.integers(0, len(sizes), len(sizes))) for _ in range(n_draws))
