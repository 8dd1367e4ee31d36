"""Tell how the cells of a table write labels: one each, several in a cell, a row or a column per label.

Works on the rows of a table; reads and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.curate.start.columns import count_values, named_columns, read_cells, words_of
from kit.data.table.labels import JOINER, SWITCHES, TAG, find_value_column

ALWAYS = (JOINER, ";")  # separators that no name holds
PLURALS = {"labels", "tags", "classes", "categories", "attributes", "targets", "objects", "findings", "ids"}
IN_NAMES = (",", " ")  # separators that a name may hold
LIST = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
PATH = "/"
SHARES_SUM = 0.02  # that the shares of a row may lie off 1 by rounding


@dataclass(frozen=True)
class Written:
    """Hold how a table writes labels.

    Parameters
    ----------
    keys
        Of the `Listing`: label, form and separator.
    labels
        The labels of every row.
    """

    keys: dict[str, Any]
    labels: list[tuple[str, ...]]
    task: str = MULTICLASS
    classes: set[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", {label for of_row in self.labels for label in of_row})


def read_label_column(rows: pd.DataFrame, image_id: str | None, label: str) -> Written:
    """Return how one column writes labels: where an image has several rows, in one cell, or one each."""
    cells = read_cells(rows, label)
    single = [(cell,) if cell.strip() else () for cell in cells]
    if image_id is not None:
        pairs = {pair for pair in zip(read_cells(rows, image_id), cells, strict=True) if pair[1].strip()}
        if len(pairs) > len({of_image for of_image, _ in pairs}):
            if value := find_value_column(rows, image_id, label):
                on = [SWITCHES.get(cell, True) for cell in read_cells(rows, value)]
                single = [names if is_on else () for names, is_on in zip(single, on, strict=True)]
                return Written({"label": label, "form": "rows", "value": value}, single, MULTILABEL)
            return Written({"label": label, "form": "rows"}, single, MULTILABEL)
    if sum(map(bool, map(LIST.fullmatch, cells))) > len(cells) / 2:
        parts = [tuple(re.findall(r"[^\[\]'\",\s][^\[\]'\",]*", cell)) for cell in cells]
        return Written({"label": label, "form": "cell"}, [tuple(map(str.strip, p)) for p in parts], MULTILABEL)
    for separator in (*ALWAYS, *IN_NAMES):
        parts = [_split(cell, separator) for cell in cells]
        if separates(cells, parts, separator, separator in ALWAYS or bool(PLURALS & set(words_of(label)))):
            return Written({"label": label, "form": "cell", "separator": separator}, parts, MULTILABEL)
    return Written({"label": label}, single)


def separates(cells: Sequence[str], parts: Sequence[tuple[str, ...]], separator: str, is_likely: bool) -> bool:
    """Tell whether cells are made of labels: there are fewer labels than cells, and some stand alone too.

    Unless the column's name or the separator makes it likely, all labels must be numbers, or far fewer than cells.
    """
    distinct, labels = set(cells), {part for of_cell in parts for part in of_cell}
    alone = {cell.strip() for cell in distinct if separator not in cell.strip()}
    joined = [of_cell for of_cell in set(parts) if len(of_cell) > 1]
    if not any(part in alone for of_cell in joined for part in of_cell) or not 1 < len(labels) < len(distinct):
        return False
    if separator == "," and len(joined) > 1:  # rarer in a name than a space
        is_likely = is_likely or all(any(part in alone for part in of_cell) for of_cell in joined)
    return is_likely or all(label.isdecimal() for label in labels) or 3 * len(labels) <= len(distinct)


def _split(cell: str, separator: str) -> tuple[str, ...]:
    """Return the labels of a cell."""
    return tuple(part for text in cell.split(separator) if (part := text.strip()))


def read_switches(rows: pd.DataFrame, columns: Sequence[str]) -> Written | None:
    """Return the labels of a column per class; None where a cell is neither 0 nor 1. One label each is multiclass."""
    by_column = [read_cells(rows, name) for name in columns]
    if len(columns) < 2 or not all(set(cells) <= set(SWITCHES) for cells in by_column):
        return None
    on = zip(*([SWITCHES[cell] for cell in cells] for cells in by_column), strict=True)
    labels = [tuple(name for name, is_on in zip(columns, row, strict=True) if is_on) for row in on]
    is_single = all(len(of_row) == 1 for of_row in labels)
    return Written({"label": list(columns), "form": "columns"}, labels, MULTICLASS if is_single else MULTILABEL)


def find_switches(rows: pd.DataFrame, spare: Collection[str | None]) -> Written | None:
    """Return the labels of columns of 0 and 1: of all columns, or of several with just one 1 in each row."""
    columns = [name for name in named_columns(rows) if name not in spare]
    switches = [name for name in columns if set(read_cells(rows, name)) <= set(SWITCHES)]
    if len(switches) < len(columns):
        switches = [name for name in switches if count_values(rows, name) > 1]
    written = read_switches(rows, switches)
    if written is None or (len(switches) < len(columns) and written.task == MULTILABEL):
        return None
    if written.task == MULTILABEL and max(map(len, written.labels), default=0) < 2:
        return None
    if len(switches) == len(columns) and written.task == MULTILABEL:
        return Written({"form": "columns"}, written.labels, written.task)
    return written


def find_shares(rows: pd.DataFrame, columns: Sequence[str]) -> Written | None:
    """Return the labels of columns of raters' shares, the largest of each row; None where cells are no shares.

    InputError where shares of a row do not add up to 1: then they answer several questions, and none is the class.
    """
    if len(columns) < 2 or rows.empty:
        return None
    shares = rows.loc[:, list(columns)].apply(pd.to_numeric, errors="coerce").astype(float)
    if not ((shares >= 0) & (shares <= 1)).all(axis=None) or shares.isin((0, 1)).all(axis=None):
        return None
    sums = shares.sum(axis=1)
    if ((sums - 1).abs() > SHARES_SUM).any():
        cause = (
            f"columns {some(map(repr, columns), 3)} hold shares that add up to {sums.min():g} to {sums.max():g} a row"
        )
        remedy = (
            "leave the columns of one question, whose shares add up to 1, or write its answer into a column: --label"
        )
        raise InputError(f"{cause}: they answer several questions, and an image has one class; {remedy}")
    labels = [(str(name),) for name in shares.idxmax(axis=1)]
    return Written({"label": list(columns), "form": "shares"}, labels)


def find_tags(rows: pd.DataFrame, spare: Collection[str | None]) -> Written | None:
    """Return the labels of columns that each hold a label or nothing, by their names."""
    columns = [name for name in named_columns(rows) if name not in spare]
    if len(columns) < 2 or not all(map(TAG.fullmatch, columns)):
        return None
    by_column = [read_cells(rows, name) for name in columns]
    labels = [tuple(cell for cell in row if cell.strip()) for row in zip(*by_column, strict=True)]
    return Written({"form": "tags"}, labels, MULTILABEL)


def are_paths(labels: set[str]) -> bool:
    """Tell whether labels are paths: most have parts, and some share their first."""
    long = [label for label in labels if PATH in label]
    if any(not part.strip() for label in labels for part in label.split(PATH)):
        return False
    return len(long) > len(labels) / 2 and len({label.partition(PATH)[0] for label in long}) < len(long)
