"""Model options: the keys that a run's table may have for each model, with type, range, default and meaning.

Reads the models' dataclasses; writes nothing. What is listed is what `kit.runs.store.build.build_model` accepts.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic.fields import FieldInfo

from kit.core.errors import InputError, nearest
from kit.models import MODELS

TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false", dict: "table"}
LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
HEAD = ("encoder", "prompts", "smooth")
ON_PIXELS = ("encoder", "pixels")
TRAINED = ("encoder", "lr", "steps", "semi", "augment")
FIRST = {  # the five keys of each model that matter most, the first of them most
    "forest": (*ON_PIXELS, "n_trees", "max_depth", "balance"),
    "svm": (*ON_PIXELS, "C", "kernel", "balance"),
    "label_spreading": (*ON_PIXELS, "n_neighbors", "alpha"),
    "self_training": (*ON_PIXELS, "C", "threshold", "max_unlabeled"),
    "clusters": ("encoder", "n_clusters", "matching", "prompts", "smoothing"),
    "zero_shot": (*HEAD, "encoders", "transduction"),
    "linear_probe": (*HEAD, "encoders", "C"),
    "semi_probe": (*HEAD, "semi", "C"),
    "prototypes": (*HEAD, "encoders", "scale"),
    "tip_adapter": (*HEAD, "alpha", "probe"),
    "fine_tune": TRAINED,
    "clip_finetune": ("encoder", "prompts", "lr", "steps", "semi"),
    "small_cnn": ("image_size", "epochs", "lr", "augment", "semi"),
}
WORDS = "open_clip:ViT-B-32/openai"  # an encoder that reads words, and one that does not and comes with pip
IMAGES_ALONE = "timm:tf_efficientnet_lite2@pip"
ON_PIXELS_BY_DEFAULT = ("forest", "svm", "label_spreading", "self_training")
READS_WORDS = ("zero_shot", "linear_probe", "semi_probe", "prototypes", "tip_adapter", "clip_finetune")
REFERENCE = re.compile(r"(As|See) `")  # a meaning that sends the reader to the class that has it


@dataclass(frozen=True)
class Option:
    """Describe one key of a run's table: its type in words; a key that is required has no default (None)."""

    name: str
    type: str
    default: Any
    is_required: bool
    meaning: str


def describe_model(name: str) -> str:
    """Return what a model does, in one sentence."""
    return _plain((inspect.getdoc(MODELS[name]) or "").partition("\n\n")[0])


def list_options(name: str) -> list[Option]:
    """Return the options of a model: first those of its class, then those it shares with others.

    InputError where there is no such model.
    """
    if name not in MODELS:
        raise InputError(f"no model {name!r}; {nearest(name, MODELS)}")
    model_type = MODELS[name]
    hints, meanings = typing.get_type_hints(model_type, include_extras=True), _read_meanings(model_type)
    bases = reversed([*enumerate(model_type.__mro__)])
    owners = {key: place for place, base in bases for key in inspect.get_annotations(base)}
    keys = [field for field in dataclasses.fields(model_type) if field.init]
    return [
        Option(key.name, _spell_type(hints[key.name]), *_default(key), meanings.get(key.name, ""))
        for key in sorted(keys, key=lambda key: owners[key.name])
    ]


def first_options(name: str) -> list[Option]:
    """Return the options of a model that matter first, at most five; InputError where there is no such model."""
    by_name = {option.name: option for option in list_options(name)}
    return [by_name[key] for key in FIRST.get(name, tuple(by_name)[:5])]


def example_run(name: str) -> dict[str, Any]:
    """Return a run of a model to copy: its encoder and words, and the defaults of the other keys that matter first."""
    run: dict[str, Any] = {"model": name}
    for option in first_options(name):
        if option.name == "encoder" and (option.is_required or name not in ON_PIXELS_BY_DEFAULT):
            run["encoder"] = WORDS if name in READS_WORDS else IMAGES_ALONE
        elif option.name == "prompts":
            run["prompts"] = ["names", "first"] if name == "linear_probe" else "first"
        elif option.name == "smooth":
            run["smooth"] = "nested"
        elif option.default is not None and option.default not in ([], {}, ()):
            run[option.name] = option.default
    return run


def _default(field: dataclasses.Field[Any]) -> tuple[Any, bool]:
    """Return a field's default, and whether it has none."""
    if field.default is not dataclasses.MISSING:
        return field.default, False
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory(), False
    return None, True


def _read_meanings(model_type: type) -> dict[str, str]:
    """Return the meaning of each parameter by the docstrings of a class and of its bases, the nearest first."""
    meanings: dict[str, str] = {}
    for base in model_type.__mro__:
        section = inspect.cleandoc(base.__doc__ or "").partition("Parameters\n----------\n")[2].partition("\n\n\n")[0]
        for names, text in re.findall(
            r"^(\w.*)\n((?:(?:    .*)?\n?)+)", re.sub(r"\n\n(?=\w)", "\n", section), re.MULTILINE
        ):
            if names.endswith("...") or REFERENCE.match(text.strip()):
                continue
            for name in names.split(", "):
                meanings.setdefault(name, _plain(text))
    return meanings


def _plain(text: str) -> str:
    """Return a docstring's sentences on one line, without its quoting marks."""
    return re.sub(r"`+", "", " ".join(text.split()))


def _spell_type(hint: Any) -> str:
    """Return a type in words, as ``number at least 0, or "nested"``."""
    if typing.get_origin(hint) is Annotated:
        inner, *extras = typing.get_args(hint)
        limits = [limit for extra in extras if isinstance(extra, FieldInfo) for limit in extra.metadata]
        bounds = [(word, getattr(limit, key, None)) for limit in limits for key, word in LIMITS.items()]
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        return " ".join([_spell_type(inner), words]).strip()
    if typing.get_origin(hint) is Literal:
        return " | ".join(f'"{value}"' for value in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return ", or ".join(_spell_type(part) for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is list:
        return f"list of {_spell_type(typing.get_args(hint)[0])}"
    return TYPES.get(typing.get_origin(hint) or hint, str(hint))
