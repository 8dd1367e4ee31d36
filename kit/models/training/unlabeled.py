"""Unlabelled images for training: batches of two views from the store, and those that join by confidence.

Reads `kit.data.store` batch by batch: memory does not grow with the pool, but for its order and, in self-training, its
probabilities.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from kit.core.errors import InputError
from kit.core.shapes import Proba
from kit.data.ahead import Ahead
from kit.data.images import Images
from kit.data.store import read_rows, read_store
from kit.features.encoders import Preprocessing
from kit.features.forward import pin
from kit.models.training.augment import augment
from kit.models.training.batches import draw_passes, seed_of
from kit.models.training.kept import Cut, KeptViews
from kit.models.training.recipe import Recipe

STREAM = 1  # tells the unlabelled images' draws from those of the labelled ones, which they must not shift


def check_unlabeled(recipe: Recipe, labeled: Images, unlabeled: Images | None) -> Images:
    """Return the unlabelled images that the recipe reads: none of the labelled ones, and none at all without `semi`.

    Raises
    ------
    InputError
        When there are none to read, or all epochs are frozen: unlabelled images wait until the whole network learns.
    """
    nothing = labeled.take(np.zeros(0, dtype=np.int64))
    if recipe.semi == "none":
        return nothing
    if recipe.semi != "self_training" and recipe.n_frozen >= recipe.n_epochs:
        raise InputError(
            f'semi = "{recipe.semi}" begins after the frozen epochs: with frozen_epochs = {recipe.n_frozen} and '
            f"epochs = {recipe.n_epochs} it never does"
        )
    if unlabeled is not None:
        unlabeled = unlabeled.take(np.flatnonzero(~np.isin(unlabeled.rows, labeled.rows)))
    if not unlabeled:
        raise InputError(f'semi = "{recipe.semi}" learns from unlabelled images and there is none: set semi = "none"')
    return unlabeled


class Stream:
    """Give batches of unlabelled images, each in two views; every epoch draws from another generator.

    The recipe's `augment` and `flip` vary the first view, the level `second` the second. With a `cut` a few views are
    drawn once, and activations below the cut take the place of pixels.
    """

    def __init__(
        self,
        images: Images,
        preprocessing: Preprocessing,
        recipe: Recipe,
        second: str,
        seed: int,
        device: str,
        cut: Cut | None = None,
    ) -> None:
        self.images, self.preprocessing, self.flip = images, preprocessing, recipe.flip
        self.levels, self.seed, self.device = (recipe.augment, second), seed, device
        self.store = read_store(images.pool, preprocessing.geometry)
        self.kept: list[KeptViews] = []
        if cut is not None:
            numbers = {recipe.augment: 1, second: recipe.n_views}
            self.kept = [
                KeptViews(images, cut, level, recipe.flip, numbers[level], i == 0, seed_of(seed, 0, STREAM, i))
                for i, level in enumerate(self.levels)
            ]

    def restart(self, epoch: int, n_images: int) -> None:
        """Draw which images an epoch will see, `n_images` in all: passes over the pool, one after the other."""
        self.generator = Generator().manual_seed(seed_of(self.seed, epoch, STREAM))
        self.order = draw_passes(self.images.rows, n_images, self.generator)
        self.start = 0
        self.pixels = Ahead(self._read, self._following)

    def views(self, n_images: int) -> list[Tensor]:
        """Return both views of the next images, standardised, (n_images, 3, h, w) each; or their activations."""
        start, stop = self.start, min(self.start + n_images, len(self.order))
        self.start = stop
        if self.kept:
            rows = self.images.rows[self.order[start:stop]]
            return [kept.draw(rows, self.generator) for kept in self.kept]
        pixels = self.pixels.take((start, stop)).to(self.device, non_blocking=True)
        varied = [augment(pixels, level, self.generator, self.flip) for level in self.levels]
        return [self.preprocessing.normalise(view).contiguous(memory_format=torch.channels_last) for view in varied]

    def _read(self, places: tuple[int, int]) -> Tensor:
        """Return the decoded images at some places of the order."""
        return pin(torch.from_numpy(read_rows(self.store, self.images.rows[self.order[slice(*places)]])), self.device)

    def _following(self, places: tuple[int, int]) -> tuple[int, int] | None:
        """Return the places of the next batch, which is most likely as large."""
        start, stop = places[1], min(2 * places[1] - places[0], len(self.order))
        return (start, stop) if start < stop else None


def take_confident(unlabeled: Images, proba: Proba, threshold: float, weight: float) -> tuple[Images, dict[str, Any]]:
    """Return the images whose most probable class exceeds the threshold, with pseudo labels, and the facts of it.

    `weight`, above 0, is that of each image that is taken.

    Returns
    -------
    Images, dict
        The taken ones; n_joined, mask_rate, counts per class (n_classes,) and the threshold.
    """
    chosen = np.flatnonzero(proba.max(axis=1, initial=0.0) > threshold)
    codes = proba[chosen].argmax(axis=1)
    counts = np.bincount(codes, minlength=proba.shape[1])
    taken = replace(
        unlabeled.take(chosen),
        labels=codes.astype(np.int64),
        weights=np.full(len(chosen), weight, dtype=np.float32),
        is_pseudo=np.ones(len(chosen), dtype=bool),
    )
    facts = {"n_joined": len(chosen), "mask_rate": len(chosen) / max(len(unlabeled), 1), "counts": counts.tolist()}
    return taken, facts | {"threshold": threshold}


def describe_teaching(method: str, facts: dict[str, Any], classes: tuple[str, ...]) -> str:
    """Return a sentence on what unlabelled images taught in an epoch: how many, and which class starves.

    `method` is the recipe's `semi`, `facts` the epoch's entry of the record.
    """
    if "mask_rate" not in facts:
        return f"{method}: no unlabelled image took part"
    shares = np.array(facts.get("pseudo_share", facts.get("counts")), dtype=np.float64)
    shares /= max(shares.sum(), 1e-12)
    low, high = shares.argmin(), shares.argmax()
    return (
        f"{method}: {facts['mask_rate']:.0%} of the unlabelled images taught in the last epoch; "
        f"{classes[high]} is named most ({shares[high]:.0%}), {classes[low]} least ({shares[low]:.0%})"
    )
