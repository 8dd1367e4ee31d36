"""Confusion per class: one 2x2 matrix for each, of what is there against what is said to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from kit.metrics import decide


def confusions(labels: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Count, for every class by itself, what is there against what is said.

    Parameters
    ----------
    labels
        (n_images,) class codes, or (n_images, n_classes) of 0 and 1.
    proba
        (n_images, n_classes) probabilities; the most probable class is decided for, or every class from one half.

    Returns
    -------
    np.ndarray
        (n_classes, 2, 2) int64 in scikit-learn's order: ``[[not there, said although not], [missed, found]]``.
    """
    said, n_classes = decide(proba, labels.ndim == 2), proba.shape[1]
    is_there, is_said = (own == 1 if own.ndim == 2 else own[:, None] == np.arange(n_classes) for own in (labels, said))
    cells = [[~is_there & ~is_said, ~is_there & is_said], [is_there & ~is_said, is_there & is_said]]
    return np.moveaxis(np.array(cells).sum(axis=2), 2, 0)


def describe_confusions(classes: tuple[str, ...], counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the matrices for JSON, by class: how many images are right and wrong on either side."""
    names = ("right_absent", "wrongly_said", "missed", "found")
    by_class = zip(classes, counts.reshape(-1, len(names)).tolist(), strict=True)
    return {name: dict(zip(names, own, strict=True)) for name, own in by_class}
