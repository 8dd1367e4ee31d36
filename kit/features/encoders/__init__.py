"""Encoders: open_clip and timm networks, each carrying its own preprocessing.

Reads weights; writes nothing. How an encoder is written in competition.toml stands in kit/features/weights/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.core.errors import InputError
from kit.core.terminal import track
from kit.features.encoders.clip import clip_preprocessing, load_clip
from kit.features.encoders.preprocessing import Preprocessing
from kit.features.encoders.timm_network import load_timm, preprocessing_of_timm, timm_preprocessing
from kit.features.encoders.words import tokenize
from kit.features.weights import EncoderSpec, find_weights

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

__all__ = ["Encoder", "Preprocessing", "load_encoder", "load_timm", "preprocessing_of", "timm_preprocessing"]

TEXT_BATCH = 256  # prompts per forward pass


@dataclass(frozen=True)
class Encoder:
    """Hold a loaded network, its preprocessing and, for CLIP, its tokenizer.

    Parameters
    ----------
    spec
        What was asked for.
    network
        A CLIP with both towers, or a timm network without classifier.
    preprocessing
        How it wants its images.
    """

    spec: EncoderSpec
    network: nn.Module
    preprocessing: Preprocessing

    @property
    def image_tower(self) -> nn.Module:
        """Return the module that turns images into (n_images, n_dims)."""
        return self.network.visual if self.spec.library == "open_clip" else self.network

    @property
    def logit_scale(self) -> float:
        """Return CLIP's factor on cosine similarities, about 100 for pretrained models.

        The bias that SigLIP adds is the same for every class, so a softmax over classes does without it.
        """
        _require_text_tower(self.spec)
        return float(self.network.logit_scale.detach().exp())

    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Return text features of unit length, (n_texts, n_dims) float32.

        Raises
        ------
        InputError
            When the encoder has no text tower, or a text is longer than its context.
        MissingWeights
            When its tokenizer's files cannot be had.
        """
        import torch

        _require_text_tower(self.spec)
        tokens = tokenize(self.spec, texts)
        device = next(self.network.parameters()).device
        with torch.no_grad():
            features = [
                self.network.encode_text(part.to(device), normalize=True).float().cpu()
                for part in track(tokens.split(TEXT_BATCH), "words")
            ]
        return torch.cat(features).numpy()


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Load an encoder in evaluation mode, float32, on the CPU.

    Raises
    ------
    InputError
        When the weights do not fit the architecture, or are not safetensors, or an argument is unknown.
    MissingWeights
        When they cannot be had.
    """
    preprocessing = preprocessing_of(spec)
    find_weights(spec)
    network = load_timm(spec, n_classes=0) if spec.library == "timm" else load_clip(spec)
    return Encoder(spec, network.eval(), preprocessing)


def preprocessing_of(spec: EncoderSpec) -> Preprocessing:
    """Return how an encoder wants its images, from configurations alone: no weights are needed, no network is built.

    Raises
    ------
    InputError
        When the library knows no such network, or an argument about preprocessing is wrong.
    MissingWeights
        When the configuration of a repository of the hub cannot be had.
    """
    return preprocessing_of_timm(spec) if spec.library == "timm" else clip_preprocessing(spec)


def _require_text_tower(spec: EncoderSpec) -> None:
    """Refuse to read words with a network that only sees."""
    if spec.library != "open_clip":
        raise InputError(f"encoder {spec.text!r} has no text tower; prompts need an open_clip encoder")
