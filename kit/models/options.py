"""Model options: what a run's table may say to each model - type, range, default, and the meaning its docstring gives.

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

from kit.core.errors import InputError, nearest
from kit.models import MODELS

TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false", dict: "table"}
LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
REFERENCE = re.compile(r"(As|See) `")  # a meaning that sends the reader to the class that has it


@dataclass(frozen=True)
class Option:
    """Describe one key of a run's table.

    Parameters
    ----------
    name
        The key.
    type
        What it may be, in words.
    default
        What it is where the table does not say; None also where it must be said.
    is_required
        Whether it must be said.
    meaning
        What it does.
    """

    name: str
    type: str
    default: Any
    is_required: bool
    meaning: str


def describe_model(name: str) -> str:
    """Return what a model does, in one sentence."""
    return _plain(inspect.getdoc(MODELS[name]).partition("\n\n")[0])


def list_options(name: str) -> list[Option]:
    """Return the options of a model: its own, then those it shares with others.

    Raises
    ------
    InputError
        When there is no such model.
    """
    if name not in MODELS:
        raise InputError(f"no model {name!r}; {nearest(name, MODELS)}")
    model_type = MODELS[name]
    hints, meanings = typing.get_type_hints(model_type, include_extras=True), _read_meanings(model_type)
    owners = {
        key: place for place, own in reversed([*enumerate(model_type.__mro__)]) for key in inspect.get_annotations(own)
    }
    fields = sorted((own for own in dataclasses.fields(model_type) if own.init), key=lambda own: owners[own.name])
    return [
        Option(own.name, _spell_type(hints[own.name]), *_default(own), meanings.get(own.name, "")) for own in fields
    ]


def _default(own: dataclasses.Field[Any]) -> tuple[Any, bool]:
    """Return a field's default, and whether it has none."""
    if own.default is not dataclasses.MISSING:
        return own.default, False
    if own.default_factory is not dataclasses.MISSING:
        return own.default_factory(), False
    return None, True


def _read_meanings(model_type: type) -> dict[str, str]:
    """Return what the docstrings of a class and those it derives from say of each parameter, the nearest first."""
    meanings: dict[str, str] = {}
    for own in model_type.__mro__:
        section = inspect.cleandoc(own.__doc__ or "").partition("Parameters\n----------\n")[2].partition("\n\n\n")[0]
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
        limits = [own for extra in extras for own in getattr(extra, "metadata", [])]
        said = [f"{word} {getattr(own, key):g}" for own in limits for key, word in LIMITS.items() if hasattr(own, key)]
        return " ".join([_spell_type(inner), " and ".join(said)]).strip()
    if typing.get_origin(hint) is Literal:
        return " | ".join(f'"{value}"' for value in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return ", or ".join(_spell_type(own) for own in typing.get_args(hint) if own is not type(None))
    if typing.get_origin(hint) is list:
        return f"list of {_spell_type(typing.get_args(hint)[0])}"
    return TYPES.get(typing.get_origin(hint) or hint, str(hint))
