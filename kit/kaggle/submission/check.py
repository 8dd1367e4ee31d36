"""Check a finished submission as Kaggle would, before it is written or sent.

Reads the sample submission and the CSV that is checked; writes nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.errors import InputError, some
from kit.data.prepared import Prepared
from kit.data.table.scan import read_csv
from kit.kaggle.submission.sample import form_of, named_classes, read_sample


def check_file(prepared: Prepared, path: Path) -> None:
    """Check a CSV on the disk against the sample file: columns, ids, order, labels or numbers.

    Raises
    ------
    InputError
        When it is not what the sample asks for. Kaggle would take the file, and report an error later.
    """
    sample, _ = read_sample(prepared)
    table = read_csv(path)
    table = table.mask(table == "")
    try:
        check_submission(prepared, sample, table)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    numbers = [name for name in table.columns[1:] if name in prepared.classes]
    values = table[numbers].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if bad := [str(table.index[row]) for row in np.flatnonzero(~np.isfinite(values).all(axis=1))]:
        raise InputError(f"{path}: rows {some(bad)} hold what is no finite number")


def check_submission(prepared: Prepared, sample: pd.DataFrame, table: pd.DataFrame) -> None:
    """Check a finished table against the sample file as Kaggle would: ids, their number, labels, numbers.

    InputError where it is not what the sample asks for; nothing is written then.
    """
    if list(table.columns) != list(sample.columns):
        raise InputError(f"submission: columns {list(table.columns)}, the sample has {list(sample.columns)}")
    if len(table) != len(sample) or not (table.iloc[:, 0].to_numpy() == sample.iloc[:, 0].to_numpy()).all():
        raise InputError(f"submission: {len(table)} rows whose ids are not the sample's {len(sample)} in its order")
    form, values = form_of(prepared, sample), table.iloc[:, 1:]
    if form.kind == "labels":
        _check_label_cells(prepared, table, form.separator)
        return
    if values.isna().to_numpy().any():
        raise InputError(f"submission: empty values in {int(values.isna().any(axis=1).sum())} rows")
    if form.kind == "label":
        if unknown := sorted(set(values.iloc[:, 0]) - set(named_classes(prepared))):
            raise InputError(f"submission: labels that are not classes: {some(unknown)}")
    elif prepared.pool.is_multilabel:
        _check_numbers(table, form.is_binary)


def _check_label_cells(prepared: Prepared, table: pd.DataFrame, separator: str) -> None:
    """Refuse a cell that names what is no class, or a class twice; an empty one is an image without labels."""
    none = prepared.competition.decision.none_of_these
    known = set(prepared.classes if prepared.pool.is_multilabel else named_classes(prepared))
    for image_id, cell in zip(table.iloc[:, 0], table.iloc[:, 1].fillna(""), strict=True):
        labels = cell.split(separator) if cell else []
        if labels == [none]:
            continue
        if odd := [label for label in labels if label not in known]:
            raise InputError(f"submission: {image_id}: labels that are not classes: {some(map(repr, odd))}")
        if len(set(labels)) < len(labels):
            raise InputError(f"submission: {image_id}: a label stands twice in {cell!r}")


def _check_numbers(table: pd.DataFrame, is_binary: bool) -> None:
    """Refuse numbers that are no probabilities, or neither 0 nor 1 where those are wanted."""
    values = table.iloc[:, 1:].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    is_right = np.isin(values, (0, 1)) if is_binary else (values >= 0) & (values <= 1)
    if not is_right.all():
        row, column = (int(axis[0]) for axis in np.nonzero(~is_right))
        where = f"{table.iloc[row, 0]}, column {table.columns[column + 1]!r}"
        wanted = "0 or 1" if is_binary else "a probability, 0..1"
        raise InputError(f"submission: {where}: {table.iloc[row, column + 1]} is not {wanted}")
