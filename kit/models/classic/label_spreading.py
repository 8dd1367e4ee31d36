"""Label spreading: scikit-learn's transductive baseline, which semi-supervised runs are measured against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from kit.core.shapes import Proba
from kit.data.images import Images
from kit.models.classic.on_pixels import OnPixels
from kit.models.search import Between


@dataclass
class LabelSpreading(OnPixels):
    """Let labels flow along a nearest-neighbour graph of labelled and unlabelled images (Zhou et al. 2004).

    Parameters
    ----------
    n_neighbors
        Neighbours of each image in the graph.
    alpha
        Share of its label that an image takes from its neighbours, above 0 and below 1.
    max_unlabeled
        Unlabelled images in the graph at most; a larger pool is sampled, since the graph grows with its square.
    seed
        Seed of that sample.
    """

    encoder: str | None = None
    encoder_args: dict[str, Any] = field(default_factory=dict)
    pixels: Annotated[int, Field(ge=2, le=256)] = 16
    n_neighbors: Annotated[int, Field(ge=1), Between(2, 50, log=True)] = 7
    alpha: Annotated[float, Field(gt=0, lt=1), Between(0.01, 0.99)] = 0.2
    max_unlabeled: Annotated[int, Field(ge=0)] = 20_000
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> LabelSpreading:
        """Build the graph of labelled and unlabelled images and spread the labels."""
        from sklearn import semi_supervised

        both = labeled.join(draw_at_most(unlabeled, self.max_unlabeled, self.seed))
        spreading = semi_supervised.LabelSpreading(
            kernel="knn", n_neighbors=min(self.n_neighbors, len(both)), alpha=self.alpha, max_iter=200
        )
        self.spreading_ = spreading.fit(self._features(both), both.labels)
        return self

    def predict_proba(self, images: Images) -> Proba:
        """Return the mean label of each image's neighbours in the graph, (n_images, n_classes)."""
        with np.errstate(invalid="ignore"):  # an image that no label reached: 0 / 0
            values = self.spreading_.predict_proba(self._features(images))
        proba = np.zeros((len(images), images.n_classes))
        proba[:, self.spreading_.classes_] = _fill_unreached(values)
        return proba


def draw_at_most(images: Images, n_images: int, seed: int) -> Images:
    """Return so many images, drawn by a seed and in their order; all where there are no more."""
    if len(images) <= n_images:
        return images
    return images.take(np.sort(np.random.default_rng(seed).choice(len(images), n_images, replace=False)))


def _fill_unreached(proba: Proba) -> Proba:
    """Give images that no label reached the uniform distribution over the classes that were seen."""
    reached = np.isfinite(proba).all(axis=1) & (proba.sum(axis=1) > 0)
    proba[~reached] = 1.0
    return proba / proba.sum(axis=1, keepdims=True)
