"""Tip-Adapter: the labelled images are a cache that is asked for similar ones, as it is or trained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from kit.core.shapes import Logits, Tensors, Vectors
from kit.data.images import Images
from kit.models.balance import NESTED
from kit.models.heads.head import Head, Setting
from kit.models.logistic import fit_plain, log_proba_of
from kit.models.search import Between

TINY = 1e-12
BETAS = [20.0, 5.5, 50.0]
ALPHAS = [0.3, 1.0, 3.0]
PROBES = [1.0, 0.0]  # the probe first: with few labels in many classes the cache alone is worse
BATCH = 256  # images per step


@dataclass
class TipAdapter(Head):
    """Ask the labelled images: each votes for its class by exp(-beta (1 - cosine similarity)).

    The votes of a class are averaged and their logarithm is a logit: the scale of the authors' sum differs with beta by
    powers of ten, so that no one alpha fits. They add it to the words alone; here it may also stand beside a logistic
    regression, which alone is one of the settings.

    With ``epochs = 0`` nothing is trained. Else the cached features are the start of a linear layer that learns
    (Tip-Adapter-F), for a fixed number of epochs on the training folds: the authors pick the epoch and search alpha and
    beta on the test set; here both are chosen on the other folds' oof rows and the last epoch counts.

    Parameters
    ----------
    alpha
        Weight of the cache's opinion, above 0, or ``"nested"``.
    beta
        Sharpness of the similarity, above 0, or ``"nested"``.
    probe
        Weight of a logistic regression's log-probabilities, 0 or more, or ``"nested"``.
    epochs
        Passes over the labelled images; 20 in the paper.
    lr
        Highest learning rate per step, which falls to zero along a cosine.

    References
    ----------
    Zhang et al. 2022, Tip-Adapter, sections 3.1 and 3.2.
    """

    alpha: Annotated[float, Field(gt=0), Between(0.1, 10, log=True)] | Literal["nested"] = NESTED
    beta: Annotated[float, Field(gt=0), Between(1, 100, log=True)] | Literal["nested"] = NESTED
    probe: Annotated[float, Field(ge=0), Between(0, 2)] | Literal["nested"] = NESTED
    epochs: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(gt=0), Between(1e-4, 1e-2, log=True, needs="epochs")] = 1e-3

    def head_settings(self) -> list[Setting]:
        """Return the weights and sharpnesses to try; the probe alone where it may be chosen."""
        alphas = ALPHAS if self.alpha == NESTED else [self.alpha]
        betas = BETAS if self.beta == NESTED else [self.beta]
        probes = PROBES if self.probe == NESTED else [self.probe]
        alone = [{"alpha": 0.0, "beta": betas[0], "probe": 1.0}] if self.probe == self.alpha == NESTED else []
        each = product(probes, alphas, betas)
        return alone + [{"alpha": alpha, "beta": beta, "probe": probe} for probe, alpha, beta in each]

    def head_default(self) -> Setting:
        """Return a little of both."""
        return self.head_settings()[1 if self.probe == self.alpha == NESTED else 0]

    def learn(self, features: Vectors, labeled: Images) -> Tensors:
        """Keep the labelled images' features and labels; train the features where epochs are asked for."""
        values = np.zeros((len(labeled), labeled.n_classes), dtype=np.float32)
        values[np.arange(len(labeled)), labeled.labels] = labeled.weights
        values /= np.maximum(values.sum(axis=0), TINY)  # (n_labeled, n_classes), columns sum to 1
        cache = {"keys": features.astype(np.float32), "values": values}
        if self.epochs:
            cache["keys"] = self._train(cache, labeled)
        if any(setting["probe"] for setting in self.head_settings()):
            cache["coefficients"], cache["intercepts"] = fit_plain(features, labeled, C=30.0)
        return cache

    def logits(self, features: Vectors, learned: Tensors, setting: Setting) -> Logits:
        """Return the logits of the cache plus those of the probe, (n_images, n_classes)."""
        logits = np.zeros((len(features), learned["values"].shape[1]))
        if setting["alpha"]:
            far = setting["beta"] * (1 - features @ learned["keys"].T)
            nearest = far.min(axis=1, keepdims=True)
            votes = np.exp(nearest - far) @ learned["values"]
            logits += setting["alpha"] * (np.log(np.maximum(votes, TINY)) - nearest)
        if setting["probe"]:
            logits += setting["probe"] * log_proba_of(features, learned)
        return logits

    def _train(self, cache: Tensors, labeled: Images) -> Vectors:
        """Return trained keys, (n_labeled, n_dims)."""
        import torch
        from torch.nn import functional

        alpha, beta = self.head_default()["alpha"], self.head_default()["beta"]
        generator = torch.Generator().manual_seed(self.seed)
        features, values = torch.from_numpy(cache["keys"]), torch.from_numpy(cache["values"])
        words = torch.from_numpy(self._words(labeled))
        targets, weights = torch.from_numpy(labeled.labels), torch.from_numpy(labeled.weights)
        keys = features.clone().requires_grad_()
        optimizer = torch.optim.AdamW([keys], lr=self.lr, eps=1e-4)
        n_steps = self.epochs * -(-len(labeled) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(labeled), generator=generator).split(BATCH):
                votes = torch.exp(-beta * (1 - features[rows] @ keys.T)) @ values
                logits = alpha * torch.log(votes.clamp_min(TINY)) + words[rows]
                losses = functional.cross_entropy(logits, targets[rows], reduction="none")
                optimizer.zero_grad()
                (losses * weights[rows]).mean().backward()
                optimizer.step()
                schedule.step()
        return keys.detach().numpy()

    def _words(self, labeled: Images) -> Logits:
        """Return the zero-shot logits that the cache is trained beside, (n_images, n_classes); zeros without words.

        Of several lists the first: which is chosen later is not known yet.
        """
        name = self._lists()[0]
        if name is None or self.prior == 0:
            return np.zeros((len(labeled), labeled.n_classes), dtype=np.float32)
        return self.word_logits(labeled, name).astype(np.float32)
