"""Several labels per image: the four forms in which CSV files write them, brought into one.

Reads rows of a CSV; writes nothing. In the image table an image's labels stand in one cell, sorted, with `JOINER`
between them; an empty cell is an image that is known to have no label.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.shapes import Labels
from kit.core.terminal import warn
from kit.data.table.scan import read_column
from kit.data.table.sources import is_named

JOINER = "|"  # between the labels of a cell of the image table, and so in no class's name
SEPARATORS = ("|", ";", ",")  # that part labels wherever they stand in a cell; a space may be part of a name
TAG = re.compile(r"(tag|label)s?[ _.-]?\d*", re.IGNORECASE)  # how columns are headed that each hold a label or nothing
SWITCHES = {"0": False, "1": True, "0.0": False, "1.0": True}  # the usual spellings
SPELLINGS = {"false": False, "true": True}  # of truth in words
LIST = re.compile(r"\s*\[(.*)\]\s*", re.DOTALL)  # a list of Python's or JSON's
QUOTED = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^'",\s][^,]*?))\s*(?:,|\Z)""")


def join_labels(labels: Iterable[str]) -> str:
    """Return labels as one cell of the image table."""
    return JOINER.join(sorted(set(labels)))


def split_labels(cell: str) -> list[str]:
    """Return the labels of a cell of the image table."""
    return cell.split(JOINER) if cell else []


def read_multi_hot(cells: Collection[str], classes: tuple[str, ...]) -> Labels:
    """Return cells of the image table as (n_images, n_classes) int8 of 0 and 1."""
    code = {name: i for i, name in enumerate(classes)}
    hot = np.zeros((len(cells), len(classes)), dtype=np.int8)
    for row, cell in enumerate(cells):
        hot[row, [code[name] for name in split_labels(cell)]] = 1
    return hot


def is_on(column: pd.Series) -> pd.Series:
    """Return which cells of a column per class mean yes; what is neither 0 nor 1 counts as yes."""
    return _read_truth(column).ne(False)


def _read_truth(column: pd.Series) -> pd.Series:
    """Return cells as True or False, None where one is neither 0 nor 1 in any spelling."""
    truth = {cell: _switch(cell) for cell in set(column)}
    return column.map(truth.get).astype(object)


def _switch(cell: str) -> bool | None:
    """Return what a cell of a column per class means: 0, 1, 0.0, 1e0, False, ...; None where it is neither."""
    text = cell.strip().casefold()
    if text in SPELLINGS:
        return SPELLINGS[text]
    try:
        value = float(text)
    except ValueError:
        return None
    return {0.0: False, 1.0: True}.get(value)


def read_label_lists(
    rows: pd.DataFrame, id_name: str, listing: Listing, key: str, file: Path
) -> tuple[pd.DataFrame, list[list[str]]]:
    """Read the labels of every image that a CSV lists, in whichever form it writes them.

    `key` and `file` are the listing's key in competition.toml and its CSV, for messages.

    Returns
    -------
    tuple
        The first row of every image, and the labels of each in any order.

    Raises
    ------
    InputError
        When it is in doubt which form it is, a cell holds no label, or no 0 or 1; names the row and the remedy.
    """
    columns = label_columns(rows, id_name, listing, key, file)
    form = listing.form or _find_form(rows, id_name, columns, listing, key, file)
    if form in ("rows", "cell") and len(columns) > 1:
        raise InputError(f'{file}: form = "{form}" reads one column, here are {some(columns)}; name it ({key}.label)')
    cells = [read_column(rows, name, f"{key}.label", file) for name in columns]
    if form == "columns":
        labels = read_switches(cells, file)
    elif form == "cell":
        if listing.separator is None and are_lists(cells[0]):
            labels = [split_list(cell, f"{file}: row {row}") for row, cell in cells[0].items()]
        else:
            separator = listing.separator or _find_separator(cells[0], key, file)
            labels = [_split_cell(cell, separator, file, row) for row, cell in cells[0].items()]
    else:
        if listing.form is None:
            _refuse_parts(cells, key, file)
        labels = [[cell for cell in row if cell.strip()] for row in zip(*cells, strict=True)]
    if form == "rows":
        labels = _leave_out_absent(rows, id_name, columns[0], listing, labels, key, file)
    _refuse_joiner(labels, rows.index, key, file)
    return _gather(rows, id_name, listing, labels, file) if form == "rows" else (rows, labels)


def label_columns(rows: pd.DataFrame, id_name: str, listing: Listing, key: str, file: Path) -> list[str]:
    """Return the columns that may hold labels: those named, else all but id and group."""
    if listing.label is not None:
        return [listing.label] if isinstance(listing.label, str) else list(listing.label)
    others = (id_name, listing.group, listing.file, listing.value)
    columns = [name for name in rows.columns if is_named(name) and name not in others]
    if not columns:
        raise InputError(f"{file}: no column but {id_name!r}, so no labels; is it separated by commas? ({key})")
    return columns


def _find_form(rows: pd.DataFrame, id_name: str, columns: list[str], listing: Listing, key: str, file: Path) -> str:
    """Return the form that the columns leave no doubt about."""
    if listing.separator is not None:
        return "cell"
    if len(columns) > 1 and all(are_switches(rows, name) for name in columns):
        return "columns"
    if len(columns) > 1 and (listing.label is not None or all(TAG.fullmatch(name) for name in columns)):
        return "tags"
    if len(columns) > 1:
        switches = [name for name in columns if are_switches(rows, name)]
        odd = [name for name in columns if name not in switches] if len(switches) > 1 else columns
        cause = f"which of the columns {some(columns)} hold labels is in doubt"
        if len(switches) > 1:
            cause = f"columns {some(odd)} hold other cells than 0 and 1"
        raise InputError(
            f'{file}: {cause}; name one, {key}.label = "...", or several, label = ["...", "..."] with '
            'form = "columns" (0 or 1 each) or "tags" (a label or nothing each)'
        )
    return "rows" if rows[id_name].duplicated().any() else "cell"


def are_switches(rows: pd.DataFrame, name: str) -> bool:
    """Return whether all cells of the columns of a name hold 0 or 1, in any spelling of numbers or truth."""
    return all(_switch(cell) is not None for cell in set(rows.loc[:, [name]].to_numpy().ravel().tolist()))


def find_value_column(rows: pd.DataFrame, id_name: str, label: str) -> str | None:
    """Return the column of 0 and 1 that says of every image and every label whether the image has it.

    None where rows are labels that images have: not every image has a row of every label, or no such column is there.
    """
    ids, labels = rows[id_name].tolist(), rows[label].tolist()
    n_labels = len(set(labels))
    if n_labels < 2 or not len(set(ids)) * n_labels == len(rows) == len(set(zip(ids, labels, strict=True))):
        return None
    others = [name for name in rows.columns if is_named(name) and name not in (id_name, label)]
    return next((name for name in others if are_switches(rows, name) and len(set(rows[name].tolist())) > 1), None)


def _leave_out_absent(
    rows: pd.DataFrame, id_name: str, label: str, listing: Listing, labels: list[list[str]], key: str, file: Path
) -> list[list[str]]:
    """Return the labels of rows without those whose value is 0; refuse a column of values that nobody named."""
    if listing.value is None:
        if label in rows.columns and (value := find_value_column(rows, id_name, label)):
            cause = f"every image has a row of every {label!r}, and {value!r} holds 0 or 1"
            raise InputError(f'{file}: {cause}; write {key}.value = "{value}" to leave out rows of 0')
        return labels
    cells = read_column(rows, listing.value, f"{key}.value", file)
    odd = cells.loc[_read_truth(cells).isna()]
    if len(odd):
        raise InputError(f"{file}: row {odd.index[0]}, column {listing.value!r}: {odd.iloc[0]!r} is not 0 or 1")
    return [names if has_it else [] for names, has_it in zip(labels, is_on(cells), strict=True)]


def _find_separator(cells: pd.Series, key: str, file: Path) -> str:
    """Return what stands between labels, where there is no doubt; of cells of one label each, what stands nowhere."""
    present = [separator for separator in SEPARATORS if cells.str.contains(separator, regex=False).any()]
    if len(present) == 1 and not cells.str.match(r"\s*\[").any():
        return present[0]
    if not present and not cells.str.strip().str.contains(r"\s").any():
        return JOINER
    shown = next(
        cell for cell in cells if any(mark in cell for mark in present) or (not present and len(cell.split()) > 1)
    )
    remedy = f'write {key}.separator = " " or what else parts labels; form = "rows" where every cell is one label'
    raise InputError(f"{file}: how {shown!r} parts labels is in doubt; {remedy}")


def are_lists(cells: pd.Series) -> bool:
    """Tell whether cells are lists in brackets, all that are not empty."""
    filled = cells.loc[cells.str.strip() != ""]
    return len(filled) > 0 and bool(filled.str.match(LIST).all())


def split_list(cell: str, where: str) -> list[str]:
    """Return the labels of a list in brackets, with or without quotes; none for an empty cell.

    InputError where it is none; `where` it stands is told.
    """
    opened = LIST.fullmatch(cell)
    if cell.strip() and not opened:
        raise InputError(f"{where}: {cell!r} is no list of labels; write ['a', 'b']")
    inside = opened[1].strip().rstrip(",") if opened else ""
    labels, at = [], 0
    while at < len(inside):
        part = QUOTED.match(inside, at)
        if part is None:
            raise InputError(f"{where}: {cell!r} is no list of labels; write ['a', 'b']")
        labels.append(re.sub(r"\\(.)", r"\1", next(group for group in part.groups() if group is not None)))
        at = part.end()
    return [label for label in labels if label.strip()]


def _split_cell(cell: str, separator: str, file: Path, row: Hashable) -> list[str]:
    """Return the labels of a cell, outer spaces dropped; nothing for an empty one."""
    parts = cell.split() if separator.isspace() else [part.strip() for part in cell.split(separator)]
    if cell.strip() and "" in parts:
        raise InputError(f"{file}: row {row}: an empty label in {cell!r}; take out the {separator!r} too many")
    return [part for part in parts if part]


def read_switches(cells: list[pd.Series], file: Path) -> list[list[str]]:
    """Return the labels whose columns hold a 1."""
    for column in cells:
        odd = column.loc[_read_truth(column).isna()]
        if len(odd):
            raise InputError(f"{file}: row {odd.index[0]}, column {column.name!r}: {odd.iloc[0]!r} is not 0 or 1")
    names = [str(column.name) for column in cells]
    if never := [name for name, column in zip(names, cells, strict=True) if not is_on(column).any()]:
        cause = "is 0 in every row, so that nothing can learn it: it is no class, and 0 where the submission has it"
        warn(f"{file}: {some(map(repr, never))} {cause}")
    on = zip(*map(is_on, cells), strict=True)
    return [[name for name, has_it in zip(names, row, strict=True) if has_it] for row in on]


def _refuse_parts(columns: list[pd.Series], key: str, file: Path) -> None:
    """Refuse a cell that is taken for one label and whose parts are labels of other cells."""
    cells = pd.concat(columns)
    known = {cell.strip() for cell in cells} - {""}
    for row, cell in cells.items():
        for separator in SEPARATORS:
            parts = cell.split(separator)
            if len(parts) > 1 and any(part.strip() in known for part in parts):
                remedy = f'write {key}.form = "rows" or "tags" if it is one label, else give each label its own cell'
                raise InputError(f"{file}: row {row}: {cell!r} looks like several labels where one is read; {remedy}")


def _refuse_joiner(labels: list[list[str]], index: pd.Index, key: str, file: Path) -> None:
    """Refuse class names that hold what parts labels in the image table."""
    for row, of_image in zip(index, labels, strict=True):
        if odd := [label for label in of_image if JOINER in label]:
            remedy = f'rename it, or write {key}.form = "cell" where it parts labels'
            raise InputError(f"{file}: row {row}: label {odd[0]!r} holds {JOINER!r}; {remedy}")


def _gather(
    rows: pd.DataFrame, id_name: str, listing: Listing, labels: list[list[str]], file: Path
) -> tuple[pd.DataFrame, list[list[str]]]:
    """Gather the rows of each image; refuse an image of two groups."""
    of_image: dict[str, list[str]] = {}
    for image_id, names in zip(rows[id_name], labels, strict=True):
        of_image.setdefault(image_id, []).extend(names)
    if listing.group in rows.columns:
        n_groups = rows.groupby(id_name)[listing.group].nunique().to_dict()
        if several := [image_id for image_id, n in n_groups.items() if n > 1]:
            same = rows.index[(rows[id_name] == several[0]).to_numpy()]
            cause = f"image {several[0]!r} is in several groups; it can be in one"
            raise InputError(f"{file}: rows {some(same)}: {cause}")
    return rows.loc[~rows[id_name].duplicated()], list(of_image.values())
