"""Tell which tables there are, and read those whose rows are images without their pixels.

Reads CSV, TSV and JSON files; writes nothing.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd

from kit.core.errors import InputError
from kit.data.table.pixels import looks_like_pixels
from kit.data.table.records import is_json, read_rows
from kit.data.table.scan import read_text, separator_of

TABLE = re.compile(r"\.(csv|tsv|json)(\.zip)?\Z", re.IGNORECASE)
PIXEL_CELL = re.compile(r"\s*\[?\s*\d+(\.\d+)?([\s,;]+\d+(\.\d+)?){63,}\s*\]?\s*")  # 8 x 8 and more
DIGITS = re.compile(r"\d+")


def is_table(name: str) -> bool:
    """Tell a table by its suffix."""
    return TABLE.search(name) is not None


def read_table_rows(file: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the rows of a table as text, without the columns of pixels, and the names of these columns.

    InputError as of `kit.data.table.records.read_rows`.
    """
    if is_json(file.name):
        return read_rows(file), ()
    text = read_text(file)
    separator = separator_of(text, file.name)
    pixels = _pixel_columns(text, separator)
    if not pixels:
        return read_rows(file), ()
    wanted = set(pixels)
    try:
        rows = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            usecols=lambda name: name.strip() not in wanted,
            dtype=object,
            keep_default_na=False,
            na_filter=False,
        )
    except ValueError as error:
        raise InputError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error
    rows.columns = [str(name).strip() for name in rows.columns]
    return rows.reindex(range(text.rstrip().count("\n"))) if rows.columns.empty else rows, pixels


def _pixel_columns(text: str, separator: str) -> tuple[str, ...]:
    """Return the columns that hold pixels, by a table's header and first row; none where they hold anything else."""
    first = text.split("\n", 2)[:2]
    try:
        head = pd.read_csv(
            io.StringIO("\n".join(first)), sep=separator, dtype=object, keep_default_na=False, na_filter=False, nrows=1
        )
    except ValueError:
        return ()
    names = [str(name).strip() for name in head.columns]
    cells = dict(zip(names, map(str, head.iloc[0]), strict=True)) if len(head) else {}
    if in_one := [name for name, cell in cells.items() if PIXEL_CELL.fullmatch(cell)]:
        return tuple(in_one)
    whole = [name for name, cell in cells.items() if cell.strip().isdecimal() and DIGITS.search(name)]
    kinds: dict[str, list[str]] = {}
    for name in whole:
        kinds.setdefault(DIGITS.sub("", name), []).append(name)
    most = max(kinds.values(), key=len, default=[])
    return tuple(most) if looks_like_pixels(most) else ()
