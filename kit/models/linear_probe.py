"""Linear probe: logistic regression on cached features, with CLIP's zero-shot opinion as a prior."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from kit.features import encode_images
from kit.images import Images
from kit.models.zero_shot import ZeroShot

PRIOR_WEIGHTS = [0.0, 0.25, 0.5, 1.0]  # 0 first: in a tie the prior is left out


@dataclass
class LinearProbe:
    """Fit a multinomial logistic regression; add a share of the zero-shot log-probabilities where it helps.

    Parameters
    ----------
    encoder
        Encoder whose features are used.
    encoder_args
        Constructor arguments of the encoder.
    C
        Inverse strength of the regularisation on unit-length features, above 0.
    prompts
        Prompt list of the prior; None for no prior.
    prior
        Weight of the zero-shot log-probabilities, 0 or more; None to choose it for each fold on the other folds' oof
        rows, so that a bad prior does no harm.
    seed
        Unused: the fit draws nothing.
    """

    sweep_name: ClassVar[str] = "prior"
    sweep_default: ClassVar[float] = 0.5

    encoder: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    C: Annotated[float, Field(gt=0)] = 30.0
    prompts: str | None = None
    prior: Annotated[float, Field(ge=0)] | None = None
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> LinearProbe:
        """Fit on the labelled images."""
        from sklearn.linear_model import LogisticRegression

        regression = LogisticRegression(C=self.C, max_iter=2000)
        regression.fit(self._features(labeled), labeled.labels, sample_weight=labeled.weights)
        coefficients, intercepts = regression.coef_, regression.intercept_
        if len(regression.classes_) == 2:  # scikit-learn keeps one row for two classes
            coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
            intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
        self.coefficients_ = np.zeros((labeled.n_classes, coefficients.shape[1]))
        self.intercepts_ = np.full(labeled.n_classes, -np.inf)
        self.coefficients_[regression.classes_] = coefficients
        self.intercepts_[regression.classes_] = intercepts
        return self

    def predict_proba(self, images: Images) -> np.ndarray:
        """Return the probabilities with the settled prior weight, (n_images, n_classes)."""
        return self._predict(images, [self.prior or 0.0])[0]

    def sweep_values(self) -> list[float]:
        """Return the prior weights to try."""
        if self.prompts is None:
            return [0.0]
        return PRIOR_WEIGHTS if self.prior is None else [self.prior]

    def predict_sweep(self, images: Images) -> np.ndarray:
        """Return probabilities at every prior weight, (n_values, n_images, n_classes)."""
        return self._predict(images, self.sweep_values())

    def settle(self, value: float) -> None:
        """Predict with this prior weight from now on."""
        self.prior = value

    def tensors(self) -> dict[str, np.ndarray]:
        """Return coefficients and intercepts."""
        return {"coefficients": self.coefficients_, "intercepts": self.intercepts_}

    def restore(self, tensors: dict[str, np.ndarray], classes: tuple[str, ...]) -> LinearProbe:
        """Take coefficients and intercepts back."""
        self.coefficients_, self.intercepts_ = tensors["coefficients"], tensors["intercepts"]
        return self

    def _predict(self, images: Images, weights: list[float]) -> np.ndarray:
        """Return probabilities for several prior weights from one pass over the features."""
        from scipy.special import softmax

        logits = self._features(images) @ self.coefficients_.T + self.intercepts_
        if not any(weights):
            return softmax(np.stack([logits] * len(weights)), axis=2)
        zero_shot = ZeroShot(self.encoder, self.encoder_args, self.prompts).predict_proba(images)
        prior = np.log(np.maximum(zero_shot, np.finfo(np.float32).tiny))
        return softmax(np.stack([logits + weight * prior for weight in weights]), axis=2)

    def _features(self, images: Images) -> np.ndarray:
        return encode_images(images, self.encoder, self.encoder_args).values
