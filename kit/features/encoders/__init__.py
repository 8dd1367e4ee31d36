"""Encoders: open_clip and timm networks, each carrying its own preprocessing.

Reads weights; writes nothing. How an encoder is written in competition.toml stands in kit/features/weights/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.core.errors import InputError
from kit.core.shapes import Vectors
from kit.core.terminal import track
from kit.features.encoders.clip import clip_preprocessing, load_clip
from kit.features.encoders.preprocessing import Preprocessing
from kit.features.encoders.timm_network import load_timm, preprocessing_of_timm, timm_configuration, timm_preprocessing
from kit.features.encoders.words import tokenize
from kit.features.weights import EncoderSpec, find_weights

if TYPE_CHECKING:
    from torch import nn

    from kit.features.encoders.clip import ClipNetwork

__all__ = [
    "ClipEncoder",
    "Encoder",
    "Preprocessing",
    "load_encoder",
    "load_timm",
    "preprocessing_of",
    "timm_configuration",
    "timm_preprocessing",
]

TEXT_BATCH = 256  # prompts per forward pass


@dataclass(frozen=True)
class Encoder:
    """Hold a loaded network that turns images into vectors, and how it wants its images."""

    spec: EncoderSpec
    network: nn.Module
    preprocessing: Preprocessing

    @property
    def image_tower(self) -> nn.Module:
        """Return the module that turns images into (n_images, n_dims)."""
        return self.network

    @property
    def logit_scale(self) -> float:
        """Return CLIP's factor on cosine similarities, about 100 for pretrained models.

        InputError where the encoder has no text tower.
        """
        raise self._lack_of_words()

    def encode_text(self, texts: list[str]) -> Vectors:
        """Return text features of unit length, (n_texts, n_dims) float32.

        Raises
        ------
        InputError
            When the encoder has no text tower, or a text is longer than its context.
        MissingWeights
            When its tokenizer's files cannot be had.
        """
        raise self._lack_of_words()

    def _lack_of_words(self) -> InputError:
        """Return the refusal to read words with a network that only sees."""
        return InputError(f"encoder {self.spec.text!r} has no text tower; prompts need an open_clip encoder")


@dataclass(frozen=True)
class ClipEncoder(Encoder):
    """Hold a CLIP, whose second tower reads words."""

    network: ClipNetwork

    @property
    def image_tower(self) -> nn.Module:
        """Return the image tower alone."""
        return self.network.visual

    @property
    def logit_scale(self) -> float:
        """Return the factor on cosine similarities; SigLIP's bias is the same for every class and may be left out."""
        return float(self.network.logit_scale.detach().exp())

    def encode_text(self, texts: list[str]) -> Vectors:
        """Return text features of unit length, as `Encoder.encode_text` says."""
        import torch

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
    if spec.library == "timm":
        return Encoder(spec, load_timm(spec, n_classes=0).eval(), preprocessing)
    return ClipEncoder(spec, load_clip(spec).eval(), preprocessing)


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
