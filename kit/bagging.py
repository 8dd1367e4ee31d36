"""Bagging: several copies of a model, each fitted on its own bootstrap draw of the training images; the mean predicts.

Reads and writes nothing itself. A draw is the number of times that each image was drawn, as its weight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kit.images import Images
from kit.models import Model


class Bagged:
    """Be several copies of a model; a drop-in for one of them.

    Parameters
    ----------
    build
        Builds a copy from a seed.
    n_bags
        Number of copies, 1 or more.
    seed
        Seed of the draws and of the copies' own seeds.

    References
    ----------
    Breiman 1996, Bagging predictors.
    """

    def __init__(self, build: Callable[[int], Model], n_bags: int, seed: int) -> None:
        self.seed = seed
        seeds = np.random.SeedSequence(seed).generate_state(n_bags)
        self.copies = [build(int(own)) for own in seeds]

    def fit(self, labeled: Images, unlabeled: Images) -> Bagged:
        """Fit every copy on its own draw."""
        for copy in self.copies:
            copy.fit(draw(labeled, copy.seed), unlabeled)
        return self

    def predict_proba(self, images: Images) -> np.ndarray:
        """Return the copies' mean probabilities, (n_images, n_classes)."""
        return np.mean([copy.predict_proba(images) for copy in self.copies], axis=0)

    def predict_sweep(self, images: Images) -> np.ndarray:
        """Return the copies' mean probabilities at every value, (n_values, n_images, n_classes)."""
        return np.mean([copy.predict_sweep(images) for copy in self.copies], axis=0)

    def settle(self, value: Any) -> None:
        """Predict with this value from now on."""
        for copy in self.copies:
            copy.settle(value)

    def checkpoint_at(self, path: Path) -> None:
        """Write a checkpoint per copy: a finished copy's is read back, and its training is over at once."""
        for i, copy in enumerate(self.copies):
            copy.checkpoint_at(path.with_name(f"{path.stem}_{i}{path.suffix}"))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what all copies learned."""
        own = [copy.tensors() for copy in self.copies]
        return {f"bag_{i}.{name}": value for i, tensors in enumerate(own) for name, value in tensors.items()}

    def restore(self, tensors: dict[str, np.ndarray], classes: tuple[str, ...]) -> Bagged:
        """Become the fitted model that gave `tensors`; return self."""
        for i, copy in enumerate(self.copies):
            prefix = f"bag_{i}."
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            copy.restore(own, classes)
        return self


def draw(labeled: Images, seed: int) -> Images:
    """Return a bootstrap draw: as many images as there are, with replacement, class by class.

    Drawn within the classes, so that with few labels none is lost. An image drawn twice counts twice.

    Parameters
    ----------
    labeled
        Labelled images.
    seed
        Of the draw.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros(len(labeled), dtype=np.float32)
    for code in np.unique(labeled.labels):
        own = np.flatnonzero(labeled.labels == code)
        np.add.at(counts, generator.choice(own, len(own)), 1)
    drawn = labeled.take(np.flatnonzero(counts))
    return dataclasses.replace(drawn, weights=drawn.weights * counts[counts > 0])
