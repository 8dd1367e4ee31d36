"""Models: one file each, and one line in `MODELS`.

A model is a dataclass whose fields are its keys in competition.toml, with ``fit`` and ``predict_proba`` as in
scikit-learn: the constructor stores, ``fit`` learns and returns self. It sees `Images`: ids, pixels, features, and the
labels it may know. Heavy libraries are imported inside the methods.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import ConfigDict, ValidationError, create_model

from kit.balance import Adjustable
from kit.competition import FILE, Competition, Run
from kit.errors import InputError, nearest, plain, some
from kit.images import Images
from kit.predictions import MULTICLASS


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


from kit.models.clip_finetune import ClipFinetune  # noqa: E402
from kit.models.clusters import Clusters  # noqa: E402
from kit.models.fine_tune import FineTune  # noqa: E402
from kit.models.forest import Forest  # noqa: E402
from kit.models.label_spreading import LabelSpreading  # noqa: E402
from kit.models.linear_probe import LinearProbe  # noqa: E402
from kit.models.prototypes import Prototypes  # noqa: E402
from kit.models.self_training import SelfTraining  # noqa: E402
from kit.models.semi_head import SemiProbe  # noqa: E402
from kit.models.small_cnn import SmallCNN  # noqa: E402
from kit.models.svm import SVM  # noqa: E402
from kit.models.tip_adapter import TipAdapter  # noqa: E402
from kit.models.zero_shot import ZeroShot  # noqa: E402

MODELS: dict[str, type] = {
    "forest": Forest,
    "svm": SVM,
    "label_spreading": LabelSpreading,
    "self_training": SelfTraining,
    "clusters": Clusters,
    "zero_shot": ZeroShot,
    "linear_probe": LinearProbe,
    "semi_probe": SemiProbe,
    "prototypes": Prototypes,
    "tip_adapter": TipAdapter,
    "fine_tune": FineTune,
    "small_cnn": SmallCNN,
    "clip_finetune": ClipFinetune,
}


def build_model(competition: Competition, run: Run, seed: int | None = None) -> Model:
    """Build the model of a run from its checked options.

    Parameters
    ----------
    competition
        For the name of the file in error messages.
    run
        The run.
    seed
        In place of the run's own, a fold's seed.

    Raises
    ------
    InputError
        When the model or an option is unknown, a value has the wrong type or is out of range, or the model cannot do
        the competition's task.
    """
    table = f"{competition.folder / FILE}: [runs.{run.name}]"
    if run.model not in MODELS:
        raise InputError(f"{table} model = {run.model!r} is not a model; {nearest(run.model, MODELS)}")
    model_type = MODELS[run.model]
    if competition.facts.task not in tasks_of(model_type):
        able = some(name for name, own in MODELS.items() if competition.facts.task in tasks_of(own))
        raise InputError(
            f'{table} model {run.model!r} gives one class per image, but task = "{competition.facts.task}"; '
            f"several labels can be had of {able}"
        )
    hints = typing.get_type_hints(model_type, include_extras=True)
    fields = {own.name: own for own in dataclasses.fields(model_type) if own.init and own.name != "seed"}
    for key in run.options:
        if key not in fields:
            valid = {*fields, "model", "seed", "pseudo", "use_test_images", "bags", "seeds", "refit", "search"}
            raise InputError(f"{table} model {run.model!r} has no option {key!r}; {nearest(key, valid)}")
    checker = create_model(
        model_type.__name__,
        __config__=ConfigDict(strict=True, arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False),
        **{name: (hints[name], _default(own)) for name, own in fields.items()},
    )
    try:
        checked = checker(**run.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        mine = [own for own in error.errors() if own["loc"][0] == key]  # one for every form it may have
        said = dict.fromkeys(plain(own["msg"]) for own in mine)
        missing = first["type"] == "missing"
        cause = f"needs {key!r}" if missing else f"{key} = {run.options[key]!r}: {'; or '.join(said)}"
        raise InputError(f"{table} model {run.model!r} {cause}") from error
    options = {name: getattr(checked, name) for name in fields}
    try:
        model = model_type(**options, seed=run.seed if seed is None else seed)
        if hasattr(model, "check_competition"):
            model.check_competition(competition)
    except InputError as error:
        raise InputError(f"{table} {error}") from error
    return model


def tasks_of(model_type: type) -> tuple[str, ...]:
    """Return the tasks that a model can do: what its class says in ``tasks``, else one class per image."""
    return getattr(model_type, "tasks", (MULTICLASS,))


def _default(own: dataclasses.Field[Any]) -> Any:
    """Return a field's default in pydantic's terms."""
    if own.default is not dataclasses.MISSING:
        return own.default
    return ... if own.default_factory is dataclasses.MISSING else own.default_factory()
