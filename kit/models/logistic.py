"""Logistic regressions: scikit-learn's, and those that it has not.

These are one regression for each class by itself, one whose classes share weights, and one that is pulled elsewhere
than to zero. Arrays in, arrays out.
"""

from __future__ import annotations

import warnings
from typing import TypeAlias

import numpy as np
from scipy.special import log_softmax

from kit.core.shapes import Labels, Logits, Tensors, Vectors, Weights
from kit.data.images import Images

FLAT = 1e-6  # relative gain of a step at which the search ends: sums in float32 tell no smaller ones apart
UNFOLD = np.array([[-0.5], [0.5]])  # of the one row that scikit-learn keeps for two classes
HALF = 0.5  # an image that is half of a class: what a class without any image gets as its prior


Regression: TypeAlias = tuple[Vectors, Weights]
"""Coefficients (n_classes, n_dims) and intercepts (n_classes,)."""


def fit_plain(features: Vectors, labeled: Images, C: float) -> Regression:
    """Fit scikit-learn's logistic regression; one row of coefficients per class, also of two.

    The intercept of a class without an image is minus infinity.
    """
    return spread_rows(*fit_seen(features, labeled, C), labeled.n_classes)


def fit_seen(features: Vectors, labeled: Images, C: float) -> tuple[Vectors, Weights, Labels]:
    """Fit scikit-learn's logistic regression; return its coefficients, its intercepts and the classes they are of.

    `C` is the inverse strength of the regularisation, above 0.
    """
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():  # one image per class is few, but not a mistake
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        regression = LogisticRegression(C=C, max_iter=2000)
        regression.fit(features, labeled.labels, sample_weight=labeled.weights)
    coefficients, intercepts = np.asarray(regression.coef_), np.asarray(regression.intercept_)
    if len(regression.classes_) == 2:
        coefficients, intercepts = UNFOLD * coefficients, UNFOLD[:, 0] * intercepts
    return coefficients, intercepts, regression.classes_


def log_proba_of(features: Vectors, learned: Tensors) -> Logits:
    """Return the log-probabilities of a regression that `fit_plain` gave, (n_images, n_classes)."""
    return log_softmax(features @ learned["coefficients"].T + learned["intercepts"], axis=1)


def spread_rows(coefficients: Vectors, intercepts: Weights, seen: Labels, n_classes: int) -> Regression:
    """Put the rows of the classes that were seen among those of all; no probability for the others."""
    every, offsets = np.zeros((n_classes, coefficients.shape[1])), np.full(n_classes, -np.inf)
    every[seen], offsets[seen] = coefficients, intercepts
    return every, offsets


def fit_each(features: Vectors, labels: Labels, weights: Weights, C: float) -> Regression:
    """Fit scikit-learn's logistic regression of every class by itself.

    A class that no image has, or every image, gets its prior probability for all: half an image more of either kind.
    """
    from sklearn.linear_model import LogisticRegression

    n_classes = labels.shape[1]
    coefficients, intercepts = np.zeros((n_classes, features.shape[1])), np.zeros(n_classes)
    for code, is_class in enumerate(labels.T):
        if is_class.min() == is_class.max():
            n_images = float(weights @ is_class)
            intercepts[code] = np.log((n_images + HALF) / (float(weights.sum()) - n_images + HALF))
            continue
        regression = LogisticRegression(C=C, max_iter=2000).fit(features, is_class, sample_weight=weights)
        coefficients[code], intercepts[code] = regression.coef_[0], regression.intercept_[0]
    return coefficients, intercepts


def fit_shared(features: Vectors, codes: Labels, weights: Weights, C: float, groups: Weights) -> Regression:
    """Fit a multinomial logistic regression whose classes share weights with the others of their groups.

    A class's coefficients are a part of the class plus, for each of its groups, a part of the group; half the squared
    length of all parts is what the weighted log-loss, times C, is weighed against. A class of few images so begins
    where its groups are, not at zero.

    Parameters
    ----------
    groups
        (n_classes, n_groups) how much a class takes from each group; all 0 gives scikit-learn's regression.
    """
    from scipy.optimize import minimize

    n_classes, n_dims = len(groups), features.shape[1]
    parts = np.hstack([np.eye(n_classes), groups]).astype(np.float32)  # (n_classes, n_parts)
    features, weights = features.astype(np.float32), weights.astype(np.float32)[:, None]
    wanted = np.eye(n_classes, dtype=np.float32)[codes]

    def unpack(flat: Weights) -> Regression:
        return flat[n_classes:].reshape(-1, n_dims).astype(np.float32), flat[:n_classes].astype(np.float32)

    def loss(flat: Weights) -> tuple[float, Weights]:
        weights_of_parts, intercepts = unpack(flat)
        log_proba = log_softmax(features @ (parts @ weights_of_parts).T + intercepts, axis=1)  # (n_images, n_classes)
        wrong = C * weights * (np.exp(log_proba) - wanted)
        value = 0.5 * (flat[n_classes:] ** 2).sum() - C * (weights * wanted * log_proba).sum(dtype=np.float64)
        gradient = parts.T @ (wrong.T @ features) + weights_of_parts
        return value, np.concatenate([wrong.sum(axis=0), gradient.ravel()]).astype(np.float64)

    start = np.zeros(n_classes + parts.shape[1] * n_dims)
    options = {"maxiter": 500, "ftol": FLAT}
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    weights_of_parts, intercepts = unpack(solution.x)
    return (parts @ weights_of_parts).astype(np.float64), intercepts.astype(np.float64)


def fit_anchored(features: Vectors, codes: Labels, weights: Weights, C: float, anchor: Vectors) -> Regression:
    """Minimise C times the weighted log-loss plus half the squared distance of the coefficients from an anchor.

    The solution differs from the anchor only within the span of the features, so the search runs there: n_images
    dimensions per class at most.

    `anchor` is (n_classes, n_dims): the coefficients to start at and to be pulled to.
    """
    from scipy.optimize import minimize

    C = C / 2 if len(anchor) == 2 else C  # scikit-learn penalises one row for two classes, here both are
    basis, triangle = np.linalg.qr(features.T)  # (n_dims, rank), (rank, n_images)
    reduced = np.hstack([triangle.T, np.ones((len(codes), 1))])  # (n_images, rank + 1): the last is the intercept
    wanted = np.eye(len(anchor))[codes]
    offset = features @ anchor.T

    def loss(flat: Weights) -> tuple[float, Weights]:
        moved = flat.reshape(len(anchor), -1)
        log_proba = log_softmax(offset + reduced @ moved.T, axis=1)
        penalised = moved.copy()
        penalised[:, -1] = 0.0
        value = 0.5 * (penalised**2).sum() - C * (weights @ (wanted * log_proba).sum(axis=1))
        gradient = C * ((np.exp(log_proba) - wanted) * weights[:, None]).T @ reduced + penalised
        return value, gradient.ravel()

    start = np.zeros(len(anchor) * reduced.shape[1])
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    moved = solution.x.reshape(len(anchor), -1)
    return anchor + moved[:, :-1] @ basis.T, moved[:, -1]
