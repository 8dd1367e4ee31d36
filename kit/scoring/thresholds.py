"""Thresholds: from which probability on an image has a class, where it may have several.

A threshold per class, chosen for the metric on held-out images and shrunk: towards the threshold that all classes
share where a class has few images, and back to one half where the gain does not show in each part of the images.
Applied as a shift of the probabilities, so that one half is the threshold of everything that comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Groups, Labels, Proba, Weights
from kit.scoring.hierarchy import Hierarchy
from kit.scoring.metrics import Counts, Metric, paired_difference

LOG_ODDS = np.arange(-4.0, 4.01, 0.25)  # thresholds that are tried, .018 to .982; 0 is one half
PLACE_OF_HALF = 16  # its place among them
FEW_IMAGES = 20  # of a class, with which the threshold chosen for it and the shared one count alike
MOST_IMAGES = 5000  # on which a metric that is no function of counts is computed over and over
N_SWEEPS = 3  # times that every class is gone through
CERTAIN = 1e-6  # probability: the log-odds of a certain one stay finite
ROUNDING_ERROR = 1e-12


@dataclass(frozen=True)
class ChosenThresholds:
    """Hold thresholds and what they gain.

    Parameters
    ----------
    thresholds
        (n_classes,) probabilities, above 0 and below 1.
    gain, gain_se
        The metric's gain over one half on images that did not choose, and its standard error; None where none did.
    """

    thresholds: Weights
    gain: float | None
    gain_se: float | None


def shift_proba(proba: Proba, thresholds: Weights) -> Proba:
    """Return probabilities for which one half is the threshold: sigmoid(logit(proba) - logit(threshold)).

    Thresholds are above 0 and below 1; what is at its threshold comes out at one half. The order within each class
    stays.
    """
    proba, thresholds = np.asarray(proba, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    has, lacks = proba * (1 - thresholds), (1 - proba) * thresholds
    return np.where(thresholds == 0.5, proba, has / (has + lacks))


def apply_thresholds(proba: Proba, thresholds: Weights, hierarchy: Hierarchy | None = None) -> Proba:
    """Return shifted probabilities in which no child is above its parent, (n_images, n_classes)."""
    shifted = shift_proba(proba, thresholds)
    return shifted if hierarchy is None else hierarchy.make_consistent(shifted)


def choose_thresholds(
    metric: Metric,
    labels: Labels,
    proba: Proba,
    blocks: Groups,
    hierarchy: Hierarchy | None = None,
    groups: Groups | None = None,
) -> ChosenThresholds:
    """Choose a threshold for each class on held-out images.

    Classes are gone through in turn, each threshold set to what serves the metric best with the others as they are,
    starting from the best that all classes share. Then they are shrunk. The burden of proof lies with change: chosen
    on all blocks but one and measured on that one, they must gain more than one standard error, or it is one half.

    A class without images has the threshold that all share. With a single block nothing can be proved, and all are one
    half.

    Parameters
    ----------
    metric
        What to raise. Thresholds would only harm a metric that reads probabilities: then all are one half.
    blocks
        (n_images,) parts for the proof: the folds.
    groups
        (n_images,) whole numbers, equal for images that are not independent, for the standard error of the gain; every
        image for itself by default.
    """
    half = np.full(proba.shape[1], 0.5)
    if metric.needs == "proba" or len(np.unique(blocks)) < 2:
        return ChosenThresholds(half, None, None)
    gain, gain_se = _prove(metric, labels, proba, blocks, hierarchy, groups)
    is_proved = gain > gain_se + ROUNDING_ERROR
    return ChosenThresholds(fit_thresholds(metric, labels, proba) if is_proved else half, gain, gain_se)


def nest_thresholds(
    metric: Metric,
    labels: Labels,
    proba: Proba,
    blocks: Groups,
    hierarchy: Hierarchy | None = None,
    groups: Groups | None = None,
    apart: Callable[[int], Proba] | None = None,
) -> dict[int, Weights]:
    """Return for each block the thresholds that the other blocks choose, (n_classes,).

    Parameters are those of `choose_thresholds`; with a single block nothing may choose, and all are one half. `apart`
    gives of a block what models that did not see it say of the other blocks' images, in their order; `proba` counts
    where there is none.
    """
    every, half = np.unique(blocks), np.full(proba.shape[1], 0.5)
    nested = dict.fromkeys(every.tolist(), half)
    for block in every.tolist() if len(every) > 1 else ():
        rest = blocks != block
        grouped = None if groups is None else groups[rest]
        others = proba[rest] if apart is None else apart(block)
        chosen = choose_thresholds(metric, labels[rest], others, blocks[rest], hierarchy, grouped)
        nested[block] = chosen.thresholds
    return nested


def _prove(
    metric: Metric,
    labels: Labels,
    proba: Proba,
    blocks: Groups,
    hierarchy: Hierarchy | None,
    groups: Groups | None,
) -> tuple[float, float]:
    """Return the gain over one half on images that did not choose, and its standard error."""
    shifted = np.empty(proba.shape)
    for block in np.unique(blocks):
        rest, held_out = blocks != block, blocks == block
        thresholds = fit_thresholds(metric, labels[rest], proba[rest])
        shifted[held_out] = apply_thresholds(proba[held_out], thresholds, hierarchy)
    return paired_difference(metric, labels, shifted, proba, groups)


def fit_thresholds(metric: Metric, labels: Labels, proba: Proba) -> Weights:
    """Return the shrunk thresholds that serve the metric best on these images, (n_classes,), proved or not."""
    places = np.clip(np.asarray(proba, dtype=np.float64), CERTAIN, 1 - CERTAIN)
    score = _scorer(metric, labels, np.log(places / (1 - places)))
    n_classes, n_images = proba.shape[1], labels.sum(axis=0)
    shared = _best([score(np.full(n_classes, place)) for place in range(len(LOG_ODDS))], PLACE_OF_HALF)
    chosen = np.full(n_classes, shared)  # places among LOG_ODDS
    for _ in range(N_SWEEPS):
        before = chosen.copy()
        for code in np.flatnonzero((n_images > 0) & (n_images < len(labels))):
            is_code = np.arange(n_classes) == code
            scores = [score(np.where(is_code, place, chosen)) for place in range(len(LOG_ODDS))]
            chosen[code] = _best(scores, chosen[code])
        if np.array_equal(before, chosen):
            break
    rarer = np.minimum(n_images, len(labels) - n_images)  # a class that nearly all images have is as little known
    trust = rarer / (rarer + FEW_IMAGES)
    return 1 / (1 + np.exp(-(LOG_ODDS[shared] + trust * (LOG_ODDS[chosen] - LOG_ODDS[shared]))))


def _scorer(metric: Metric, labels: Labels, log_odds: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return a function that scores thresholds, given as (n_classes,) places among LOG_ODDS; greater is better.

    Metrics of counts are had from each class's counts at every threshold, made once; the others from a draw of images.
    """
    if metric.of_counts is not None:
        columns = np.arange(labels.shape[1])
        counts = [_count(log_odds[:, code], labels[:, code] == 1) for code in columns]
        right, decided = (np.stack(column) for column in zip(*counts, strict=True))  # (n_classes, n_thresholds)
        n_images, of = labels.sum(axis=0), metric.of_counts
        return lambda places: _or_worst(float(of(Counts(right[columns, places], n_images, decided[columns, places]))))
    drawn = np.random.default_rng(0).permutation(len(labels))[:MOST_IMAGES]
    labels, log_odds = labels[drawn], log_odds[drawn]

    def score(places: np.ndarray) -> float:
        return _or_worst(metric.sign * float(metric.of(labels, (log_odds >= LOG_ODDS[places]).astype(np.int8))))

    return score


def _or_worst(value: float) -> float:
    """Return a score, or minus infinity where these images do not define it."""
    return value if np.isfinite(value) else -np.inf


def _count(log_odds: np.ndarray, is_label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the images rightly decided for a class, and all decided for it, by threshold; (n_thresholds,) each."""
    n_right, n_decided = (
        len(odds) - np.searchsorted(np.sort(odds), LOG_ODDS, side="left") for odds in (log_odds[is_label], log_odds)
    )
    return n_right, n_decided


def _best(scores: list[float], preferred: int) -> int:
    """Return the middle of the run of best scores that is nearest the preferred place, or that place if it is one."""
    best = np.flatnonzero(np.asarray(scores) >= np.max(scores) - ROUNDING_ERROR)
    if preferred in best:
        return preferred
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    nearest = min(runs, key=lambda run: np.abs(run - preferred).min())
    return int(nearest[len(nearest) // 2])
