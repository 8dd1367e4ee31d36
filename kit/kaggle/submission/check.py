"""Check a finished submission as Kaggle would, before it is written or sent: its form, its values, the metric.

Reads the sample submission and the CSV that is checked; writes nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.errors import InputError, some
from kit.data.prepared import Prepared
from kit.data.table.scan import read_csv
from kit.kaggle.submission.form import Form
from kit.kaggle.submission.sample import Sample, named_classes, read_sample

SUM_TOLERANCE = 1e-3  # of the probabilities of an image that has one label


def check_file(prepared: Prepared, path: Path) -> None:
    """Read a CSV on the disk back and check it against the sample file and the metric.

    Raises
    ------
    InputError
        When it is not what the sample asks for: columns, ids, order, labels or numbers; or holds labels where the
        metric needs probabilities. Kaggle would take the file, and report an error later or score it for less.
    """
    sample, table = read_sample(prepared), read_csv(path)
    try:
        check_submission(prepared, sample, table)
        if prepared.metric.needs == "proba" and sample.form.kind in ("probability", "probabilities", "rows"):
            _refuse_labels(prepared, table, sample.form)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def check_submission(prepared: Prepared, sample: Sample, table: pd.DataFrame) -> None:
    """Check a finished table against the sample file as Kaggle would: ids, their number, labels, numbers.

    InputError where it is not what the sample asks for; nothing is written then.
    """
    form, rows = sample.form, sample.rows
    if list(table.columns) != list(rows.columns):
        raise InputError(f"submission: columns {list(table.columns)}, the sample has {list(rows.columns)}")
    kept = [at for at in range(rows.shape[1]) if at not in form.values]
    same = len(table) == len(rows) and all(
        (table.iloc[:, at].to_numpy() == rows.iloc[:, at].to_numpy()).all() for at in kept
    )
    if not same:
        raise InputError(f"submission: {len(table)} rows whose ids are not the sample's {len(rows)} in its order")
    values = table.iloc[:, list(form.values)].astype(object)
    if form.kind == "labels":
        _check_label_cells(prepared, form, table)
        return
    if is_empty := int((values.isna() | (values == "")).any(axis=1).sum()):
        raise InputError(f"submission: empty values in {is_empty} rows")
    if form.kind in ("label", "ranked", "confidence"):
        _check_guesses(prepared, form, table)
    if form.kind not in ("label", "ranked"):
        _check_numbers(prepared, form, table)


def _check_label_cells(prepared: Prepared, form: Form, table: pd.DataFrame) -> None:
    """Refuse a cell that names what is no class, or a class twice; an empty one is an image without labels."""
    none = prepared.competition.decision.none_of_these
    for image_id, cell in _cells(form, table):
        labels = form.split(cell)
        if labels != [none]:
            _check_names(image_id, cell, labels, set(prepared.classes))


def _check_guesses(prepared: Prepared, form: Form, table: pd.DataFrame) -> None:
    """Refuse a label, or one of several guesses, that is no class as the sample writes it."""
    spelling = dict(form.spelling)
    known = {spelling.get(name, name) for name in named_classes(prepared)}
    if form.kind == "ranked":
        for image_id, cell in _cells(form, table):
            _check_names(image_id, cell, form.split(cell), known)
        return
    in_cell = form.kind == "confidence" and form.separator
    labels = {cell.rpartition(form.separator)[0] if in_cell else cell for _, cell in _cells(form, table)}
    if form.listed is not None:
        labels = {label for cell in labels for label in form.split(cell)}
    if unknown := sorted(labels - known):
        raise InputError(f"submission: labels that are not classes: {some(unknown)}")


def _check_names(image_id: str, cell: str, labels: list[str], known: set[str]) -> None:
    """Refuse labels of one cell that are no classes, or are there twice."""
    if odd := [label for label in labels if label not in known]:
        raise InputError(f"submission: {image_id}: labels that are not classes: {some(map(repr, odd))}")
    if len(set(labels)) < len(labels):
        raise InputError(f"submission: {image_id}: a label stands twice in {cell!r}")


def _check_numbers(prepared: Prepared, form: Form, table: pd.DataFrame) -> None:
    """Refuse numbers that are no probabilities, or neither yes nor no where those are wanted, or do not sum to 1."""
    places = form.values[1:] if form.kind == "confidence" and not form.separator else form.values
    columns = table.iloc[:, list(places)].astype(str)
    if form.kind == "confidence" and form.separator:
        columns = columns.map(lambda cell: cell.rpartition(form.separator)[2])
    switches = [text for _, text in form.spelling] if form.kind in ("zero_one", "rows") else []
    values = columns.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    is_right = columns.isin(switches).to_numpy() if switches else (values >= 0) & (values <= 1)
    if not is_right.all():
        row, column = (int(axis[0]) for axis in np.nonzero(~is_right))
        where = f"{table.iloc[row, form.id_column]}, column {columns.columns[column]!r}"
        wanted = " or ".join(switches) if switches else "a probability, 0..1"
        raise InputError(f"submission: {where}: {columns.iloc[row, column]} is not {wanted}")
    if form.kind != "probabilities" or prepared.pool.is_multilabel or len(form.values) < len(prepared.classes):
        return
    sums = values.sum(axis=1)
    is_zero = (sums == 0) & (prepared.competition.decision.none_of_these is not None)
    if (off := np.flatnonzero((np.abs(sums - 1) > SUM_TOLERANCE) & ~is_zero)).size:
        image_id = table.iloc[int(off[0]), form.id_column]
        raise InputError(f"submission: {image_id}: probabilities sum to {sums[off[0]]:.3f}, not 1 ({off.size} rows)")


def _refuse_labels(prepared: Prepared, table: pd.DataFrame, form: Form) -> None:
    """Refuse a file of which every number is 0 or 1: labels, written when the metric was another one."""
    values = table.iloc[:, list(form.values)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if values.size and np.isin(values, (0, 1)).all():
        again = prepared.competition.command("submission")
        raise InputError(
            f"every number is 0 or 1, as labels are, and metric {prepared.metric.name!r} needs probabilities; {again} "
            "writes it again"
        )


def _cells(form: Form, table: pd.DataFrame) -> zip[tuple[str, str]]:
    """Return ids and the cells of the first column that is filled in, "" where one is missing."""
    column = table.iloc[:, form.values[0]]
    return zip(table.iloc[:, form.id_column], column.where(column.notna(), "").astype(str), strict=True)
