"""Early stopping: the images held out, the best weights on them, and how long ago that was."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from kit.data.images import Images
from kit.features.encoders import Preprocessing
from kit.models.training.batches import Forward, predict_network


class HoldOut:
    """Score a network on held-out images and remember its best weights; without images nothing is scored."""

    def __init__(
        self, images: Images, preprocessing: Preprocessing, device: str, precision: str, forward: Forward
    ) -> None:
        self.images, self.how = images, (preprocessing, device, precision, forward)
        self.best: dict[str, Any] = {}
        self.stale = 0  # epochs since the best

    def score(self, network: nn.Module) -> tuple[float, float] | tuple[None, None]:
        """Return accuracy and mean log-loss, None without images; remember the best weights.

        With several labels per image both are means over the classes, and the loss decides: that a rare class is absent
        is right nearly always.
        """
        if not len(self.images):
            return None, None
        proba = predict_network(network, self.images, *self.how)
        labels = self.images.labels
        if labels.ndim == 2:
            hits, of_label = (proba >= 0.5) == labels, np.where(labels == 1, proba, 1 - proba)
        else:
            hits, of_label = proba.argmax(1) == labels, proba[np.arange(len(proba)), labels]
        accuracy = float(hits.mean())
        loss = float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean())
        self.stale += 1
        rank = -loss if labels.ndim == 2 else (accuracy, -loss)
        if not self.best or rank > self.best["rank"]:
            weights = {name: value.clone() for name, value in network.state_dict().items()}
            self.best, self.stale = {"rank": rank, "weights": weights}, 0
        return accuracy, loss

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"best": self.best, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self.stale = state["best"], state["stale"]
