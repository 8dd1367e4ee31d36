"""The space of a search: from the model's declarations, or from ``[runs.NAME.search]``.

Reads and writes nothing. What lies outside a field's limits is refused here, before any trial.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kit.config.competition import Competition, Run
from kit.core.errors import InputError, nearest
from kit.models import MODELS
from kit.models.balance import NESTED
from kit.models.search import Between, OneOf
from kit.runs.store.build import build_model, option_hints

Dimension = Between | OneOf
RANGE = "{ low = 1e-6, high = 1e-3, log = true }"  # how a range is written
STRICT = ConfigDict(strict=True)


def read_space(competition: Competition, run: Run) -> dict[str, Dimension]:
    """Return what is tried for each field: the run's own search table, else what its model declares.

    Of the declared fields those are left out that this run does not read or its other options forbid, and those whose
    value is ``"nested"``: they are chosen for each fold already. An unknown field, a range or list that is none or
    leaves the field's limits, and a space with nothing to search raise InputError.
    """
    model = build_model(competition, run)
    hints = option_hints(MODELS[run.model])
    place = f"{competition.file}: [runs.{run.name}.search]"
    if run.search:
        return {field: _read_dimension(place, run, field, given, hints) for field, given in run.search.items()}
    space = {}
    for field, hint in hints.items():
        dimension = next((part for part in _parts(hint) if isinstance(part, Dimension)), None)
        if dimension is None or (dimension.needs is not None and not getattr(model, dimension.needs)):
            continue
        if getattr(model, field) != NESTED and _is_allowed(competition, run, field, dimension):
            space[field] = dimension
    if not space:
        raise InputError(
            f"{place}: model {run.model!r} has nothing to search here that is not chosen for each fold already; name "
            f"fields and what to try: {{ FIELD = {RANGE} }}"
        )
    return space


def ends(dimension: Dimension) -> tuple[Any, ...]:
    """Return the values between which everything else lies, or all of a list."""
    return dimension.values if isinstance(dimension, OneOf) else (dimension.low, dimension.high)


def is_whole(run: Run, field: str) -> bool:
    """Return whether a field of the run's model takes whole numbers alone."""
    parts = list(_parts(option_hints(MODELS[run.model])[field]))
    return any(part is int for part in parts) and not any(part is float for part in parts)


def spell(dimension: Dimension) -> str:
    """Return a dimension as a person reads it."""
    if isinstance(dimension, OneOf):
        return " | ".join(map(str, dimension.values))
    return f"{dimension.low:g} .. {dimension.high:g}{' (log)' if dimension.log else ''}"


def _is_allowed(competition: Competition, run: Run, field: str, dimension: Dimension) -> bool:
    """Return whether the run's other options let the field have every value."""
    try:
        for value in ends(dimension):
            build_model(competition, run.model_copy(update={"options": run.options | {field: value}}))
    except InputError:
        return False
    return True


def _parts(hint: Any) -> Iterator[Any]:
    """Give an annotation and everything in it, metadata included."""
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def _read_dimension(place: str, run: Run, field: str, given: Any, hints: dict[str, Any]) -> Dimension:
    """Check one line of a search table."""
    if field not in hints:
        raise InputError(f"{place} model {run.model!r} has no field {field!r} to search; {nearest(field, hints)}")
    line = f"{place} {field} = {given!r}"
    if isinstance(given, list):
        dimension: Dimension = OneOf(tuple(given))
        if len({repr(value) for value in given}) < max(2, len(given)):
            raise InputError(f"{line}: list two or more different values, or write {RANGE}")
        if not all(isinstance(value, str | int | float) for value in given):
            raise InputError(f"{line}: a list to search holds words, numbers, true or false")
    else:
        dimension = _read_range(line, given, is_whole(run, field))
    for value in ends(dimension):
        try:
            TypeAdapter(hints[field], config=STRICT).validate_python(value)
        except ValidationError as error:
            limits = "; or ".join(dict.fromkeys(each["msg"] for each in error.errors()))
            raise InputError(
                f"{line}: {value!r} lies outside the limits of {field} ({limits}); narrow the search to them"
            ) from error
    return dimension


def _read_range(line: str, given: Any, whole: bool) -> Between:
    """Check a table of low, high and log."""
    if not isinstance(given, dict) or not {"low", "high"} <= given.keys() <= {"low", "high", "log"}:
        raise InputError(f"{line}: write {RANGE}, or a list of values")
    low, high, log = given["low"], given["high"], given.get("log", False)
    if not all(type(end) in (int, float) and math.isfinite(end) for end in (low, high)) or type(log) is not bool:
        raise InputError(f"{line}: low and high are finite numbers, log is true or false")
    if not low < high:
        raise InputError(f"{line}: low must be below high")
    if log and low <= 0:
        raise InputError(f"{line}: orders of magnitude begin above 0; raise low, or drop log")
    if whole and not all(type(end) is int for end in (low, high)):
        raise InputError(f"{line}: the field takes whole numbers: write low and high as such")
    return Between(low, high, log)
