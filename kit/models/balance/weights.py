"""Class weights: how much an image of each class counts in the loss."""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Labels, Weights

BETA = 0.999  # of the effective number of samples; the paper tries .9 to .9999


def class_counts(labels: Labels, n_classes: int, weights: Weights | None = None) -> Weights:
    """Return how many images each class has, by their weights (None: 1 each), (n_classes,) float64.

    Images whose label is not known (-1) do not count.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if labels.ndim == 2:
        return weights @ np.maximum(labels, 0)
    known = labels >= 0
    return np.bincount(labels[known], weights[known], n_classes).astype(np.float64)


def class_shares(labels: Labels, n_classes: int, weights: Weights | None = None) -> Weights:
    """Return the share of each class in all labels, (n_classes,) float64 that sums to 1; see `class_counts`."""
    counts = class_counts(labels, n_classes, weights)
    return counts / max(counts.sum(), np.finfo(np.float64).tiny)


def class_weights(
    labels: Labels, kind: str, n_classes: int, beta: float = BETA, weights: Weights | None = None
) -> Weights:
    """Return the weight of each class, so that the mean over all labels is 1; 1 for a class without an image.

    Parameters
    ----------
    kind
        ``"inverse"``: 1 / n for a class of n images, as scikit-learn's ``class_weight="balanced"``;
        ``"sqrt_inverse"``: 1 / sqrt(n), half as far; ``"effective"``: 1 / effective number of samples,
        (1 - beta^n) / (1 - beta), which saturates: the thousandth image of a class tells little that is new. Anything
        else gives 1 for every class.
    beta
        Of ``"effective"``, from 0 to below 1: 0 weighs nothing, towards 1 it becomes ``"inverse"``.
    weights
        (n_images,) by which images count; None for 1 each.

    References
    ----------
    Cui et al. 2019, Class-balanced loss based on effective number of samples, section 3.
    """
    counts = class_counts(labels, n_classes, weights)
    of_class = np.ones(n_classes)
    seen = counts > 0
    if kind == "inverse":
        of_class[seen] = 1 / counts[seen]
    elif kind == "sqrt_inverse":
        of_class[seen] = 1 / np.sqrt(counts[seen])
    elif kind == "effective":
        of_class[seen] = (1 - beta) / (1 - beta ** counts[seen])
    if not seen.any():
        return of_class
    of_class[seen] /= of_class[seen].max()  # classes of one size get exactly 1
    of_class[seen] *= counts.sum() / (counts * of_class)[seen].sum()
    return of_class
