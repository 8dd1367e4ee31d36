"""The network inside a trained model, for what looks at more than its predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.data.images import Gallery
from kit.features.encoders import Preprocessing
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.trained import TrainedNetwork

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Inside:
    """Hold the network of a fitted model: in evaluation mode, on its device, standardised pixels in, logits out."""

    network: nn.Module
    preprocessing: Preprocessing
    device: str


def look_inside(model: TrainedNetwork, pool: Gallery) -> Inside:
    """Return the network that a fitted or restored model predicts with; of CLIP, at the settled blend.

    It is no copy: what changes its weights changes the model's predictions. In the pool CLIP's words and weights are
    looked up.
    """
    if isinstance(model, ClipFinetune):
        model._load(pool, model.sweep_default if model.alpha is None else model.alpha)
    return Inside(model._network.eval(), model._preprocessing, model._device)
