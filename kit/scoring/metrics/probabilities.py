"""Metrics of probabilities: how sure, and in which order.

Labels are (n_images,) class codes, or (n_images, n_classes) of 0 and 1 where an image may have several; proba is
(n_images, n_classes).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kit.core.shapes import Labels, Mask, Proba, Rows, Scores
from kit.scoring.metrics.metric import ResampledMetric, of_each

EPSILON = np.finfo(np.float64).eps  # the clip of scikit-learn's log_loss; a certain error costs 36


def negative_log_proba(labels: Labels, proba: Proba) -> Scores:
    """Return minus the log-probability of the label, float64, clipped as scikit-learn clips; (n_images,).

    Where an image may have several labels it is the mean over the classes of what each one's yes or no costs.
    """
    if labels.ndim == 2:
        proba = np.asarray(proba, dtype=np.float64)
        of_label = np.where(labels == 1, proba, 1 - proba)
        return -np.log(np.clip(of_label, EPSILON, 1 - EPSILON)).mean(axis=1)
    proba = rescale(proba)
    return -np.log(np.clip(proba[np.arange(len(labels)), labels], EPSILON, 1.0))


def squared_error(labels: Labels, proba: Proba) -> Scores:
    """Return each image's Brier score, 0 or above, less is better; (n_images,).

    Of two classes it is the squared error of one's probability, 0..1; of more the sum over the classes, 0..2, both as
    in scikit-learn. Where an image may have several labels it is the mean over the classes.
    """
    proba = np.asarray(proba, dtype=np.float64) if labels.ndim == 2 else rescale(proba)
    errors = (proba - one_hot(labels, proba.shape[1])) ** 2
    return errors.mean(axis=1) if labels.ndim == 2 or proba.shape[1] == 2 else errors.sum(axis=1)


def count_zeros(labels: Labels, proba: Proba) -> int:
    """Return how many images have a probability of exactly 0 for what they are, so that the log-loss is cut off."""
    of_label = np.where(one_hot(labels, proba.shape[1]), proba, 1 if labels.ndim == 1 else 1 - proba)
    return int((of_label <= 0).any(axis=1).sum())


def rescale(proba: Proba) -> Proba:
    """Return probabilities in float64 whose rows sum to 1; of a near-certain class what is lacking to 1 stays exact."""
    proba = np.asarray(proba, dtype=np.float64)
    return proba / proba.sum(axis=1, keepdims=True)


def is_among_first(labels: Labels, proba: Proba, k: int) -> Scores:
    """Return 1.0 where the label is among the `k` most probable classes, else 0.0; (n_images,)."""
    return (ranks_of_labels(labels, proba) <= k).astype(np.float64)


def average_precision_at(labels: Labels, proba: Proba, k: int) -> Scores:
    """Return the average precision of each image's `k` most probable classes, 0..1; (n_images,).

    For one label it is 1 / rank within the first `k`, else 0. For several it is the mean, over as many of the first
    `k` places as could hold labels, of the precision at each place that does; 0 for an image without labels.
    """
    if labels.ndim == 1:
        ranks = ranks_of_labels(labels, proba)
        return np.where(ranks <= k, 1 / ranks, 0.0)
    first = np.argsort(-proba, axis=1, kind="stable")[:, :k]
    is_right = np.take_along_axis(labels, first, axis=1) == 1
    precision = is_right.cumsum(axis=1) / np.arange(1, first.shape[1] + 1)
    n_places = np.minimum(labels.sum(axis=1), k)
    return (precision * is_right).sum(axis=1) / np.maximum(n_places, 1)


def ranks_of_labels(labels: Labels, proba: Proba) -> np.ndarray:
    """Return the place of the label among the classes by probability, 1 for the first; (n_images,).

    Of equally probable classes the earlier one comes first, as it does where they are written.
    """
    of_label = np.take_along_axis(proba, labels[:, None], axis=1)
    is_before = np.arange(proba.shape[1]) < labels[:, None]
    return 1 + (proba > of_label).sum(axis=1) + ((proba == of_label) & is_before).sum(axis=1)


def macro_auc(labels: Labels, proba: Proba) -> float:
    """Return the mean over classes of the area under the ROC curve of one against the rest, 0..1."""
    return share_auc(labels, proba)([np.arange(len(labels))])[0]


def macro_average_precision(labels: Labels, proba: Proba) -> float:
    """Return the mean over classes of the average precision of one against the rest, 0..1."""
    return share_average_precision(labels, proba)([np.arange(len(labels))])[0]


def share_auc(labels: Labels, proba: Proba) -> ResampledMetric:
    """Return `macro_auc` of resamples: the images are sorted once."""
    ranking = _Ranking(labels, proba)

    def auc(rows: Rows) -> float:
        drawn = ranking.draw(rows)
        negatives_before = drawn.before - drawn.positives_before
        negatives_until = drawn.until - drawn.positives_until
        wrong = ranking.add(drawn.weights * (negatives_before + negatives_until) / 2)  # a tie is half a wrong pair
        n_positives = ranking.add(drawn.weights)
        n_pairs = n_positives * (len(rows) - n_positives)
        return _mean_over(1 - wrong / np.maximum(n_pairs, 1), n_pairs > 0)

    return of_each(auc)


def share_average_precision(labels: Labels, proba: Proba) -> ResampledMetric:
    """Return `macro_average_precision` of resamples: the images are sorted once."""
    ranking = _Ranking(labels, proba)

    def average_precision(rows: Rows) -> float:
        drawn = ranking.draw(rows)
        total = ranking.add(drawn.weights * drawn.positives_until / np.maximum(drawn.until, 1))
        n_positives = ranking.add(drawn.weights)
        return _mean_over(total / np.maximum(n_positives, 1), n_positives > 0)

    return of_each(average_precision)


def global_average_precision(labels: Labels, proba: Proba) -> float:
    """Return the average precision of each image's likeliest class, all images in one ranking by confidence, 0..1.

    Also called micro average precision, GAP or GAP@1: the mean over images of the precision down to an image, where it
    is right, else 0. Equal confidences are one place. T. Weyand et al., "Google Landmarks Dataset v2", CVPR 2020, 4.
    """
    return share_global_average_precision(labels, proba)([np.arange(len(labels))])[0]


def share_global_average_precision(labels: Labels, proba: Proba) -> ResampledMetric:
    """Return `global_average_precision` of resamples: the images are sorted once."""
    confidence = proba.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    is_right = (proba.argmax(axis=1) == labels)[order]
    ends = np.searchsorted(-confidence[order], -confidence[order], side="right") - 1  # the last of its place

    def average_precision(rows: Rows) -> float:
        weights = np.bincount(rows, minlength=len(order))[order]
        until, right_until = np.cumsum(weights)[ends], np.cumsum(weights * is_right)[ends]
        return float((weights * is_right * right_until / np.maximum(until, 1)).sum() / max(len(rows), 1))

    return of_each(average_precision)


def auc_of_class(labels: Labels, proba: Proba, code: int) -> float:
    """Return the area under the ROC curve of one class against the rest, 0..1."""
    return macro_auc(*_one_class(labels, proba, code))


def average_precision_of_class(labels: Labels, proba: Proba, code: int) -> float:
    """Return the average precision of one class against the rest, 0..1."""
    return macro_average_precision(*_one_class(labels, proba, code))


def share_auc_of_class(labels: Labels, proba: Proba, code: int) -> ResampledMetric:
    """Return `auc_of_class` of resamples: the images are sorted once."""
    return share_auc(*_one_class(labels, proba, code))


def share_average_precision_of_class(labels: Labels, proba: Proba, code: int) -> ResampledMetric:
    """Return `average_precision_of_class` of resamples: the images are sorted once."""
    return share_average_precision(*_one_class(labels, proba, code))


def _one_class(labels: Labels, proba: Proba, code: int) -> tuple[Labels, Proba]:
    """Return labels (n_images, 1) of 0 and 1 and probabilities (n_images, 1) of one class."""
    is_class = one_hot(labels, proba.shape[1])[:, [code]]
    return is_class.astype(np.int8), rescale(proba)[:, [code]]


def lacks_either(labels: Labels, n_classes: int) -> Mask:
    """Return which classes have no image, or every image, so that there is nothing to tell apart; (n_classes,)."""
    counts = one_hot(labels, n_classes).sum(axis=0)
    return (counts == 0) | (counts == len(labels))


def lacks_positives(labels: Labels, n_classes: int) -> Mask:
    """Return which classes have no image; (n_classes,)."""
    return one_hot(labels, n_classes).sum(axis=0) == 0


def one_hot(labels: Labels, n_classes: int) -> Mask:
    """Return per image and class whether it is the label, (n_images, n_classes) bool."""
    return labels == 1 if labels.ndim == 2 else labels[:, None] == np.arange(n_classes)


class _Drawn(NamedTuple):
    """Hold what a resample holds for each positive, (n_positives,) counts.

    How often it is drawn; how many images, and how many positives, are ranked before its probability, and until it.
    """

    weights: np.ndarray
    before: np.ndarray
    until: np.ndarray
    positives_before: np.ndarray
    positives_until: np.ndarray


class _Ranking:
    """Hold the images sorted by falling probability, class after class in one row, and where its positives stand."""

    def __init__(self, labels: Labels, proba: Proba) -> None:
        self._n_images, self._n_classes = proba.shape
        order = np.argsort(-proba.T, axis=1, kind="stable")  # (n_classes, n_images)
        sorted_proba = np.take_along_axis(proba.T, order, axis=1)
        is_new = np.ones(order.shape, dtype=bool)
        is_new[:, 1:] = sorted_proba[:, 1:] != sorted_proba[:, :-1]
        tie_starts = np.append(np.flatnonzero(is_new), order.size)
        is_positive = np.take_along_axis(one_hot(labels, self._n_classes).T, order, axis=1)
        self._order, self._positives = order.ravel(), np.flatnonzero(is_positive)
        self._owner = self._positives // max(self._n_images, 1)  # the class of each positive
        tie = np.searchsorted(tie_starts, self._positives, side="right")
        self._starts, self._ends = tie_starts[tie - 1], tie_starts[tie]
        self._nth_start, self._nth_end = (np.searchsorted(self._positives, at) for at in (self._starts, self._ends))
        self._first = self._owner * self._n_images  # where the positive's class begins
        self._nth_first = np.searchsorted(self._positives, self._first)

    def draw(self, rows: Rows) -> _Drawn:
        """Count in a resample, given as positions with repeats."""
        weights = np.bincount(rows, minlength=self._n_images)[self._order]
        of_positives = weights[self._positives]
        images, positives = (np.append(0, np.cumsum(counts)) for counts in (weights, of_positives))
        first, nth_first = images[self._first], positives[self._nth_first]
        return _Drawn(
            of_positives,
            images[self._starts] - first,
            images[self._ends] - first,
            positives[self._nth_start] - nth_first,
            positives[self._nth_end] - nth_first,
        )

    def add(self, values: np.ndarray) -> np.ndarray:
        """Add what positives have, class by class, (n_classes,)."""
        return np.bincount(self._owner, weights=values, minlength=self._n_classes)


def _mean_over(per_class: np.ndarray, is_scored: np.ndarray) -> float:
    """Return the mean over some classes; NaN where there is none."""
    return float(per_class[is_scored].mean()) if is_scored.any() else float("nan")
