"""Zero-shot CLIP: the text features of a prompt list are the classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from kit.features import encode_images
from kit.images import Images
from kit.prompts import read_text_weights


@dataclass
class ZeroShot:
    """Compare image features with the prompt list's text features (Radford et al. 2021, section 3.1).

    Parameters
    ----------
    encoder
        An open_clip encoder.
    encoder_args
        Constructor arguments of the encoder.
    prompts
        A prompt list beside competition.toml, or ``"names"``.
    seed
        Unused: nothing is drawn.
    """

    encoder: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    prompts: Annotated[str, Field(min_length=1)] = "names"
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> ZeroShot:
        """Read the text features; no label is looked at."""
        return self

    def predict_proba(self, images: Images) -> np.ndarray:
        """Return softmax(logit_scale * cosine similarity), (n_images, n_classes)."""
        from scipy.special import softmax

        text = read_text_weights(images.pool, self.encoder, self.encoder_args, self.prompts)
        features = encode_images(images, self.encoder, self.encoder_args)
        return softmax(text.logit_scale * features.values @ text.values.T, axis=1)
