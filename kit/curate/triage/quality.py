"""Judge labels: cleanlab's confident learning and self-confidence, and the labels of the nearest images."""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Labels, Mask, Proba, Rows, Scores, Vectors

N_NEIGHBOURS = 10
SMALLEST = 1e-6  # probability: cleanlab divides by the mean of a class


def neighbour_shares(values: Vectors, labels: Labels, n_classes: int) -> Proba:
    """Return the share of each class among the images nearest to an image.

    Averaged with the oof they rank better: with 5 % of TrashNet's labels flipped, 67 % of the first rows, as many as
    were flipped, are flipped ones, and 56 % by cleanlab's default on the same oof (means of 3 seeds; one probe and its
    features).
    """
    given = labels.astype(np.float64) if labels.ndim == 2 else np.eye(n_classes)[labels]
    return given[_neighbours(values)].mean(axis=1)


def label_quality(labels: Labels, proba: Proba) -> Scores:
    """Return the self-confidence of every label, 0..1: the probability of the label that is given."""
    proba = np.clip(proba.astype(np.float64), SMALLEST, 1)
    if labels.ndim == 2:
        from cleanlab.multilabel_classification import get_label_quality_scores

        return get_label_quality_scores(_listed(labels), np.minimum(proba, 1 - SMALLEST))
    from cleanlab.rank import get_label_quality_scores

    return get_label_quality_scores(labels, proba / proba.sum(axis=1, keepdims=True), method="self_confidence")


def spot_issues(labels: Labels, proba: Proba) -> Mask:
    """Return whether confident learning (Northcutt et al. 2021) takes each label for wrong.

    Where a class has no image, or is never predicted, cleanlab leaves its images alone.
    """
    proba = np.clip(proba.astype(np.float64), SMALLEST, 1)
    if labels.ndim == 2:
        from cleanlab.multilabel_classification.filter import find_label_issues

        return np.asarray(find_label_issues(_listed(labels), np.minimum(proba, 1 - SMALLEST), n_jobs=1))
    from cleanlab.filter import find_label_issues

    return np.asarray(find_label_issues(labels, proba / proba.sum(axis=1, keepdims=True), n_jobs=1))


def suggest_labels(proba: Proba, labels: Labels) -> tuple[Labels, Scores]:
    """Return the predicted labels, in the form of the given ones, and the confidence in them, 0..1.

    With several labels per image the confidence is that of the class in which prediction and label differ most.
    """
    if labels.ndim == 1:
        return proba.argmax(axis=1), proba.max(axis=1)
    return (proba >= 0.5).astype(labels.dtype), np.abs(proba - labels).max(axis=1)


def outlier_scores(values: Vectors) -> Scores:
    """Return how typical each image is, 0 (like no other) to 1, by the distance to the nearest images."""
    from cleanlab.outlier import OutOfDistribution

    return OutOfDistribution({"k": min(N_NEIGHBOURS, len(values) - 1)}).fit_score(features=values, verbose=False)


def _neighbours(values: Vectors) -> Rows:
    """Return the positions of the images nearest to each image, (n_images, n_neighbours)."""
    from sklearn.neighbors import NearestNeighbors

    n_neighbours = min(N_NEIGHBOURS, len(values) - 1)
    return NearestNeighbors(n_neighbors=n_neighbours).fit(values).kneighbors(return_distance=False)


def _listed(labels: Labels) -> list[list[int]]:
    """Return multi-hot labels in cleanlab's form: the classes of each image."""
    return [np.flatnonzero(row).tolist() for row in labels]
