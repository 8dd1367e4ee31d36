"""A little network, quick recipes for it, and its weights compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from support.pools import labels_of
from torch import nn

from kit.data.images import Images, Pool
from kit.data.store import Geometry
from kit.features.encoders import Preprocessing
from kit.models.training.recipe import Recipe

SIZE = 16
PREPROCESSING = Preprocessing(Geometry(SIZE, SIZE), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
QUICK = Recipe(epochs=3, batch_size=8, lr=0.01)


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
