"""Building a model: a run's table, checked option by option, becomes the model that it names.

Reads the model's source file where it is to be made anew; writes nothing.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import typing
from copy import deepcopy
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from kit.config.competition import Competition, Run
from kit.core.errors import InputError, nearest, plain, some
from kit.models import MODELS
from kit.models.model import Model


def build_model(competition: Competition, run: Run, seed: int | None = None, is_renewed: bool = False) -> Model:
    """Build the model of a run from its checked options; `seed`, a fold's, takes the place of the run's own.

    With `is_renewed` its module is executed once more: nothing is there that class or module kept of an earlier fit.
    An unknown model or option, a value of another type or out of range, and a model that cannot do the competition's
    task raise InputError.
    """
    table = f"{competition.file}: [runs.{run.name}]"
    if run.model not in MODELS:
        raise InputError(f"{table} model = {run.model!r} is not a model; {nearest(run.model, MODELS)}")
    model_type = MODELS[run.model]
    if not issubclass(model_type, Model):
        raise InputError(f"{table} model {run.model!r}: {model_type.__name__} is no subclass of kit.models.model.Model")
    if competition.facts.task not in model_type.tasks:
        able = some(name for name, other in MODELS.items() if competition.facts.task in other.tasks)
        raise InputError(
            f'{table} model {run.model!r} gives one class per image, but task = "{competition.facts.task}"; '
            f"several labels can be had of {able}"
        )
    checker = _checker(model_type)
    for key in run.options:
        if key not in checker.model_fields:
            valid = {*checker.model_fields, *Run.model_fields} - {"name", "options", "grid"}
            raise InputError(f"{table} model {run.model!r} has no option {key!r}; {nearest(key, valid)}")
    try:
        checked = checker(**run.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        of_key = [each for each in error.errors() if each["loc"][0] == key]  # one for every form it may have
        messages = dict.fromkeys(plain(each["msg"]) for each in of_key)
        missing = first["type"] == "missing"
        cause = f"needs {key!r}" if missing else f"{key} = {run.options[key]!r}: {'; or '.join(messages)}"
        raise InputError(f"{table} model {run.model!r} {cause}") from error
    options = {name: getattr(checked, name) for name in checker.model_fields}
    model_type = _renew(model_type) if is_renewed else model_type
    try:
        model = model_type(**options, seed=run.seed if seed is None else seed)
        model.check_task(competition.task)
    except InputError as error:
        raise InputError(f"{table} {error}") from error
    return model


def option_hints(model_type: type[Model]) -> dict[str, Any]:
    """Return the annotations of the fields that a run may set: all of the model's but the seed."""
    hints = typing.get_type_hints(model_type, include_extras=True)
    names = [field.name for field in dataclasses.fields(model_type) if field.init and field.name != "seed"]
    return {name: hints[name] for name in names}


def _renew(model_type: type[Model]) -> type[Model]:
    """Return a class made anew of its source file; the class itself where it has none, as in a notebook."""
    spec = getattr(sys.modules.get(model_type.__module__), "__spec__", None)
    if spec is None or spec.loader is None or "." in model_type.__qualname__:
        return model_type
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    renewed = getattr(module, model_type.__name__)
    if renewed.__reduce__ is object.__reduce__:
        renewed.__reduce__, renewed.__copy__, renewed.__deepcopy__ = _reduce, _copy, _copy_deeply
    return renewed


def _reduce(model: Model) -> tuple[Any, ...]:
    """Return how a model whose class was made anew is pickled: pickle finds a class by its name, the ordinary one."""
    return _restore, (type(model).__module__, type(model).__name__), vars(model)


def _restore(module: str, name: str) -> Model:
    """Return an empty model of the class of this name, which pickle fills."""
    model_type = getattr(importlib.import_module(module), name)
    return model_type.__new__(model_type)


def _copy(model: Model) -> Model:
    """Return a copy of the same class, which `copy` would else make as pickle does."""
    copied = type(model).__new__(type(model))
    vars(copied).update(vars(model))
    return copied


def _copy_deeply(model: Model, memo: dict[int, Any]) -> Model:
    """Return a copy, of the same class, with copies of all that it holds."""
    memo[id(model)] = copied = type(model).__new__(type(model))
    vars(copied).update(deepcopy(vars(model), memo))
    return copied


@cache
def _checker(model_type: type[Model]) -> type[BaseModel]:
    """Return what checks the options of a model: a field for each of its keys but the seed, made once."""
    defaults = {field.name: default_of(field) for field in dataclasses.fields(model_type)}
    fields: dict[str, Any] = {name: (hint, defaults[name]) for name, hint in option_hints(model_type).items()}
    config = ConfigDict(strict=True, arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False)
    return create_model(model_type.__name__, __config__=config, **fields)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return a field's default in pydantic's terms: an ellipsis where it has none."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return ... if field.default_factory is dataclasses.MISSING else field.default_factory()
