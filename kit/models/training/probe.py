"""A linear probe as a network's first head (Kumar et al. 2022, LP-FT)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from kit.data.images import Images

C = 30.0  # inverse strength of the regularisation on features of unit length, as in linear_probe
ABSENT = 10.0  # logits by which a class without training images lies below all others


def fit_probe(values: np.ndarray, labeled: Images, strength: float = C) -> tuple[np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression on the features that a network's head will read.

    Parameters
    ----------
    values
        (n_images, n_dims) features. One factor brings them to a mean length of 1, so that the regularisation means
        the same for every network.
    labeled
        Their labels and weights.
    strength
        Inverse strength of the regularisation, above 0.

    Returns
    -------
    coefficients, intercepts : np.ndarray
        (n_classes, n_dims) and (n_classes,) float32, for `values` as they are.
    """
    from sklearn.linear_model import LogisticRegression

    length = float(np.linalg.norm(values, axis=1).mean())
    regression = LogisticRegression(C=strength, max_iter=2000)
    regression.fit(values.astype(np.float64) / length, labeled.labels, sample_weight=labeled.weights)
    found, offsets = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn keeps one row for two classes
        found, offsets = np.concatenate([-found / 2, found / 2]), np.concatenate([-offsets / 2, offsets / 2])
    coefficients = np.zeros((labeled.n_classes, values.shape[1]), dtype=np.float32)
    intercepts = np.full(labeled.n_classes, offsets.min() - ABSENT, dtype=np.float32)
    coefficients[regression.classes_], intercepts[regression.classes_] = found / length, offsets
    return coefficients, intercepts


def set_head(head: nn.Linear, coefficients: np.ndarray, intercepts: np.ndarray) -> None:
    """Let a head give a probe's logits."""
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coefficients))
        head.bias.copy_(torch.from_numpy(intercepts))
