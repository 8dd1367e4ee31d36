"""A little network, quick recipes for it, and its weights compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from support.pools import labels_of
from torch import nn

from kit.data.images import Images, Pool
from kit.data.store import Geometry
from kit.features.encoders import Preprocessing
from kit.models.training.fit import fit_network
from kit.models.training.recipe import Recipe

SIZE = 16
PREPROCESSING = Preprocessing(Geometry(SIZE, SIZE), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
QUICK = Recipe(epochs=3, batch_size=8, lr=0.01)


SOON = {"threshold": 0.4}
METHODS: dict[str, dict[str, Any]] = {
    "mean_teacher": {"semi": "mean_teacher", "ema_decay": 0.9},
    "fixmatch": {"semi": "fixmatch", "align": True, **SOON},
    "freematch": {"semi": "freematch", "fairness": 0.05},
    "swift": {"semi": "swift", "loss_temperature": 0.5, "confidence_temperature": 0.5, **SOON},
    "finessl": {"semi": "finessl", "unlabeled_ratio": 2, **SOON},
    "self_training": {"semi": "self_training", "join_epoch": 3, **SOON},
}
RICH = replace(
    QUICK, epochs=6, frozen_epochs=2, mixup=0.4, cutmix=1.0, ema_decay=0.9, augment="strong", flip=True, patience=6
)


def select(pool: Pool, rows: np.ndarray) -> Images:
    return pool.select(rows, labels_of(rows))


def make_network(batch_norm: bool = True) -> nn.Sequential:
    """Build a little network; the last layer is the head."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(8) if batch_norm else nn.Identity()
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2),
            nn.Linear(8, 3),
        )  # fmt: skip


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def train(labeled: Images, recipe: Recipe = QUICK, **options: Any) -> dict[str, torch.Tensor]:
    """Train a new little network; return its weights."""
    network = make_network()
    fit_network(network, recipe, labeled, PREPROCESSING, head=network[-1], **options)
    return state(network)


def train_both(labeled: Images, unlabeled: Images | None, recipe: Recipe, **options: Any) -> dict[str, torch.Tensor]:
    """Train a new little network with unlabelled images, too; return its weights."""
    return train(labeled, recipe, unlabeled=unlabeled, **options)


def record_of(labeled: Images, unlabeled: Images, recipe: Recipe, **options: Any) -> list[dict[str, Any]]:
    """Train a new little network with unlabelled images, too; return its record of epochs."""
    network = make_network()
    return fit_network(network, recipe, labeled, PREPROCESSING, head=network[-1], unlabeled=unlabeled, **options)


def counting(calls: list[int]) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
    """Return a forward pass that notes the training steps."""

    def forward(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        calls.append(int(network.training))
        return network(pixels)

    return forward
