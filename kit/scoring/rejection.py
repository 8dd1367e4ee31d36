"""Rejection: which images are out-of-distribution and show none of the classes, from scores that need no such image.

A score is high where an image looks like one of the known classes. Three kinds: the model's confidence (the greatest
probability, the energy), how near the labelled images of one class lie, and the mean of such scores' ranks. The
threshold is a quantile of the scores of held-out labelled images, all of which show a class: at an accept rate of .95
it turns 5 % of them away. Instead of being given, the rate can be found by hiding each class in turn and taking it for
none of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Groups, Labels, Logits, Mask, Proba, Scores, Vectors

IMAGES_PER_BLOCK = 4096  # images compared with the labelled ones at a time
N_NEIGHBORS = 3  # labelled images of one class, the nearest, whose mean similarity counts
SHRINKAGE = 0.3  # share of the average variance in a covariance: most of its directions have no image
ACCEPT_RATES = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())  # tried when classes are hidden in turn
MIN_CLASSES = 3  # one is hidden and two must be left to be unsure between


def max_probability(proba: Proba) -> Scores:
    """Return the greatest probability of each image, (n_images,) (Hendrycks and Gimpel 2017)."""
    return np.asarray(proba, dtype=np.float64).max(axis=1)


def energy(logits: Logits) -> Scores:
    """Return log-sum-exp of the logits, (n_images,): minus the energy of Liu et al. 2020, section 3.

    A logit is minus infinity for a class that was not learned.
    """
    from scipy.special import logsumexp

    return np.asarray(logsumexp(np.asarray(logits, dtype=np.float64), axis=1))


def class_similarity(values: Vectors, exemplars: Vectors, codes: Labels) -> Scores:
    """Return the mean cosine similarity, -1..1, to the nearest labelled images of the class that is nearest.

    All features are of unit length; `codes` are the classes of the exemplars.

    References
    ----------
    Sun et al. 2022, Out-of-distribution detection with deep nearest neighbors; here within one class, so that an image
    between two classes is near neither.
    """
    nearest = np.full(len(values), -np.inf)
    for code in np.unique(codes):
        of_class = exemplars[codes == code]
        n = min(N_NEIGHBORS, len(of_class))
        for start in range(0, len(values), IMAGES_PER_BLOCK):
            cosine = values[start : start + IMAGES_PER_BLOCK] @ of_class.T  # (n_block, n_of_class)
            top = np.partition(cosine, len(of_class) - n, axis=1)[:, -n:].mean(axis=1)
            nearest[start : start + IMAGES_PER_BLOCK] = np.maximum(nearest[start : start + IMAGES_PER_BLOCK], top)
    return nearest


def class_distance(values: Vectors, exemplars: Vectors, codes: Labels) -> Scores:
    """Return minus the relative Mahalanobis distance to the nearest class mean.

    The distance to a class, by the covariance that all classes share, less the distance to all labelled images, by
    theirs: what makes every image unusual does not count. Both covariances are shrunk towards a multiple of the
    identity, for there are fewer images than dimensions.

    References
    ----------
    Lee et al. 2018, A simple unified framework; Ren et al. 2021, A simple fix to Mahalanobis distance.
    """
    exemplars = exemplars.astype(np.float64)
    seen, class_of = np.unique(codes, return_inverse=True)
    means = np.stack([exemplars[class_of == row].mean(axis=0) for row in range(len(seen))])
    centre = exemplars.mean(axis=0)
    to_class, to_all = _Mahalanobis(exemplars - means[class_of], means), _Mahalanobis(exemplars - centre, centre[None])
    nearness = np.empty(len(values))
    for start in range(0, len(values), IMAGES_PER_BLOCK):
        block = values[start : start + IMAGES_PER_BLOCK].astype(np.float64)
        nearness[start : start + IMAGES_PER_BLOCK] = to_all(block)[:, 0] - to_class(block).min(axis=1)
    return nearness


class _Mahalanobis:
    """Give squared distances to some points by the shrunk covariance of residuals (n_images, n_dims)."""

    def __init__(self, residuals: np.ndarray, points: np.ndarray) -> None:
        n_images, n_dims = residuals.shape
        if n_images < n_dims:
            _, singular, self._axes = np.linalg.svd(residuals, full_matrices=False)
            variances = singular**2 / n_images
        else:
            variances, axes = np.linalg.eigh(residuals.T @ residuals / n_images)
            self._axes = axes.T
        total = float(variances.sum())
        floor = SHRINKAGE * (total if total > 0 else 1.0) / n_dims  # one image per class has no spread
        self._elsewhere = 1 / floor
        self._along = 1 / ((1 - SHRINKAGE) * np.maximum(variances, 0) + floor) - self._elsewhere

        self._toward = points @ self._axes.T * self._along @ self._axes + self._elsewhere * points
        self._of_points = (self._toward * points).sum(axis=1)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return (n_images, n_points) for values (n_images, n_dims)."""
        along = values @ self._axes.T  # the directions that the residuals span; elsewhere the variance is the floor
        of_values = self._elsewhere * (values**2).sum(axis=1) + along**2 @ self._along
        return of_values[:, None] - 2 * values @ self._toward.T + self._of_points


def rank_among(reference: Scores, values: Scores) -> Scores:
    """Return the share of reference scores below each value; beyond their ends it goes on as steeply as amid them.

    `reference` are the scores of held-out labelled images, at least one. Within them the rank is 0..1.
    """
    ordered = np.unique(reference)  # of equal scores the middle of their places
    low, high = (np.searchsorted(np.sort(reference), ordered, side=side) for side in ("left", "right"))
    places = (low + high) / 2 / len(reference)
    quartile, other = np.quantile(reference, [0.25, 0.75])
    slope = 0.5 / (other - quartile) if other > quartile else 1.0
    inside = np.interp(values, ordered, places)
    return inside + slope * (np.minimum(values - ordered[0], 0) + np.maximum(values - ordered[-1], 0))


def combine_ranks(references: Sequence[Scores], scores: Sequence[Scores]) -> Scores:
    """Return the mean of several scores' ranks, each among the reference scores of its kind, (n_images,)."""
    return np.mean([rank_among(reference, score) for reference, score in zip(references, scores, strict=True)], axis=0)


def threshold_of(scores: Scores, accept_rate: float) -> float:
    """Return the threshold that keeps this share, 0..1, of held-out labelled images; what is below it is rejected."""
    return float(np.quantile(scores, 1 - accept_rate, method="lower"))


@dataclass(frozen=True)
class Hidden:
    """Hold the scores of held-out labelled images when one class is hidden from models and references.

    Parameters
    ----------
    scores
        One (n_images,) array for each score that is combined.
    is_hidden
        (n_images,) whether the image is of the hidden class and should be rejected.
    blocks
        (n_images,) the fold that held each image out.
    """

    scores: tuple[Scores, ...]
    is_hidden: Mask
    blocks: Groups

    def without(self, block: int) -> Hidden:
        """Return the images of the other folds."""
        rest = self.blocks != block
        return Hidden(tuple(score[rest] for score in self.scores), self.is_hidden[rest], self.blocks[rest])


def choose_accept_rate(hidden: Sequence[Hidden]) -> tuple[float, float]:
    """Choose the accept rate that tells hidden classes best from the others, each class hidden in turn.

    Best is the greatest difference of two shares: of the others' images kept, and of the hidden class's let pass
    (Youden's J), each class counting alike. A class hidden here is one of the same kind as those that stay: how far a
    truly out-of-distribution image lies is not known.

    Return it and the share of hidden images that it lets pass, both 0..1. Classes without a hidden or another image are
    left out.

    Raises
    ------
    ValueError
        When no class could be hidden.
    """
    pairs = [_hidden_ranks(each) for each in hidden if each.is_hidden.any() and not each.is_hidden.all()]
    if not pairs:
        raise ValueError("no class could be hidden: none has images while another has some too")
    kept = np.empty((len(pairs), len(ACCEPT_RATES)))
    passed = np.empty_like(kept)
    for row, (known, unknown) in enumerate(pairs):
        limits = np.array([threshold_of(known, rate) for rate in ACCEPT_RATES])
        kept[row] = (known[:, None] >= limits).mean(axis=0)
        passed[row] = (unknown[:, None] >= limits).mean(axis=0)
    best = int((kept - passed).mean(axis=0).round(9).argmax())
    return ACCEPT_RATES[best], float(passed[:, best].mean())


def _hidden_ranks(hidden: Hidden) -> tuple[Scores, Scores]:
    """Return the combined ranks of the other images and of the hidden class's."""
    references = [score[~hidden.is_hidden] for score in hidden.scores]
    ranks = combine_ranks(references, hidden.scores)
    return ranks[~hidden.is_hidden], ranks[hidden.is_hidden]


def drop_class(proba: Proba, code: int) -> Proba:
    """Return probabilities among the other classes, (n_images, n_classes - 1).

    It stands for a model that never saw the class: the shares among the others stay what they were, while a model
    fitted without the class would also not have learned from its images.
    """
    rest = np.delete(np.asarray(proba, dtype=np.float64), code, axis=1)
    return rest / np.maximum(rest.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
