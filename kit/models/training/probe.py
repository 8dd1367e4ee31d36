"""A linear probe as a network's first head (Kumar et al. 2022, LP-FT)."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from kit.core.shapes import Logits, Vectors, Weights
from kit.data.images import Images
from kit.models.logistic import Regression, fit_seen

FOLDS = 5  # of the cross-validation by which a probe is calibrated
TEMPERATURES = np.exp(np.arange(-3.0, 1.25, 0.25))
START_SHARE = 1 / 3  # of the pool, whose confidence passes before the first step: half and more come to overfit
C = 30.0  # inverse strength of the regularisation on features of unit length, as in linear_probe
ABSENT = 10.0  # logits by which a class without training images lies below all others


def fit_probe(values: Vectors, labeled: Images, strength: float = C) -> Regression:
    """Fit a multinomial logistic regression on the features that a network's head will read.

    Parameters
    ----------
    values
        (n_images, n_dims) features. One factor brings them to a mean length of 1, so that the regularisation means
        the same for every network.
    strength
        Inverse strength of the regularisation, above 0.

    Returns
    -------
    coefficients, intercepts : Regression
        (n_classes, n_dims) and (n_classes,) float32, for `values` as they are.
    """
    length = float(np.linalg.norm(values, axis=1).mean())
    fitted, offsets, seen = fit_seen(values.astype(np.float64) / length, labeled, strength)
    coefficients = np.zeros((labeled.n_classes, values.shape[1]), dtype=np.float32)
    intercepts = np.full(labeled.n_classes, offsets.min() - ABSENT, dtype=np.float32)
    coefficients[seen], intercepts[seen] = fitted / length, offsets
    return coefficients, intercepts


def set_head(head: nn.Linear, coefficients: Vectors, intercepts: Weights) -> None:
    """Let a head give a probe's logits."""
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coefficients))
        head.bias.copy_(torch.from_numpy(intercepts))


def calibrate_probe(values: Vectors, labeled: Images, strength: float = C) -> float:
    """Return the temperature at which a probe like this one is best calibrated, by cross-validation on its images.

    A regression on few labels says too little of what it knows: its regularisation keeps its logits short, and the
    temperature lies below 1. With one image per class nothing can be held out, and it is 1.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labeled.labels, minlength=labeled.n_classes)
    if counts.max() < 2:
        return 1.0
    logits = np.zeros((len(labeled), labeled.n_classes))
    folds = StratifiedKFold(min(FOLDS, int(counts.max())), shuffle=True, random_state=0)
    with warnings.catch_warnings():  # a class with fewer images than folds is missing in some, and that is no mistake
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splits = list(folds.split(values, labeled.labels))
    for train, held_out in splits:
        coefficients, intercepts = fit_probe(values[train], labeled.take(train), strength)
        logits[held_out] = values[held_out] @ coefficients.T + intercepts
    known = np.flatnonzero(counts[labeled.labels] > 1)  # the class of a single image is unknown to who predicts it
    logits, judged = logits[known], labeled.take(known)
    return float(min(TEMPERATURES, key=lambda each: _log_loss(logits / each, judged)))


def _log_loss(logits: Logits, labeled: Images) -> float:
    """Return the log-loss of logits, the mean over images by their weights."""
    log_proba = log_softmax(logits, axis=1)[np.arange(len(labeled)), labeled.labels]
    return -float(np.average(log_proba, weights=labeled.weights))


def passing_temperature(logits: Logits, threshold: float, share: float = START_SHARE) -> float:
    """Return the temperature at which the confidence of a share of the images, 0..1, exceeds a threshold, 0..1.

    The lower the temperature, the more images pass; it is searched by halving between e^-7 and e^7.
    """
    low, high = -7.0, 7.0
    for _ in range(40):
        middle = (low + high) / 2
        confidence = softmax(logits / np.exp(middle), axis=1).max(axis=1)
        low, high = (middle, high) if (confidence > threshold).mean() >= share else (low, middle)
    return float(np.exp(low))
