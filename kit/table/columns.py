"""Columns of a CSV: found by name, and refused where a cell says nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from kit.errors import InputError, nearest, some


def read_column(rows: pd.DataFrame, name: str, key: str, file: Path) -> pd.Series:
    """Return a column by name.

    Raises
    ------
    InputError
        When no column, or more than one, is named so; `key` says who asked.
    """
    n_found = list(rows.columns).count(name)
    if n_found != 1:
        hint = "rename all but one" if n_found else nearest(name, filter(None, rows.columns))
        cause = f"{n_found} columns are named {name!r}" if n_found else f"no column {name!r}"
        raise InputError(f"{file}: {cause}; {hint} ({key})")
    return rows[name]


def refuse_empty(cells: pd.Series, file: Path, what: str) -> None:
    """Refuse cells that say nothing.

    Raises
    ------
    InputError
        Naming the rows.
    """
    empty = cells.index[cells.str.strip() == ""]
    if len(empty):
        raise InputError(f"{file}: row {some(empty)}: the {what} is empty; fill it in or remove the row")
