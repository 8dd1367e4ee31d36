"""Self-training on diffused labels: a second regression learns from every node of the graph what has flowed to it.

With a few labels per class the first regression knows little of how a class varies; the diffused labels of the pool
show it. Arrays in, arrays out.
"""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Labels, Proba, Vectors, Weights
from kit.models.logistic import UNFOLD, Regression, spread_rows

N_DIMS = 150  # principal axes kept of the nodes' features: what the pool hardly varies in would be learned by heart
STRENGTH = 100.0  # inverse strength of the regularisation
MAX_NODES = 10_000  # unlabelled images that the regression learns from at most; they are drawn
TOLERANCE = 1e-3  # of the gradient at which the regression ends


def learn_flowed(
    features: Vectors, labels: Labels, trust: Weights, flowed: Proba, weight: float, seed: int
) -> Regression:
    """Fit a logistic regression to known labels and, by their confidence, to the labels that have flowed elsewhere.

    Parameters
    ----------
    features
        (n_nodes, n_dims) of unit length.
    labels
        (n_nodes,) class codes, -1 where the label is not known.
    trust
        (n_nodes,) weight of each known label, 0..1.
    flowed
        (n_nodes, n_classes) diffused probabilities: an unlabelled image counts for its likeliest class.
    weight
        Of an unlabelled image that is certain, above 0, beside 1 of a label; less by the square of its probability.
    seed
        Of the draw where the pool is large.
    """
    from sklearn.linear_model import LogisticRegression

    known, others = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    if len(others) > MAX_NODES:
        others = np.sort(np.random.default_rng(seed).choice(others, MAX_NODES, replace=False))
    rows = np.concatenate([known, others])
    targets = np.concatenate([labels[known], flowed[others].argmax(axis=1)])
    weights = np.concatenate([trust[known], weight * flowed[others].max(axis=1) ** 2])
    axes = _principal_axes(features[rows])  # (n_dims, n_kept)
    regression = LogisticRegression(C=STRENGTH, tol=TOLERANCE, max_iter=2000)
    regression.fit(features[rows] @ axes, targets, sample_weight=weights)
    coefficients, intercepts = np.asarray(regression.coef_), np.asarray(regression.intercept_)
    if len(regression.classes_) == 2:
        coefficients, intercepts = UNFOLD * coefficients, UNFOLD[:, 0] * intercepts
    return spread_rows(coefficients @ axes.T, intercepts, regression.classes_, flowed.shape[1])


def _principal_axes(features: Vectors) -> Vectors:
    """Return the principal axes of features, (n_dims, n_kept); all axes where they are few."""
    from sklearn.decomposition import TruncatedSVD

    if min(features.shape) <= N_DIMS:
        return np.eye(features.shape[1], dtype=np.float32)
    return np.asarray(TruncatedSVD(N_DIMS, n_iter=2, random_state=0).fit(features).components_).T
