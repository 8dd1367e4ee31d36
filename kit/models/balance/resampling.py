"""Resampling: how often each training image is drawn, so that rare classes are seen as often as frequent ones."""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Labels, Rows, Weights
from kit.models.balance.weights import class_counts


def repeat_factors(labels: Labels, n_classes: int, threshold: float | None = None) -> Weights:
    """Return how often each image shall be seen, 1 or more: max(1, sqrt(t / f)) of its rarest class.

    Parameters
    ----------
    threshold
        t: share of the images below which a class is repeated, 0..1; None for 1 / n_classes. The paper's .001 is meant
        for 1,200 classes.

    References
    ----------
    Gupta et al. 2019, LVIS, section 4.3 and appendix B.
    """
    share = class_counts(labels, n_classes) / len(labels)  # f: share of the images that show the class
    threshold = 1 / n_classes if threshold is None else threshold
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(share, np.finfo(np.float64).tiny)))
    if labels.ndim == 1:
        return of_class[labels]
    return np.where(labels > 0, of_class, 1.0).max(axis=1)


def draw_counts(labels: Labels, kind: str, n_classes: int, seed: int, threshold: float | None = None) -> Rows:
    """Draw how often each image is seen, (n_images,) int64, 0 or more; once each where all classes are of one size.

    Parameters
    ----------
    kind
        ``"over"``: every class as often as the most frequent one, no image twice more often than another of its class;
        ``"under"``: every class as often as the rarest; ``"repeat_factor"``: by `repeat_factors`, their fractions by
        chance.

    Raises
    ------
    ValueError
        When images have several labels and classes are to be of one size.
    """
    draw = np.random.default_rng(seed)
    if kind == "repeat_factor":
        wanted = repeat_factors(labels, n_classes, threshold)
        return (np.floor(wanted) + (draw.random(len(wanted)) < wanted % 1)).astype(np.int64)
    if labels.ndim == 2:
        raise ValueError(f"{kind}: images of several labels cannot make all classes as frequent as each other")
    sizes = np.bincount(labels, minlength=n_classes)
    wanted = sizes.max() if kind == "over" else sizes[sizes > 0].min()
    counts = np.zeros(len(labels), dtype=np.int64)
    for code in np.flatnonzero(sizes):
        whole, rest = divmod(int(wanted), int(sizes[code]))
        rows = np.flatnonzero(labels == code)
        counts[rows] = whole
        counts[draw.permutation(rows)[:rest]] += 1
    return counts
