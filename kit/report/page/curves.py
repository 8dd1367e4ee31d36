"""What is drawn of one run: reliability before and after a temperature, the order of similar classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.core.shapes import Groups, Labels, Proba, Scores
from kit.scoring.mixing import PROBA_FLOOR, apply_temperature, fit_temperature

N_BINS = 15  # as in Guo et al. 2017


@dataclass(frozen=True)
class Reliability:
    """Hold how often a model is right where it is so sure.

    Parameters
    ----------
    confidence, accuracy
        (n_bins,) mean probability of the predicted class, and share of it that is right; empty bins left out.
    count
        (n_bins,) images.
    error
        Expected calibration error: the mean distance of the two, weighted by images, 0..1.
    """

    confidence: Scores
    accuracy: Scores
    count: NDArray[np.integer]
    error: float

    @property
    def spread(self) -> Scores:
        """Return the standard error of each bin's accuracy, two more of each kind counted; (n_bins,)."""
        n_counted = self.count + 4
        share = (self.accuracy * self.count + 2) / n_counted
        return np.sqrt(share * (1 - share) / n_counted)


def reliability(labels: Labels, proba: Proba) -> Reliability:
    """Return the reliability of (n_images, n_classes) probabilities in equal bins of confidence.

    With several labels per image (labels (n_images, n_classes)) every class of every image is a decision.
    """
    if labels.ndim == 2:
        sure, right = proba.ravel(), labels.ravel() == 1
    else:
        sure, right = proba.max(axis=1), proba.argmax(axis=1) == labels
    at = np.minimum((sure * N_BINS).astype(np.int64), N_BINS - 1)
    count = np.bincount(at, minlength=N_BINS)
    filled = count > 0
    confidence = np.bincount(at, weights=sure, minlength=N_BINS)[filled] / count[filled]
    accuracy = np.bincount(at, weights=right, minlength=N_BINS)[filled] / count[filled]
    error = float(np.abs(confidence - accuracy) @ count[filled] / count.sum())
    return Reliability(confidence, accuracy, count[filled], error)


def calibrate_nested(labels: Labels, proba: Proba, folds: Groups) -> Proba | None:
    """Return probabilities at a temperature that is chosen, for each fold, on the other folds' rows.

    None where there is one fold only, which may not choose for itself.
    """
    if len(np.unique(folds)) < 2:
        return None
    logs = np.log(np.maximum(proba.astype(np.float64), PROBA_FLOOR))
    calibrated = np.empty_like(logs)
    for fold in np.unique(folds):
        held_out = folds == fold
        temperature = fit_temperature(labels[~held_out], logs[~held_out])
        calibrated[held_out] = apply_temperature(logs[held_out], temperature)
    return calibrated


def order_by_similarity(counts: NDArray[np.integer]) -> list[int]:
    """Return the classes so that those confused most stand side by side, by (n_classes, n_classes) confusions."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return list(range(len(counts)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    alike = (shares + shares.T) / 2
    np.fill_diagonal(alike, 0)
    distances = 1 - alike / max(alike.max(), np.finfo(float).tiny)
    np.fill_diagonal(distances, 0)
    return leaves_list(linkage(squareform(distances, checks=False), "average", optimal_ordering=True)).tolist()
