"""Networks to take gradients of: pixels 0..255 in, one score for each class or for each of the user's words out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kit.features.encoders import Preprocessing


class Standardised(nn.Module):
    """Standardise pixels, then ask a network."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return scores, (n_images, n_targets), of (n_images, 3, h, w) pixels."""
        return self.network(self.preprocessing.normalise(pixels)).float()


class LinearOnFeatures(nn.Module):
    """Be what a linear head says of an image tower's features of unit length.

    Parameters
    ----------
    coefficients, intercepts
        (n_targets, n_dims) and (n_targets,).
    words
        (n_targets, n_dims) words' features of unit length times CLIP's scale, or None.
    prior
        Weight of the words' log-probabilities.
    """

    def __init__(
        self,
        tower: nn.Module,
        coefficients: Tensor,
        intercepts: Tensor | None = None,
        words: Tensor | None = None,
        prior: Tensor | float = 0.0,
    ) -> None:
        super().__init__()
        self.tower, self.prior = tower, prior
        self.coefficients, self.intercepts, self.words = coefficients, intercepts, words

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (n_images, n_targets), of standardised pixels."""
        features = functional.normalize(self.tower(pixels).float(), dim=1)
        logits = functional.linear(features, self.coefficients, self.intercepts)
        if self.words is None:
            return logits
        return logits + self.prior * torch.log_softmax(functional.linear(features, self.words), dim=1)
