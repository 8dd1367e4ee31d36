"""TransCLIP's transduction: a mixture of Gaussians over cached features, with labelled anchors and neighbours.

Each class is a Gaussian with a variance per dimension that all classes share. In turn, every unlabelled image is
assigned softly - by the Gaussians, by its neighbours' assignments and by a model's prediction - and the Gaussians are
estimated from the assignments. Every block has a closed form; no gradient step. Nothing is read or written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.core.shapes import Labels, Logits, Proba, Vectors, Weights

if TYPE_CHECKING:
    from scipy.sparse import csr_array

N_ITERATIONS = 10  # of the blocks, as the authors do
N_ASSIGNMENTS = 5  # of the images, per block
TRUST = 3.0  # weight of the model's log-probabilities; 1 without labels in the paper
DENSITY_SHARPNESS = 0.02  # of the Gaussians' log-densities: at 1, in hundreds of dimensions, all else counts nothing
PROBA_FLOOR = 1e-9


@dataclass
class GaussianMixture:
    """Hold the Gaussians: means (n_classes, n_dims), and a variance (n_dims,) that all classes share."""

    means: Vectors
    variance: Weights

    def log_density(self, features: Vectors) -> Logits:
        """Return log-densities up to a constant, sharpened for assignment, (n_images, n_classes)."""
        scaled = self.means / self.variance
        return DENSITY_SHARPNESS * (features @ scaled.T - 0.5 * (scaled * self.means).sum(axis=1))

    def assign(self, features: Vectors, proba: Proba, of_neighbours: Logits) -> Proba:
        """Return soft assignments, (n_images, n_classes): Gaussians, model and neighbours together."""
        from scipy.special import softmax

        return softmax(self.evidence(features, proba) + of_neighbours, axis=1)

    def evidence(self, features: Vectors, proba: Proba) -> Logits:
        """Return the log-probabilities of the Gaussians and the model together, up to a constant, float32."""
        return (self.log_density(features) + TRUST * np.log(np.maximum(proba, PROBA_FLOOR))).astype(np.float32)


def fit_mixture(
    features: Vectors,
    labels: Labels,
    trust: Weights,
    proba: Proba,
    near: csr_array,
    strength: float,
) -> tuple[GaussianMixture, Proba]:
    """Fit the mixture and assign the unlabelled images; an anchor's assignment is its label.

    Parameters
    ----------
    labels
        (n_nodes,) class codes of the anchors, -1 for the unlabelled images.
    trust
        (n_nodes,) weight of each anchor's label, 0..1; 1 for a real label.
    near
        (n_nodes, n_nodes) weights of each node's neighbours.
    strength
        Weight of the neighbours, 0 or more.

    References
    ----------
    Zanella et al. 2024, Boosting vision-language models with transduction (TransCLIP), section 4.
    """
    from scipy.special import softmax

    is_anchor = labels >= 0
    anchors = np.eye(proba.shape[1], dtype=np.float32)[labels[is_anchor]]
    trust = trust[is_anchor, None].astype(np.float32)
    weights = np.where(is_anchor, 1 / max(is_anchor.sum(), 1), 1 / max((~is_anchor).sum(), 1))[:, None]

    def hold(assigned: Proba) -> Proba:
        """Give the anchors their labels, as far as they are trusted."""
        assigned[is_anchor] = trust * anchors + (1 - trust) * assigned[is_anchor]
        return assigned

    assigned = hold(np.array(proba, dtype=np.float32))
    known = is_anchor if is_anchor.any() else np.ones(len(labels), dtype=bool)
    means = _means(features[known], assigned[known], features, proba)
    mixture = GaussianMixture(means, np.full(features.shape[1], 1 / features.shape[1]))
    for _ in range(N_ITERATIONS):
        evidence = mixture.evidence(features, proba)
        for _ in range(N_ASSIGNMENTS):
            assigned = hold(softmax(evidence + strength * (near @ assigned), axis=1))
        shares = weights * assigned
        means = _means(features, shares, features, proba)
        mixture = GaussianMixture(means, np.maximum(_variance(features, shares, means), 1e-6))
    return mixture, assigned


def _means(features: Vectors, shares: Proba, everything: Vectors, proba: Proba) -> Vectors:
    """Return the class means; a class that no image has yet starts where the model sees it among all images."""
    total = shares.sum(axis=0)[:, None]
    means = shares.T @ features / np.maximum(total, PROBA_FLOOR)
    lost = total[:, 0] < PROBA_FLOOR
    if lost.any():
        seen = proba[:, lost]
        means[lost] = seen.T @ everything / np.maximum(seen.sum(axis=0)[:, None], PROBA_FLOOR)
    return means


def _variance(features: Vectors, shares: Proba, means: Vectors) -> Weights:
    """Return the variance of each dimension around the class means, (n_dims,)."""
    spread = shares.sum(axis=1) @ features**2 - 2 * ((shares @ means) * features).sum(axis=0)
    return (spread + shares.sum(axis=0) @ means**2) / shares.sum()
