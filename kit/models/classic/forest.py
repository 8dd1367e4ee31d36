"""Random forests and extra trees, on pixels and colour histograms or on an encoder's features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Proba
from kit.data.images import Images
from kit.models.balance import Adjustable, balance_images
from kit.models.classic.compact import grow_forest, own_warning_filters
from kit.models.classic.on_pixels import OnPixels
from kit.models.search import Between, OneOf

COPIES = 4  # of an image of mean weight, where weights are made of repetitions


@dataclass
class Forest(OnPixels, Adjustable):
    """Average many decision trees (Breiman 2001; extra trees: Geurts et al. 2006).

    Parameters
    ----------
    pixels
        Side of the image the trees see where there is no encoder, in pixels.
    trees
        ``"random"`` forest, or ``"extra"`` trees, which fit about four times faster.
    n_trees
        Number of trees.
    max_depth
        Greatest depth of a tree.
    seed
        Seed.
    balance, tau, ...
        How classes of unequal size are treated: see `kit.models.balance.Balance`.
    """

    tasks: ClassVar[tuple[str, ...]] = (MULTICLASS, MULTILABEL)

    encoder: str | None = None
    encoder_args: dict[str, Any] = field(default_factory=dict)
    pixels: Annotated[int, Field(ge=2, le=256)] = 16
    trees: Annotated[Literal["random", "extra"], OneOf(("random", "extra"))] = "random"
    n_trees: Annotated[int, Field(ge=1)] = 1000
    max_depth: Annotated[int, Field(ge=1), Between(4, 64, log=True)] | None = 60
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> Forest:
        """Fit on the labelled images; the unlabelled ones are of no use to a forest."""
        from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

        forest_type = {"random": RandomForestClassifier, "extra": ExtraTreesClassifier}[self.trees]
        forest = forest_type(self.n_trees, max_depth=self.max_depth, n_jobs=-1, random_state=self.seed)
        self.remember_classes(labeled)
        labeled = balance_images(labeled, self, self.seed)
        if self.trees == "random" and not _draws_by_weight():
            forest.set_params(max_samples=len(labeled))
            labeled = _repeat_by_weight(labeled)
        features = self._features(labeled)
        if labeled.is_multilabel:
            with own_warning_filters():
                self.forest_ = forest.fit(features, labeled.labels, sample_weight=labeled.weights)
        else:
            self.compact_ = grow_forest(forest, features, labeled.labels, labeled.weights)
        return self

    def predict_plain(self, images: Images) -> Proba:
        """Return the mean of the trees' class shares, (n_images, n_classes)."""
        if images.is_multilabel:
            return self._predict_each(images)
        proba = np.zeros((len(images), images.n_classes))
        proba[:, self.compact_.classes] = self.compact_.predict_proba(self._features(images))
        return proba

    def _predict_each(self, images: Images) -> Proba:
        """Return the share of the trees' leaves that have each class, (n_images, n_classes)."""
        features = self._features(images)
        with own_warning_filters():
            proba = self.forest_.predict_proba(features)  # of every class (n_images, 1 or 2)
        columns = [
            both[:, list(seen).index(1)] if 1 in seen else np.zeros(len(images))
            for both, seen in zip(proba, self.forest_.classes_, strict=True)
        ]
        return np.stack(columns, axis=1)


def _draws_by_weight() -> bool:
    """Return whether scikit-learn draws a tree's images by their weights; before 1.9 it drew all alike."""
    import sklearn

    return tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)


def _repeat_by_weight(images: Images) -> Images:
    """Return images repeated as their weights ask, of one weight each: drawn alike they come as often as by weight.

    Where all weigh the same they are returned as they are.
    """
    if len(np.unique(images.weights)) <= 1:
        return images
    copies = np.rint(COPIES * images.weights / images.weights.mean()).astype(np.int64)
    repeated = images.take(np.repeat(np.arange(len(images)), np.maximum(copies, images.weights > 0)))
    return replace(repeated, weights=np.ones_like(repeated.weights))
