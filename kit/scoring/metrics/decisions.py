"""Metrics of decisions: the class decided for each image against its label, however sure the model was.

Labels and decisions are (n_images,) class codes, or (n_images, n_classes) of 0 and 1 where an image may have several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kit.core.shapes import Labels, Mask, Proba, Rows, Scores, Weights
from kit.scoring.metrics.metric import Counts, ResampledMetric, decide, ratio


def count_decisions(labels: Labels, decided: Labels, n_classes: int | None = None) -> Counts:
    """Count per class which images are rightly decided, labelled and decided."""
    if labels.ndim == 2:
        return Counts((labels & decided).sum(axis=0), labels.sum(axis=0), decided.sum(axis=0))
    n_classes = n_classes or int(max(labels.max(initial=-1), decided.max(initial=-1))) + 1
    return Counts(*(np.bincount(codes, minlength=n_classes) for codes in (labels[labels == decided], labels, decided)))


def equals(labels: Labels, decided: Labels) -> Scores:
    """Return 1.0 where an image's decision is its label, in every class, else 0.0; (n_images,)."""
    same = labels == decided
    return (same.all(axis=1) if same.ndim == 2 else same).astype(np.float64)


def hits(labels: Labels, proba: Proba) -> Scores:
    """Return 1.0 where the most probable class is the label, or every class is decided right, else 0.0; (n_images,)."""
    return equals(labels, decide(proba, labels.ndim == 2))


def share_of_classes(labels: Labels, decided: Labels) -> Scores:
    """Return the share of the classes that are decided right, 0..1; (n_images,)."""
    return (labels == decided).mean(axis=1)


def fbeta_of_images(labels: Labels, decided: Labels, beta: float = 1.0) -> Scores:
    """Return each image's F-beta over its classes, 0..1; 1 where it has no label and gets none; (n_images,)."""
    counts = Counts((labels & decided).sum(axis=1), labels.sum(axis=1), decided.sum(axis=1))
    return np.nan_to_num(counts.fbeta(beta), nan=1.0)


def macro_fbeta(counts: Counts, beta: float = 1.0) -> Scores:
    """Return the mean F-beta over classes that occur as label or decision, 0..1."""
    return _mean(counts.fbeta(beta))


def micro_fbeta(counts: Counts, beta: float = 1.0) -> Scores:
    """Return F-beta over all pairs of image and class, 0..1; accuracy where an image has one class."""
    return Counts(*(column.sum(axis=-1) for column in counts)).fbeta(beta)


def weighted_fbeta(counts: Counts, beta: float = 1.0) -> Scores:
    """Return the mean F-beta over classes, each weighing as much as it has images, 0..1."""
    weighted = (np.nan_to_num(counts.fbeta(beta)) * counts.labeled).sum(axis=-1)
    return ratio(weighted, counts.labeled.sum(axis=-1))


def fbeta_of_class(counts: Counts, beta: float, code: int) -> Scores:
    """Return the F-beta of one class, 0..1; 0 where no image is of it or decided for it, as scikit-learn has it."""
    return np.nan_to_num(Counts(*(column[..., code] for column in counts)).fbeta(beta))


def balanced_accuracy(counts: Counts) -> Scores:
    """Return the mean recall over classes that occur as label, 0..1."""
    return _mean(counts.recall)


def of_counts(
    metric: Callable[[Counts], Scores], n_classes: int | None = None
) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return a metric of counts as one of labels and decisions; `n_classes` where it asks for a certain class."""
    return lambda labels, decided: float(metric(count_decisions(labels, decided, n_classes)))


def of_counts_at_once(
    metric: Callable[[Counts], Scores], n_classes: int | None = None
) -> Callable[[np.ndarray, np.ndarray], ResampledMetric]:
    """Return a metric of counts as one of resamples, which are counted together."""
    return lambda labels, decided: lambda samples: metric(count_samples(labels, decided, samples, n_classes))


def count_samples(labels: Labels, decided: Labels, samples: Sequence[Rows], n_classes: int | None = None) -> Counts:
    """Count as `count_decisions`, for each sample of rows: (n_samples, n_classes)."""
    n_samples, n_images = len(samples), len(labels)
    rows, sample = np.concatenate(samples), np.repeat(np.arange(n_samples), [len(rows) for rows in samples])
    if labels.ndim == 2:
        drawn = np.bincount(sample * n_images + rows, minlength=n_samples * n_images).reshape(n_samples, n_images)
        pairs = np.hstack([labels & decided, labels, decided]).astype(np.float32)  # whole numbers, exact to 2**24
        return Counts(*np.split((drawn.astype(np.float32) @ pairs).astype(np.float64), 3, axis=1))
    n_classes = n_classes or int(max(labels.max(initial=-1), decided.max(initial=-1))) + 1

    def count(codes: Labels, among: Mask | slice = slice(None)) -> np.ndarray:
        cells = np.bincount((sample * n_classes + codes[rows])[among], minlength=n_samples * n_classes)
        return cells.reshape(n_samples, n_classes)

    return Counts(count(labels, (labels == decided)[rows]), count(labels), count(decided))


def mcc(labels: Labels, decided: Labels) -> float:
    """Return Matthews' correlation of labels and decisions, -1..1 (Gorodkin 2004); 0 where either is constant."""
    right, labeled, chosen = (count.astype(np.float64) for count in count_decisions(labels, decided))
    n_images = float(len(labels))
    spread = (n_images**2 - chosen @ chosen) * (n_images**2 - labeled @ labeled)
    return float((right.sum() * n_images - labeled @ chosen) / np.sqrt(spread)) if spread > 0 else 0.0


def quadratic_kappa(labels: Labels, decided: Labels, grades: Weights | None = None) -> float:
    """Return Cohen's kappa with quadratic weights, at most 1; 0 where only one class occurs.

    How wrong a decision is, is the squared distance of the classes' `grades`, (n_classes,) any numbers, gaps and
    halves among them; of the class codes by default. With whole numbers it is the metric of Kaggle's competitions,
    which weighs by the ratings themselves; scikit-learn weighs by their places, the same where there are no gaps.
    """
    given, chosen = (codes.astype(np.float64) if grades is None else grades[codes] for codes in (labels, decided))
    by_chance = given.var() + chosen.var() + (given.mean() - chosen.mean()) ** 2
    return 1 - float(((given - chosen) ** 2).mean() / by_chance) if by_chance > 0 else 0.0


def _mean(per_class: np.ndarray) -> Scores:
    """Return the mean over the classes that have a score; NaN where none has."""
    return ratio(np.nansum(per_class, axis=-1), np.isfinite(per_class).sum(axis=-1))
