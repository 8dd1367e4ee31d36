"""A linear probe as a network's first head (Kumar et al. 2022, LP-FT)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from kit.core.shapes import Vectors, Weights
from kit.data.images import Images
from kit.models.logistic import Regression, fit_seen

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
