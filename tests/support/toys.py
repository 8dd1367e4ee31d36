"""Toy models: one that remembers, one with a dial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from support.journal import FITS, MEMORY

from kit.data.images import Images, pool_behind
from kit.models.model import Model

DIAL = '[runs.dialled]\nmodel = "dialled"\ndial = 0.5\nsearch = { dial = { low = 0.1, high = 0.9 } }\n'


@dataclass
class Memoriser(Model):
    """Return the remembered label of any image it was fitted on, by its place, else the uniform distribution."""

    bias: float = 0.0
    seed: int = 0
    memory: dict[int, int] = field(default_factory=dict, init=False)

    def fit(self, labeled: Images, unlabeled: Images) -> Memoriser:
        FITS.append(self.seed)
        self.memory = dict(zip(labeled.rows.tolist(), labeled.labels.tolist(), strict=True))
        return self

    def predict_proba(self, images: Images) -> np.ndarray:
        proba = np.full((len(images), images.n_classes), 1 / images.n_classes)
        for i, row in enumerate(images.rows.tolist()):
            if row in self.memory:
                proba[i] = np.eye(images.n_classes)[self.memory[row]]
        return proba


@dataclass
class Dialled(Model):
    """A swept model whose one setting says how much of the true colour, read behind its back, it believes."""

    sweep_name: ClassVar[str] = "dial"

    dial: float | None = None
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> Dialled:
        return self

    @property
    def sweep_default(self) -> float:
        return 0.5

    def sweep_values(self) -> list[float]:
        return [0.0, 0.5, 1.0] if self.dial is None else [self.dial]

    def predict_sweep(self, images: Images) -> np.ndarray:
        return np.stack([self._at(images, value) for value in self.sweep_values()])

    def predict_proba(self, images: Images) -> np.ndarray:
        return self._at(images, self.dial)

    def settle(self, value: float) -> None:
        self.dial = value

    def tensors(self) -> dict[str, np.ndarray]:
        return {"nothing": np.zeros(1)}

    def restore(self, tensors: dict[str, np.ndarray], classes: tuple[str, ...]) -> Dialled:
        return self

    def _at(self, images: Images, value: float) -> np.ndarray:
        names = [path.rsplit("/", 2)[-2] for path in pool_behind(images).paths[images.rows]]
        right = np.array([images.classes.index(name) if name in images.classes else 0 for name in names])
        return value * np.eye(images.n_classes)[right] + (1 - value) / images.n_classes


@dataclass
class Stubborn(Memoriser):
    """Remember every label it was ever given, of all folds: in the class, the module or a foreign module."""

    where: str = "class"

    kept: ClassVar[dict[int, int]] = {}

    def fit(self, labeled: Images, unlabeled: Images) -> Stubborn:
        self.memory = {"class": self.kept, "module": KEPT, "foreign": MEMORY}[self.where]
        self.memory.update(zip(labeled.rows.tolist(), labeled.labels.tolist(), strict=True))
        return self


@dataclass
class Peeping(Model):
    """Read the class folder in an image's path, behind the kit's back."""

    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> Peeping:
        return self

    def predict_proba(self, images: Images) -> np.ndarray:
        names = [path.rsplit("/", 2)[-2] for path in pool_behind(images).paths[images.rows]]
        proba = np.full((len(images), images.n_classes), 1 / images.n_classes)
        for i, name in enumerate(names):
            if name in images.classes:
                proba[i] = np.eye(images.n_classes)[images.classes.index(name)]
        return proba


KEPT: dict[int, int] = {}
