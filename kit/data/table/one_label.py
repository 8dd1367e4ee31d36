"""One label per image: from a column of classes, or from a column of 0 and 1 per class.

Works on the rows of a CSV; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.terminal import note
from kit.data.table.labels import are_switches, is_on, label_columns, read_switches
from kit.data.table.scan import read_column


def read_label(
    rows: pd.DataFrame, id_name: str, listing: Listing, key: str, file: Path, sample_columns: Collection[str] = ()
) -> pd.Series:
    """Return the one label of every row, from a column of classes, or from a column of 0 and 1 or of shares per class.

    Where `listing` names no column and several might be it, one that the sample submission has too, `sample_columns`,
    is taken. `key` and `file` are the listing's key in competition.toml and its CSV, for messages.

    InputError where it is in doubt which columns hold the labels, or a row has not exactly one 1.
    """
    columns = label_columns(rows, id_name, listing, key, file)
    if listing.form == "shares":
        return _read_shares([read_column(rows, name, f"{key}.label", file) for name in columns], file)
    is_per_class = len(columns) > 1 and all(are_switches(rows, name) for name in columns)
    if listing.form == "columns" or isinstance(listing.label, list) or (is_per_class and _is_one_hot(rows, columns)):
        return _read_one_hot([read_column(rows, name, f"{key}.label", file) for name in columns], file)
    if len(columns) > 1:
        both = [name for name in columns if name in sample_columns]
        if len(both) != 1:
            cause = f"which of the columns {some(map(repr, columns))} holds the labels is in doubt"
            raise InputError(f'{file}: {cause}; name it: {key}.label = "{columns[0]}"')
        others = some([repr(name) for name in columns if name not in both])
        note(f"{file}: label: {both[0]!r}, a column of the sample submission too, rather than {others}")
        columns = both
    if columns[0] == id_name:
        raise InputError(f"{key}: column {id_name!r} is both id and label; name the label's column")
    return read_column(rows, columns[0], f"{key}.label", file)


def _read_shares(cells: list[pd.Series], file: Path) -> pd.Series:
    """Return the name of the column of each row's largest share, of equal ones the first; say what is lost."""
    shares = pd.concat(cells, axis=1).apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    is_odd = ~((shares >= 0) & (shares <= 1)).all(axis=1)
    if is_odd.any():
        row = cells[0].index[int(np.flatnonzero(is_odd)[0])]
        raise InputError(f"{file}: row {row}: a share is no number of 0 to 1; mend it")
    largest, names = shares.max(axis=1), np.array([column.name for column in cells], dtype=object)
    cause = f"an image's label is the class of the largest share, {np.median(largest):.2f} in the median"
    note(f"{file}: {cause}; below one half it is in {int((largest < 0.5).sum())} of {len(shares)} rows")
    return pd.Series(names[shares.argmax(axis=1)], index=cells[0].index, dtype=object)


def _is_one_hot(rows: pd.DataFrame, columns: list[str]) -> bool:
    """Tell whether every row has exactly one 1."""
    marks = [is_on(pd.Series(rows[name])) for name in columns]
    return bool((pd.concat(marks, axis=1).sum(axis=1) == 1).all())


def _read_one_hot(cells: list[pd.Series], file: Path) -> pd.Series:
    """Return the name of the one column of each row that holds a 1."""
    labels = read_switches(cells, file)
    for row, of_image in zip(cells[0].index, labels, strict=True):
        if len(of_image) != 1:
            cause = f"{len(of_image)} labels, {some(map(repr, of_image))}" if of_image else "no label"
            remedy = 'mend it, or write task = "multilabel" in [competition]'
            raise InputError(f"{file}: row {row}: {cause}, where an image has one; {remedy}")
    return pd.Series([label for (label,) in labels], index=cells[0].index, dtype=object)
