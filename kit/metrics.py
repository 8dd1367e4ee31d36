"""Metrics, their standard errors, and the paired test between two runs on the same images.

A metric that is a mean over images has its standard error in closed form; the others by a seeded bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

N_BOOTSTRAP = 400
Z_95 = 1.96


@dataclass(frozen=True)
class Metric:
    """Hold one metric.

    Parameters
    ----------
    score
        ``score(labels, proba)`` for labels (n_images,) and proba (n_images, n_classes).
    per_image
        ``per_image(labels, proba) -> (n_images,)`` where the metric is the mean of it, else None.
    greater_is_better
        False for losses.
    """

    score: Callable[[np.ndarray, np.ndarray], float]
    per_image: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    greater_is_better: bool = True

    @property
    def sign(self) -> int:
        """Return 1 where greater is better, else -1."""
        return 1 if self.greater_is_better else -1


def hits(labels: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Return 1.0 where the most probable class is the label, else 0.0; (n_images,)."""
    return (proba.argmax(axis=1) == labels).astype(np.float64)


def negative_log_proba(labels: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Return minus the log-probability of the label, float64, clipped as scikit-learn clips; (n_images,)."""
    proba = np.asarray(proba, dtype=np.float64)
    proba = proba / proba.sum(axis=1, keepdims=True)
    own = proba[np.arange(len(labels)), labels]
    return -np.log(np.clip(own, np.finfo(np.float32).eps, 1.0))


def _confusion(labels: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Count (label, predicted) pairs; (n_classes, n_classes)."""
    n_classes = proba.shape[1]
    return np.bincount(labels * n_classes + proba.argmax(axis=1), minlength=n_classes**2).reshape(n_classes, n_classes)


def macro_f1(labels: np.ndarray, proba: np.ndarray) -> float:
    """Return the mean F1 over classes that occur as label or prediction, 0..1."""
    counts = _confusion(labels, proba)
    support = counts.sum(axis=1) + counts.sum(axis=0)
    return float((2 * np.diag(counts)[support > 0] / support[support > 0]).mean())


def balanced_accuracy(labels: np.ndarray, proba: np.ndarray) -> float:
    """Return the mean recall over classes that occur as label, 0..1."""
    counts = _confusion(labels, proba)
    support = counts.sum(axis=1)
    return float((np.diag(counts)[support > 0] / support[support > 0]).mean())


METRICS = {
    "accuracy": Metric(lambda labels, proba: float(hits(labels, proba).mean()), hits),
    "log_loss": Metric(
        lambda labels, proba: float(negative_log_proba(labels, proba).mean()), negative_log_proba, False
    ),
    "macro_f1": Metric(macro_f1),
    "balanced_accuracy": Metric(balanced_accuracy),
}


def score_with_error(metric: str, labels: np.ndarray, proba: np.ndarray) -> tuple[float, float]:
    """Return a metric and its standard error.

    Parameters
    ----------
    metric
        A name in `METRICS`.
    labels
        (n_images,) class codes.
    proba
        (n_images, n_classes) probabilities.

    Returns
    -------
    tuple
        The score and one standard error, in the metric's unit.
    """
    chosen = METRICS[metric]
    if chosen.per_image is not None:
        values = chosen.per_image(labels, proba)
        return float(values.mean()), float(values.std() / np.sqrt(max(len(values), 1)))
    draws = [chosen.score(labels[rows], proba[rows]) for rows in _bootstrap_rows(len(labels))]
    return chosen.score(labels, proba), float(np.std(draws))


def paired_difference(metric: str, labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Return how much better `ours` is than `theirs` on the same images, and its standard error.

    Both share the images' difficulty, so the difference is known far better than either score.

    Parameters
    ----------
    metric
        A name in `METRICS`.
    labels
        (n_images,) class codes.
    ours, theirs
        (n_images, n_classes) probabilities.

    Returns
    -------
    tuple
        The difference, positive where ours is better, and one standard error.
    """
    chosen = METRICS[metric]
    if chosen.per_image is not None:
        values = chosen.sign * (chosen.per_image(labels, ours) - chosen.per_image(labels, theirs))
        return float(values.mean()), float(values.std(ddof=min(1, len(values) - 1)) / np.sqrt(len(values)))

    def difference(rows: np.ndarray | slice) -> float:
        return chosen.sign * (chosen.score(labels[rows], ours[rows]) - chosen.score(labels[rows], theirs[rows]))

    draws = [difference(rows) for rows in _bootstrap_rows(len(labels))]
    return float(difference(slice(None))), float(np.std(draws))


def distinguishable(difference: float, error: float) -> bool:
    """Return whether a paired difference is beyond chance at 95 %."""
    return abs(difference) > Z_95 * error


def _bootstrap_rows(n_images: int) -> Iterator[np.ndarray]:
    """Draw the same resamples every time, one at a time: two runs are compared on the same draws."""
    draw = np.random.default_rng(0)
    return (draw.integers(0, n_images, n_images) for _ in range(N_BOOTSTRAP))
