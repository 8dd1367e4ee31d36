"""An encoder's image tower with random weights: what is asked of its speed and size needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.features.encoders.clip import build_untrained
from kit.features.encoders.timm_network import load_timm
from kit.features.weights import EncoderSpec

if TYPE_CHECKING:
    from torch import nn


def build_tower(spec: EncoderSpec) -> nn.Module:
    """Return the image tower of an encoder with random weights, in evaluation mode; nothing is fetched.

    InputError where the library cannot build it; MissingWeights where its text tower's configuration cannot be had.
    """
    if spec.library == "timm":
        return load_timm(spec, n_classes=0, pretrained=False).eval()
    return build_untrained(spec).visual.eval()
