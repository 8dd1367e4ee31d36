"""Tip-Adapter: the labelled images are a cache that is asked for similar ones, as it is or trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from kit.images import Images
from kit.models.head import NESTED, Head, Setting
from kit.prompts import read_text_weights

BETAS = [5.5, 1.0, 20.0, 50.0]  # the authors' own first
ALPHAS = [1.0, 0.3, 3.0, 10.0]
SCALE = 20.0  # logits of an image whose class fills its neighbourhood
BATCH = 256  # images per step


@dataclass
class TipAdapter(Head):
    """Add up the labels of the labelled images, each by exp(-beta (1 - cosine similarity)).

    With ``epochs = 0`` nothing is trained. Else the cached features are the start of a linear layer that learns
    (Tip-Adapter-F), for a fixed number of epochs on the training folds: the authors pick the epoch and search alpha and
    beta on the test set; here both are chosen on the other folds' oof rows and the last epoch counts.

    Parameters
    ----------
    alpha
        Weight of the cache's opinion, above 0, or ``"nested"``.
    beta
        Sharpness of the similarity, above 0, or ``"nested"``.
    epochs
        Passes over the labelled images; 20 in the paper.
    lr
        Highest learning rate per step, which falls to zero along a cosine.

    References
    ----------
    Zhang et al. 2022, Tip-Adapter, sections 3.1 and 3.2.
    """

    alpha: Annotated[float, Field(gt=0)] | Literal["nested"] = NESTED
    beta: Annotated[float, Field(gt=0)] | Literal["nested"] = NESTED
    epochs: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(gt=0)] = 1e-3

    def own_settings(self) -> list[Setting]:
        """Return the weights and sharpnesses to try."""
        alphas = ALPHAS if self.alpha == NESTED else [self.alpha]
        betas = BETAS if self.beta == NESTED else [self.beta]
        return [{"alpha": alpha, "beta": beta} for alpha in alphas for beta in betas]

    def learn(self, features: np.ndarray, labeled: Images) -> dict[str, np.ndarray]:
        """Keep the labelled images' features and labels; train the features where epochs are asked for."""
        values = np.zeros((len(labeled), labeled.n_classes), dtype=np.float32)
        values[np.arange(len(labeled)), labeled.labels] = labeled.weights
        shots = np.maximum(values.sum(axis=0), 1e-12).mean()  # so that alpha means the same whatever the shots
        cache = {"keys": features.astype(np.float32), "values": values / shots}
        return cache | ({"keys": self._train(cache, labeled)} if self.epochs else {})

    def logits(self, features: np.ndarray, learned: dict[str, np.ndarray], own: Setting) -> np.ndarray:
        """Return the cache's opinion, (n_images, n_classes)."""
        near = np.exp(-own["beta"] * (1 - features @ learned["keys"].T))
        return SCALE * own["alpha"] * (near @ learned["values"])

    def _train(self, cache: dict[str, np.ndarray], labeled: Images) -> np.ndarray:
        """Return trained keys, (n_labeled, n_dims)."""
        import torch
        from torch.nn import functional

        own = self.own_default()
        generator = torch.Generator().manual_seed(self.seed)
        features, values = torch.from_numpy(cache["keys"]), torch.from_numpy(cache["values"])
        words = torch.from_numpy(self._words(features.numpy(), labeled))
        targets, weights = torch.from_numpy(labeled.labels), torch.from_numpy(labeled.weights)
        keys = features.clone().requires_grad_()
        optimizer = torch.optim.AdamW([keys], lr=self.lr, eps=1e-4)
        n_steps = self.epochs * -(-len(labeled) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(labeled), generator=generator).split(BATCH):
                near = torch.exp(-own["beta"] * (1 - features[rows] @ keys.T))
                logits = SCALE * own["alpha"] * (near @ values) + words[rows]
                losses = functional.cross_entropy(logits, targets[rows], reduction="none")
                optimizer.zero_grad()
                (losses * weights[rows]).mean().backward()
                optimizer.step()
                schedule.step()
        return keys.detach().numpy()

    def _words(self, features: np.ndarray, labeled: Images) -> np.ndarray:
        """Return the zero-shot logits that the cache is trained beside, (n_images, n_classes); zeros without words."""
        name = self._lists()[0]
        if name is None:
            return np.zeros((len(features), labeled.n_classes), dtype=np.float32)
        text = read_text_weights(labeled.pool, self.encoder, self.encoder_args, name)
        return (text.logit_scale * features @ text.values.T).astype(np.float32)
