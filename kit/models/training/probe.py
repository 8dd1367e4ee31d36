"""A linear probe as a network's first head (Kumar et al. 2022, LP-FT)."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from kit.core.shapes import Logits, Rows, Vectors, Weights
from kit.data.folds import split_rows
from kit.data.images import Images
from kit.models.logistic import Regression, fit_seen

FOLDS = 5  # of the cross-validation by which a probe is calibrated
WORDS = (0.0, 0.1, 0.25, 0.5, 1.0)  # shares of the words' logits beside a probe's
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
    logits, judged = _hold_out(values, labeled, strength)
    return _best_temperature(logits[judged], labeled.take(judged)) if len(judged) else 1.0


def weigh_words(values: Vectors, words: Logits, labeled: Images, strength: float = C) -> float:
    """Return the share of the words' logits to add to a probe's, by cross-validation on its images; 0 for none.

    They must prove themselves: without them the log-loss, at its best temperature, is greater by more than one paired
    standard error.

    Parameters
    ----------
    words
        (n_images, n_classes) logits of the words.
    """
    logits, judged = _hold_out(values, labeled, strength)
    if not len(judged):
        return 0.0
    held_out = labeled.take(judged)
    losses = {}
    for share in WORDS:
        together = (logits + share * words)[judged]
        losses[share] = _log_losses(together / _best_temperature(together, held_out), held_out)
    best = min(WORDS, key=lambda share: losses[share].mean())
    gain = losses[0.0] - losses[best]
    return best if gain.mean() > gain.std() / np.sqrt(len(gain)) else 0.0


def _hold_out(values: Vectors, labeled: Images, strength: float) -> tuple[Logits, Rows]:
    """Return logits of probes that did not see the images, (n_images, n_classes), and which images they can judge.

    A probe that judges an image saw none of its group.
    """
    counts = np.bincount(labeled.labels, minlength=labeled.n_classes)
    logits = np.zeros((len(labeled), labeled.n_classes))
    if counts.max() < 2:
        return logits, np.zeros(0, dtype=np.int64)
    groups = labeled.pool.groups[labeled.rows]
    n_folds = min(FOLDS, int(counts.max()), len(np.unique(groups)))
    if n_folds < 2:
        return logits, np.zeros(0, dtype=np.int64)
    with warnings.catch_warnings():  # a class with fewer images than folds is missing in some, and that is no mistake
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        folds = split_rows(labeled.labels, groups, n_folds, seed=0)
    for fold in np.unique(folds):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        coefficients, intercepts = fit_probe(values[train], labeled.take(train), strength)
        logits[held_out] = values[held_out] @ coefficients.T + intercepts
    of_class = np.unique(np.stack([labeled.labels, groups]), axis=1)[0]  # the class of each of its groups
    n_groups = np.bincount(of_class, minlength=labeled.n_classes)
    known = np.flatnonzero(n_groups[labeled.labels] > 1)  # the class of a single group is unknown to who predicts it
    return logits, known


def _best_temperature(logits: Logits, labeled: Images) -> float:
    """Return the temperature at which the log-loss is least."""
    return float(min(TEMPERATURES, key=lambda each: _log_losses(logits / each, labeled).mean()))


def _log_losses(logits: Logits, labeled: Images) -> Weights:
    """Return the log-loss of each image, (n_images,), times its weight through the mean weight."""
    log_proba = log_softmax(logits, axis=1)[np.arange(len(labeled)), labeled.labels]
    return -log_proba * labeled.weights / labeled.weights.mean()


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
