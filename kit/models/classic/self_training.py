"""Self-training: scikit-learn's baseline, which the pseudo-label rounds are measured against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from kit.core.shapes import Proba
from kit.data.images import UNKNOWN, Images
from kit.models.classic.on_pixels import OnPixels
from kit.models.search import Between


@dataclass
class SelfTraining(OnPixels):
    """Let a logistic regression teach itself: it labels what it is sure of, and is fitted again (Yarowsky 1995).

    The most confident images are taken whatever their class, as in scikit-learn: easy classes grow first.

    Parameters
    ----------
    C
        Inverse strength of the regression's regularisation, above 0.
    criterion
        ``"threshold"`` takes every image above the threshold, ``"k_best"`` the `k_best` most confident ones.
    threshold
        Probability from which an image is taken, 0 or more and below 1.
    k_best
        Images taken at a time.
    max_iter
        How often it is fitted again at most.
    max_unlabeled
        Unlabelled images that take part at most; a larger pool is sampled, since every fit is one on all that were
        taken.
    seed
        Seed of that sample.
    """

    encoder: str | None = None
    encoder_args: dict[str, Any] = field(default_factory=dict)
    pixels: Annotated[int, Field(ge=2, le=256)] = 16
    C: Annotated[float, Field(gt=0), Between(0.1, 1e3, log=True)] = 30.0
    criterion: Literal["threshold", "k_best"] = "threshold"
    threshold: Annotated[float, Field(ge=0, lt=1), Between(0.5, 0.99)] = 0.75
    k_best: Annotated[int, Field(ge=1)] = 10
    max_iter: Annotated[int, Field(ge=1)] = 10
    max_unlabeled: Annotated[int, Field(ge=0)] = 10_000
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> SelfTraining:
        """Fit on the labels, then on its confident predictions too; `record_` holds how many were taken each time."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.semi_supervised import SelfTrainingClassifier

        regression = LogisticRegression(C=self.C, max_iter=2000)
        others = unlabeled.take(np.flatnonzero(~np.isin(unlabeled.rows, labeled.rows)))
        unlabeled = draw_at_most(others, self.max_unlabeled, self.seed)
        if not len(unlabeled):
            self.classifier_ = regression.fit(self._features(labeled), labeled.labels)
            self.record_ = {"taken": [], "ended": "no unlabelled images"}
            return self
        both = labeled.join(unlabeled)
        labels = np.concatenate([labeled.labels, np.full(len(unlabeled), UNKNOWN)])
        self.classifier_ = SelfTrainingClassifier(
            regression,
            criterion=self.criterion,
            threshold=self.threshold,
            k_best=min(self.k_best, len(unlabeled)),
            max_iter=self.max_iter,
        ).fit(self._features(both), labels)
        taken = np.bincount(self.classifier_.labeled_iter_[len(labeled) :] + 1)[2:]  # -1: never taken
        self.record_ = {"taken": taken.tolist(), "ended": self.classifier_.termination_condition_}
        return self

    def predict_proba(self, images: Images) -> Proba:
        """Return probabilities, (n_images, n_classes); none for a class without a labelled image."""
        proba = np.zeros((len(images), images.n_classes))
        proba[:, self.classifier_.classes_] = self.classifier_.predict_proba(self._features(images))
        return proba


def draw_at_most(images: Images, n_images: int, seed: int) -> Images:
    """Return so many images, drawn by a seed and in their order; all where there are no more."""
    if len(images) <= n_images:
        return images
    return images.take(np.sort(np.random.default_rng(seed).choice(len(images), n_images, replace=False)))
