"""Class weights: how much an image of each class counts in the loss."""

from __future__ import annotations

import numpy as np

BETA = 0.999  # of the effective number of samples; the paper tries .9 to .9999


def class_counts(labels: np.ndarray, n_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Count the images of each class, by their weights.

    Parameters
    ----------
    labels
        (n_images,) class codes, or (n_images, n_classes) of 0 and 1; images whose label is not known (-1) do not count.
    n_classes
        Number of classes.
    weights
        (n_images,); None for 1 each.

    Returns
    -------
    np.ndarray
        (n_classes,) float64.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if labels.ndim == 2:
        return weights @ np.maximum(labels, 0)
    known = labels >= 0
    return np.bincount(labels[known], weights[known], n_classes)


def class_shares(labels: np.ndarray, n_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of each class in all labels, (n_classes,) float64 that sums to 1; see `class_counts`."""
    counts = class_counts(labels, n_classes, weights)
    return counts / max(counts.sum(), np.finfo(np.float64).tiny)


def class_weights(
    labels: np.ndarray, kind: str, n_classes: int, beta: float = BETA, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the weight of each class, so that the mean over all labels is 1.

    Parameters
    ----------
    labels
        (n_images,) class codes, or (n_images, n_classes) of 0 and 1.
    kind
        ``"inverse"``: 1 / n for a class of n images, as scikit-learn's ``class_weight="balanced"``;
        ``"sqrt_inverse"``: 1 / sqrt(n), half as far; ``"effective"``: 1 / effective number of samples,
        (1 - beta^n) / (1 - beta), which saturates: the thousandth image of a class says little that is new. Anything
        else gives 1 for every class.
    n_classes
        Number of classes.
    beta
        Of ``"effective"``, from 0 to below 1: 0 weighs nothing, towards 1 it becomes ``"inverse"``.
    weights
        (n_images,) by which images count; None for 1 each.

    Returns
    -------
    np.ndarray
        (n_classes,) float64; 1 for a class without an image.

    References
    ----------
    Cui et al. 2019, Class-balanced loss based on effective number of samples, section 3.
    """
    counts = class_counts(labels, n_classes, weights)
    found = np.ones(n_classes)
    seen = counts > 0
    if kind == "inverse":
        found[seen] = 1 / counts[seen]
    elif kind == "sqrt_inverse":
        found[seen] = 1 / np.sqrt(counts[seen])
    elif kind == "effective":
        found[seen] = (1 - beta) / (1 - beta ** counts[seen])
    if not seen.any():
        return found
    found[seen] /= found[seen].max()  # classes of one size get exactly 1
    found[seen] *= counts.sum() / (counts * found)[seen].sum()
    return found
