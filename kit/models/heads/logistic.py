"""Logistic regressions that scikit-learn has not: one per class by itself, and one whose classes share weights."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

FLAT = 1e-6  # relative gain of a step at which the search ends: sums in float32 tell no smaller ones apart
HALF = 0.5  # an image that is half of a class: what a class without any image gets as its prior


def fit_each(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit scikit-learn's logistic regression of every class by itself.

    A class that no image has, or every image, gets its prior probability for all: half an image more of either kind.

    Parameters
    ----------
    features
        (n_images, n_dims).
    labels
        (n_images, n_classes) of 0 and 1.
    weights
        (n_images,) of each image's loss.
    C
        Inverse strength of the regularisation.

    Returns
    -------
    tuple
        Coefficients (n_classes, n_dims) and intercepts (n_classes,).
    """
    from sklearn.linear_model import LogisticRegression

    n_classes = labels.shape[1]
    coefficients, intercepts = np.zeros((n_classes, features.shape[1])), np.zeros(n_classes)
    for code, there in enumerate(labels.T):
        if there.min() == there.max():
            n_there = float(weights @ there)
            intercepts[code] = np.log((n_there + HALF) / (float(weights.sum()) - n_there + HALF))
            continue
        regression = LogisticRegression(C=C, max_iter=2000).fit(features, there, sample_weight=weights)
        coefficients[code], intercepts[code] = regression.coef_[0], regression.intercept_[0]
    return coefficients, intercepts


def fit_shared(
    features: np.ndarray, codes: np.ndarray, weights: np.ndarray, C: float, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression whose classes share weights with the others of their groups.

    A class's coefficients are its own part plus, for each of its groups, the group's part; half the squared length of
    all parts is what the weighted log-loss, times C, is weighed against. A class of few images so begins where its
    groups are, not at zero.

    Parameters
    ----------
    features
        (n_images, n_dims).
    codes
        (n_images,) 0..n_classes - 1.
    weights
        (n_images,) of each image's loss.
    C
        Inverse strength of the regularisation.
    groups
        (n_classes, n_groups) how much a class takes from each group; all 0 gives scikit-learn's regression.

    Returns
    -------
    tuple
        Coefficients (n_classes, n_dims) and intercepts (n_classes,).
    """
    from scipy.optimize import minimize

    n_classes, n_dims = len(groups), features.shape[1]
    parts = np.hstack([np.eye(n_classes), groups]).astype(np.float32)  # (n_classes, n_parts)
    features, weights = features.astype(np.float32), weights.astype(np.float32)[:, None]
    wanted = np.eye(n_classes, dtype=np.float32)[codes]

    def unpack(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return flat[n_classes:].reshape(-1, n_dims).astype(np.float32), flat[:n_classes].astype(np.float32)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        own, intercepts = unpack(flat)
        log_proba = log_softmax(features @ (parts @ own).T + intercepts, axis=1)  # (n_images, n_classes)
        wrong = C * weights * (np.exp(log_proba) - wanted)
        value = 0.5 * (flat[n_classes:] ** 2).sum() - C * (weights * wanted * log_proba).sum(dtype=np.float64)
        gradient = parts.T @ (wrong.T @ features) + own
        return value, np.concatenate([wrong.sum(axis=0), gradient.ravel()]).astype(np.float64)

    start = np.zeros(n_classes + parts.shape[1] * n_dims)
    options = {"maxiter": 500, "ftol": FLAT}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    own, intercepts = unpack(found.x)
    return (parts @ own).astype(np.float64), intercepts.astype(np.float64)
