"""Several copies of a model whose mean predicts: of different seeds, or each on another bootstrap draw.

Reads and writes nothing itself. A draw is the number of times that each image was drawn, as its weight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.shapes import Labels, Proba, Tensors
from kit.data.images import Images
from kit.models.model import Model

COPY = "copy_"  # prefix of the kept tensors of copies, before their number


def checkpoint_of(path: Path, number: int) -> Path:
    """Return where a copy's checkpoint lies, of the path that all copies were given."""
    return path.with_name(f"{path.stem}_{number}{path.suffix}")


class Averaged(Model):
    """Be several copies of a model, one for each seed; a drop-in for one of them.

    `build` makes a copy from each of the seeds.
    """

    def __init__(self, build: Callable[[int], Model], seeds: Sequence[int]) -> None:
        super().__init__(seed=seeds[0])
        self._copies = [build(seed) for seed in seeds]

    @property
    def copies(self) -> Sequence[Model]:
        """Return the copies, in the order of their seeds."""
        return self._copies

    @property
    def keeps_weights(self) -> bool:
        """Return whether a copy keeps its weights."""
        return self._copies[0].keeps_weights

    @property
    def resumes(self) -> bool:
        """Return whether a copy leaves checkpoints."""
        return self._copies[0].resumes

    def options(self) -> dict[str, Any]:
        """Return the options of one copy, which are those of all."""
        return self._copies[0].options()

    def fit(self, labeled: Images, unlabeled: Images) -> Averaged:
        """Fit every copy."""
        for copy in self.copies:
            copy.fit(self.training_of(copy, labeled), unlabeled)
        return self

    def training_of(self, copy: Model, labeled: Images) -> Images:
        """Return the images that a copy is fitted on: all of them."""
        return labeled

    def predict_proba(self, images: Images) -> Proba:
        """Return the copies' mean probabilities, (n_images, n_classes)."""
        return np.mean([copy.predict_proba(images) for copy in self.copies], axis=0)

    def sweep_values(self) -> list[Any]:
        """Return the values of one copy, which are those of all."""
        return self._copies[0].sweep_values()

    @property
    def sweep_default(self) -> Any:
        """Return the default of one copy."""
        return self._copies[0].sweep_default

    def predict_sweep(self, images: Images) -> Proba:
        """Return the copies' mean probabilities at every value, (n_values, n_images, n_classes)."""
        return np.mean([copy.predict_sweep(images) for copy in self.copies], axis=0)

    def settle(self, value: Any) -> None:
        """Predict with this value from now on."""
        for copy in self.copies:
            copy.settle(value)

    def checkpoint_at(self, path: Path) -> None:
        """Write a checkpoint per copy: a finished copy's is read back, and its training is over at once."""
        for i, copy in enumerate(self.copies):
            copy.checkpoint_at(checkpoint_of(path, i))

    def tensors(self) -> Tensors:
        """Return what all copies learned."""
        learned = enumerate(copy.tensors() for copy in self.copies)
        return {f"{COPY}{i}.{name}": value for i, tensors in learned for name, value in tensors.items()}

    def restore(self, tensors: Tensors, classes: tuple[str, ...]) -> Averaged:
        """Become the fitted model that gave `tensors`; return self."""
        for i, copy in enumerate(self.copies):
            prefix = f"{COPY}{i}."
            parts = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            copy.restore(parts, classes)
        return self


class Bagged(Averaged):
    """Be several copies of a model, each fitted on another bootstrap draw of the training images (Breiman 1996).

    The draws and the copies' seeds come from `seed`.
    """

    def __init__(self, build: Callable[[int], Model], n_bags: int, seed: int) -> None:
        super().__init__(build, np.random.SeedSequence(seed).generate_state(n_bags).tolist())
        self.seed = seed

    def training_of(self, copy: Model, labeled: Images) -> Images:
        """Return the copy's draw."""
        return draw_bootstrap(labeled, copy.seed)


def draw_bootstrap(labeled: Images, seed: int) -> Images:
    """Return a bootstrap draw: as many images as there are, with replacement, class by class.

    Drawn within the classes, so that with few labels none is lost; of several labels an image's rarest is its class. An
    image drawn twice counts twice.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros(len(labeled), dtype=np.float32)
    codes = _rarest(labeled.labels) if labeled.is_multilabel else labeled.labels
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        np.add.at(counts, generator.choice(rows, len(rows)), 1)
    drawn = labeled.take(np.flatnonzero(counts))
    return dataclasses.replace(drawn, weights=drawn.weights * counts[counts > 0])


def _rarest(labels: Labels) -> Labels:
    """Return the rarest class of every image, (n_images,), of (n_images, n_classes) labels; -1 where it has none."""
    sizes = np.where(labels > 0, labels.sum(axis=0, dtype=np.int64), len(labels) + 1)
    return np.where(labels.any(axis=1), sizes.argmin(axis=1), -1)
