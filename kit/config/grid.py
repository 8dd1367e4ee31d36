"""Grids: one table of competition.toml that stands for several runs.

``grid = { lr = [1e-5, 1e-7], augment = ["none", "light"] }`` in ``[runs.NAME]`` gives four runs, named by the values:
``NAME_1e-5_none``, ``NAME_1e-5_light`` and so on, the last key varying fastest. Nothing is read or written here.
"""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from kit.core.errors import InputError

UNNAMEABLE = re.compile(r"[^A-Za-z0-9-]+")  # in a run's name, whose parts are joined by _


def expand_grids(tables: dict[str, Any], file: Path) -> dict[str, tuple[object, str | None]]:
    """Return every run's table, and the grid that it comes from, by name, of the ``[runs.*]`` tables of a file.

    A grid that is not lists of values by key, a key that stands both in it and beside it, and two runs of one name
    raise InputError.
    """
    expanded: dict[str, tuple[object, str | None]] = {}
    for name, table in tables.items():
        is_grid = isinstance(table, dict) and "grid" in table
        runs = _expand(name, table, f"{file}: [runs.{name}] grid") if is_grid else {name: table}
        for run, settings in runs.items():
            if run in expanded or (run in tables and is_grid):
                raise InputError(f"{file}: [runs.{name}] grid: there would be two runs {run!r}; rename one")
            expanded[run] = (settings, name if is_grid else None)
    return expanded


def _expand(name: str, table: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
    """Return the runs of one grid by name."""
    grid = table["grid"]
    shared = {key: value for key, value in table.items() if key != "grid"}
    if not isinstance(grid, dict) or not grid:
        raise InputError(f"{place} must be a table of keys and the values to try: grid = {{ lr = [1e-5, 1e-7] }}")
    for key, values in grid.items():
        if key in shared:
            raise InputError(f"{place}.{key}: {key} stands beside the grid too; keep one of them")
        if not isinstance(values, list) or not values:
            raise InputError(f"{place}.{key} = {values!r} must be a list of at least one value")
        for value in values:
            if not isinstance(value, str | int | float):
                raise InputError(f"{place}.{key}: {value!r} is not a number, a word, true or false")
    runs: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*grid.values()):
        run = "_".join([name, *map(_spell, values)])
        if run in runs:
            raise InputError(f"{place}: there would be two runs {run!r}; leave out the value that is there twice")
        runs[run] = shared | dict(zip(grid, values, strict=True))
    return runs


def _spell(value: str | float) -> str:
    """Write a value as a part of a run's name, which has no dots: 0.025 is 25e-3."""
    if isinstance(value, str):
        return UNNAMEABLE.sub("-", value).strip("-")
    if isinstance(value, bool):
        return str(value).lower()
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int) or 0 <= exponent < 6:  # nan and inf, and whole numbers, as they are
        return str(int(value)) if isinstance(exponent, int) else str(value)
    return f"{'-' * sign}{''.join(map(str, digits))}e{exponent}"
