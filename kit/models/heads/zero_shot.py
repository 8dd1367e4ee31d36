"""Zero-shot CLIP: the text features of a prompt list are the classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Logits, Tensors, Vectors
from kit.data.images import Images
from kit.models.heads.head import Head, Prior, Prompts, Setting


@dataclass
class ZeroShot(Head):
    """Compare image features with a prompt list's text features (Radford et al. 2021, section 3.1).

    The words' opinion counts in full; no label is looked at, but for what neighbours pass on.
    """

    prompts: Prompts | None = "names"
    prior: Prior = 1.0

    def learn(self, features: Vectors, labeled: Images) -> Tensors:
        """Learn nothing but the number of classes."""
        return {"n_classes": np.array(labeled.n_classes)}

    def logits(self, features: Vectors, learned: Tensors, setting: Setting) -> Logits:
        """Return zeros: the words alone decide."""
        return np.zeros((len(features), int(learned["n_classes"])))
