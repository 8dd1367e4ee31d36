"""Support vector machine, on pixels and colour histograms or on an encoder's features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from kit.core.shapes import Proba
from kit.data.images import Images
from kit.models.balance import Adjustable, balance_images
from kit.models.classic.margins import one_vs_rest_margins, scale_gamma
from kit.models.classic.on_pixels import OnPixels
from kit.models.search import Between, OneOf


@dataclass
class SVM(OnPixels, Adjustable):
    """Separate the classes with the widest margin (Cortes and Vapnik 1995).

    Probabilities are the softmax of the one-vs-rest margins, not Platt's: scikit-learn's ``probability=True`` costs
    6.4 times the fit and splits the training images a second time. The ensemble's temperature calibrates them.

    Parameters
    ----------
    kernel
        ``"rbf"`` or ``"linear"``.
    C
        Inverse strength of the regularisation, above 0.
    seed
        Of resampling; the fit itself draws nothing.
    balance, tau, ...
        How classes of unequal size are treated: see `kit.models.balance.Balance`. With a large C, which no training
        image violates, class weights change nothing; logit adjustment does.
    """

    encoder: str | None = None
    encoder_args: dict[str, Any] = field(default_factory=dict)
    pixels: Annotated[int, Field(ge=2, le=256)] = 16
    kernel: Annotated[Literal["rbf", "linear"], OneOf(("rbf", "linear"))] = "rbf"
    C: Annotated[float, Field(gt=0), Between(1e-2, 1e3, log=True)] = 10.0
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> SVM:
        """Fit on the labelled images."""
        from sklearn.svm import SVC

        self.remember_classes(labeled)
        labeled = balance_images(labeled, self, self.seed)
        features = self._features(labeled)
        gamma: Any = scale_gamma(features)  # its hint: str alone
        machine = SVC(C=self.C, kernel=self.kernel, gamma=gamma, decision_function_shape="ovr", random_state=self.seed)
        self.machine_ = machine.fit(features, labeled.labels, sample_weight=labeled.weights)
        return self

    def predict_plain(self, images: Images) -> Proba:
        """Return the softmax of the margins, (n_images, n_classes)."""
        from scipy.special import softmax

        margins = one_vs_rest_margins(self.machine_, self._features(images))
        proba = np.zeros((len(images), images.n_classes))
        proba[:, self.machine_.classes_] = softmax(margins, axis=1)
        return proba
