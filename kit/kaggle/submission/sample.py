"""Tell what the sample submission asks for: its ids, and whether a label, several labels or numbers are wanted.

Reads sample_submission.csv; writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.shapes import Ids
from kit.core.terminal import escape, warn
from kit.data.prepared import Prepared
from kit.data.table.labels import is_on
from kit.data.table.scan import read_csv
from kit.data.table.sources import find_file, id_column, name_key
from kit.kaggle.submission.identity import meant_ids

CELL_SEPARATORS = (" ", ",", ";", "|")  # looked for between the labels of a cell, Kaggle's commonest first


@dataclass(frozen=True)
class Form:
    """Say how a submission writes the prediction of an image.

    Parameters
    ----------
    kind
        ``"label"``: one class in one column; ``"labels"``: any number of classes in one cell; ``"columns"``: a number
        in a column per class.
    separator
        What stands between two ``"labels"``.
    n_ranked
        How many ``"labels"`` stand in a cell, the most probable first, as ``map@K`` reads them; 0 for those whose
        probability is high enough, however many.
    is_binary
        Whether ``"columns"`` hold 0 and 1, not probabilities.
    """

    kind: Literal["label", "labels", "columns"]
    separator: str = ""
    n_ranked: int = 0
    is_binary: bool = False


def form_of(prepared: Prepared, sample: pd.DataFrame) -> Form:
    """Return the form of a sample submission.

    With several labels per image, a column per class wants probabilities where a value of the sample has a decimal
    point or the metric reads probabilities, else 0 and 1. The separator of labels in a cell is that of ``[decision]
    separator``, of the sample's cells, of ``[data] labeled.separator``, or a space. Where the metric is ``map@K`` such
    a cell holds the K most probable classes, also with one label per image.

    Raises
    ------
    InputError
        When a class's name holds the separator.
    """
    columns = sample.columns[1:]
    if len(columns) > 1 or columns[0] in prepared.classes:
        is_whole = sample.iloc[:, 1:].isin(["0", "1"]).to_numpy().all()
        needs_labels = prepared.metric.needs == "labels"
        return Form("columns", is_binary=bool(prepared.pool.is_multilabel and is_whole and needs_labels))
    ranked = re.fullmatch(r"map@(\d+)", prepared.metric.name)
    if not prepared.pool.is_multilabel and ranked is None:
        return Form("label")
    separator = prepared.competition.decision.separator or _find_separator(prepared, sample.iloc[:, 1].tolist())
    if odd := [name for name in prepared.classes if separator in name]:
        file = prepared.competition.file
        raise InputError(
            f"{file}: class {some(map(repr, odd), 2)} holds {separator!r}, which parts labels in the submission; "
            'write [decision] separator = ";" or what else the competition asks for'
        )
    return Form("labels", separator, min(int(ranked[1]), len(prepared.classes)) if ranked else 0)


def _find_separator(prepared: Prepared, cells: list[str]) -> str:
    """Return the separator of the sample's cells, of the training labels, or a space."""
    for separator in CELL_SEPARATORS:
        several = [cell.split(separator) for cell in cells if separator in cell]
        if several and {part.strip() for parts in several for part in parts} <= {*prepared.classes, ""}:
            return separator
    sources = prepared.competition.data.labeled_sources
    given = [source.separator for source in sources if isinstance(source, Listing)]
    return next((separator for separator in given if separator), CELL_SEPARATORS[0])


def named_classes(prepared: Prepared) -> tuple[str, ...]:
    """Return the classes, and after them the name of images that show none of them, where ``[decision]`` gives one."""
    none = prepared.competition.decision.none_of_these
    return prepared.classes if none is None else (*prepared.classes, none)


def read_sample(prepared: Prepared) -> tuple[pd.DataFrame, Ids]:
    """Read the sample file and the test id that each of its rows means; without a file one is made.

    Raises
    ------
    InputError
        When there are no test images, the file is missing, its ids are not exactly those of the test images, or its
        columns or values fit neither labels nor classes.
    """
    competition = prepared.competition
    known = np.concatenate([prepared.pool.ids[prepared.split("test")], np.array(prepared.broken_test, dtype=object)])
    if not len(known):
        raise InputError(f"no test images: {name_key(competition, 'test')} names none, so there is nothing to submit")
    if competition.data.sample_submission is None:
        ids = np.sort(known)
        return pd.DataFrame({"id": ids, "label": prepared.classes[0]}), ids
    path = find_file(competition, "sample_submission", competition.data.sample_submission)
    sample = read_csv(path)
    ids = _match_ids(path, sample, known)
    _check_columns(path, list(sample.columns[1:]), prepared)
    if form_of(prepared, sample).kind == "label":
        _check_values(path, sample, named_classes(prepared))
    return sample, ids


def _match_ids(path: Path, sample: pd.DataFrame, known: Ids) -> Ids:
    """Return the test id that each row of the sample means, or refuse ids that are not exactly the test images'."""
    ids = meant_ids(sample.iloc[:, 0].to_numpy(dtype=object), known)
    repeated = sample.iloc[:, 0][pd.Series(ids).duplicated().to_numpy()]
    if len(repeated):
        raise InputError(f"{path}: ids repeat: {some(repeated)}")
    if missing := sorted(set(ids) - set(known)):
        raise InputError(f"{path}: {len(missing)} ids have no test image: {some(missing)}")
    if extra := sorted(set(known) - set(ids)):
        raise InputError(f"{path}: {len(extra)} test images are not in it: {some(extra)}; is it another version?")
    return ids


def _check_columns(path: Path, columns: list[str], prepared: Prepared) -> None:
    """Accept one label column, or one column per class.

    Parents and the name for none of the classes may be left out; classes that no labelled image has may be columns.
    """
    classes, none = prepared.classes, prepared.competition.decision.none_of_these
    if not columns:
        raise InputError(f"{path}: only one column; expected an id and a label column, or an id and the classes")
    if len(columns) == 1 and columns[0] not in classes:
        return
    spare = {none} if none else set()
    if prepared.pool.is_multilabel and prepared.hierarchy is not None:
        spare |= {classes[parent] for parent in prepared.hierarchy.parents if parent >= 0}
    odd = sorted((set(columns) ^ set(classes)) - spare)
    if len(columns) > 1 and odd and prepared.pool.is_multilabel:
        odd = sorted(set(odd) - _never_seen(prepared))
    if len(columns) > 1 and odd:
        raise InputError(f"{path}: columns are neither one label nor the {len(classes)} classes: {some(odd)} differ")


def _never_seen(prepared: Prepared) -> set[str]:
    """Return the columns of the labelled images' CSV that are 0 in every row: classes of which nothing was learned."""
    competition, never = prepared.competition, set[str]()
    for source in competition.data.labeled_sources:
        if isinstance(source, Listing) and source.csv and source.form in (None, "columns"):
            rows = read_csv(find_file(competition, "labeled.csv", source.csv))
            named = set(rows.columns) - {id_column(rows, source), source.group, ""}
            never |= {name for name in named if not is_on(pd.Series(rows[name])).any()}
    return never


def _check_values(path: Path, sample: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Refuse a label column that asks for something other than a class, as 0.5 asks for a probability.

    A sample's values are place-holders: most often a class, nothing, or some text. Numbers are refused only where no
    value is a class and no class is a number of that kind. Zeros alone, the commonest place-holder, pass with a
    warning.
    """
    if len(sample.columns) != 2 or sample.columns[1] in classes:
        return
    values = sorted({value.strip() for value in sample.iloc[:, 1]} - {""})
    kinds = {_kind(value) for value in values}
    if set(sample.iloc[:, 1]) & set(classes) or "text" in kinds or kinds <= {_kind(name) for name in classes}:
        return
    column = (
        f"{path}: column {sample.columns[1]!r} holds {some(values, 3)}, which no class is like ({some(classes, 3)})"
    )
    if values == ["0"]:
        warn(escape(f"{column}; taken for a place-holder: class names are written"))
        return
    raise InputError(
        f"{column}; one column of probabilities is not what the kit writes. If the numbers stand for the classes, name "
        "the classes so; if they are place-holders, empty the column"
    )


def _kind(value: str) -> str:
    """Return whether a value is a ``"whole"`` or ``"decimal"`` number, or ``"text"``."""
    if re.fullmatch(r"[+-]?\d+", value):
        return "whole"
    return "decimal" if re.fullmatch(r"[+-]?(\d+\.\d*|\.?\d+)(e[+-]?\d+)?", value, re.IGNORECASE) else "text"
