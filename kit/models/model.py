"""The model: what every model can do, and what it says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from kit.core.names import MULTICLASS
from kit.core.shapes import Proba, Tensors
from kit.data.images import Images
from kit.features.cache import GIVEN
from kit.features.joint import Joined
from kit.scoring.task import Task


class Model:
    """Turn images into class probabilities.

    A model is a dataclass whose fields are its keys in competition.toml, `seed` among them. A simple one has `fit` and
    `predict_proba`. Whatever else a model can do has a default here that says that it cannot.

    Attributes
    ----------
    tasks
        What it can predict: ``"multiclass"``, ``"multilabel"`` or both.
    sweep_name
        What the setting is called that is chosen after the fit: see `sweep_values`.
    record_
        How the last fit went, JSON-like: a dict, or a list of them such as one per epoch. None where nothing is told.
    """

    tasks: ClassVar[tuple[str, ...]] = (MULTICLASS,)
    sweep_name: ClassVar[str] = "setting"
    record_: dict[str, Any] | list[dict[str, Any]] | None = None
    seed: int
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, labeled: Images, unlabeled: Images) -> Self:
        """Learn from labelled images (pseudo labels among them, by weight) and from unlabelled ones; return self."""
        raise NotImplementedError

    def predict_proba(self, images: Images) -> Proba:
        """Return probabilities, (n_images, n_classes), rows in the order of `images`."""
        raise NotImplementedError

    def check_task(self, task: Task) -> None:
        """Refuse options that make no sense for a task, with an InputError that names one."""

    def options(self) -> dict[str, Any]:
        """Return the value of every key."""
        return dataclasses.asdict(self)

    @property
    def encoder_used(self) -> tuple[str | None, dict[str, Any]]:
        """Return the encoder whose features or network it reads, None for pixels, and that encoder's arguments."""
        options = self.options()
        return options.get("encoder"), options.get("encoder_args", {})

    @property
    def encoders_used(self) -> list[Joined]:
        """Return every encoder whose features or network it reads, each with its arguments; none for pixels."""
        encoder, args = self.encoder_used
        return [] if encoder is None else [(encoder, args)]

    @property
    def needs_weights(self) -> bool:
        """Return whether weights of an encoder must be there."""
        return any(encoder != GIVEN for encoder, _ in self.encoders_used)

    @property
    def prompt_lists(self) -> list[str]:
        """Return the names of the prompt lists that it reads."""
        prompts = self.options().get("prompts") or []
        return [prompts] if isinstance(prompts, str) else prompts

    @property
    def copies(self) -> Sequence[Model]:
        """Return the models whose mean predicts: this one alone, unless it is several copies."""
        return [self]

    @property
    def keeps_weights(self) -> bool:
        """Return whether `tensors` and `restore` keep what was learned; else it is fitted anew where it is needed."""
        return type(self).tensors is not Model.tensors

    @property
    def resumes(self) -> bool:
        """Return whether `fit` leaves checkpoints, so that a killed run goes on at its last epoch."""
        return type(self).checkpoint_at is not Model.checkpoint_at

    def tensors(self) -> Tensors:
        """Return what was learned."""
        raise NotImplementedError

    def restore(self, tensors: Tensors, classes: tuple[str, ...]) -> Self:
        """Become the fitted model that gave `tensors`; return self."""
        raise NotImplementedError

    def checkpoint_at(self, path: Path) -> None:
        """Write checkpoints to `path` while fitting, and go on from the one that lies there."""
        raise NotImplementedError

    @property
    def is_swept(self) -> bool:
        """Return whether a setting is chosen after the fit."""
        return bool(self.sweep_values())

    def sweep_values(self) -> list[Any]:
        """Return the values of a setting of which one is chosen after the fit, for each fold on the other folds' rows.

        They are JSON-like. The first is preferred in a tie; a single one is fixed; none means that there is no such
        setting. A model that keeps no weights is fitted once more at the chosen value.
        """
        return []

    @property
    def sweep_default(self) -> Any:
        """Return the value where a single hold-out leaves no other rows to choose on."""
        return self.sweep_values()[0]

    def predict_sweep(self, images: Images) -> Proba:
        """Return probabilities at every value, (n_values, n_images, n_classes)."""
        raise NotImplementedError

    def settle(self, value: Any) -> None:
        """Predict with this value of the swept setting from now on."""
        raise NotImplementedError
