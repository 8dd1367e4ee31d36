"""The model: what every one of them can do, and what some can do beside it."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kit.core.names import MULTICLASS
from kit.data.images import Images
from kit.models.balance import Adjustable


class Model(Protocol):
    """Turn images into class probabilities."""

    seed: int

    def fit(self, labeled: Images, unlabeled: Images) -> Model:
        """Learn from labelled images (pseudo labels among them, by weight) and from unlabelled ones; return self."""

    def predict_proba(self, images: Images) -> np.ndarray:
        """Return probabilities, (n_images, n_classes), rows in the order of `images`."""


@runtime_checkable
class Resumable(Protocol):
    """A model whose fit leaves checkpoints, so that a killed run goes on at its last epoch."""

    def checkpoint_at(self, path: Path) -> None:
        """Write checkpoints to `path`, and go on from the one that lies there."""


@runtime_checkable
class Kept(Protocol):
    """A model whose fitted weights are kept as safetensors beside its predictions."""

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what was learned."""

    def restore(self, tensors: dict[str, np.ndarray], classes: tuple[str, ...]) -> Kept:
        """Become the fitted model that gave `tensors`; return self."""


@runtime_checkable
class Swept(Protocol):
    """A model with one setting that is chosen after fitting, for each fold on the other folds' oof rows.

    One whose weights are not kept is fitted once more at the chosen setting.
    """

    sweep_name: typing.ClassVar[str]

    @property
    def sweep_default(self) -> Any:
        """Return the value where a single hold-out leaves no other rows to choose on."""

    def sweep_values(self) -> list[Any]:
        """Return the values to try, JSON-like; a single one when the user fixed it. The first is preferred in a tie."""

    def predict_sweep(self, images: Images) -> np.ndarray:
        """Return probabilities at every value, (n_values, n_images, n_classes)."""

    def settle(self, value: Any) -> None:
        """Predict with this value from now on."""


def is_swept(model: Model) -> bool:
    """Return whether a setting of a model is chosen after fitting; a fixed logit adjustment is none."""
    return isinstance(model, Swept) and (len(model.sweep_values()) > 1 or model.sweep_name != Adjustable.sweep_name)


def tasks_of(model_type: type) -> tuple[str, ...]:
    """Return the tasks that a model can do: what its class says in ``tasks``, else one class per image."""
    return getattr(model_type, "tasks", (MULTICLASS,))
