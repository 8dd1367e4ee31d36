"""Sample: what the sample submission asks for - its ids, and whether labels, several of them, or numbers are wanted.

Reads sample_submission.csv; writes nothing. A finished table is checked against it here too, as Kaggle would.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from kit.config.competition import Listing
from kit.core.errors import InputError, some
from kit.core.terminal import escape, warn
from kit.data.prepared import Prepared
from kit.data.table.labels import is_on
from kit.data.table.scan import read_csv
from kit.data.table.sources import find_file, id_column, name_key

CELL_SEPARATORS = (" ", ",", ";", "|")  # looked for between the labels of a cell, Kaggle's commonest first


@dataclass(frozen=True)
class Form:
    """Say how a submission holds what is said of an image.

    Parameters
    ----------
    kind
        ``"label"``: one class in one column; ``"labels"``: any number of classes in one cell; ``"columns"``: a number
        in a column per class.
    separator
        Of ``"labels"``: what stands between two.
    n_ranked
        Of ``"labels"``: how many, the most probable first, as ``map@K`` reads them; 0 for those that are decided for.
    is_binary
        Of ``"columns"``: whether 0 and 1 are wanted, not probabilities.
    """

    kind: Literal["label", "labels", "columns"]
    separator: str = ""
    n_ranked: int = 0
    is_binary: bool = False


def form_of(prepared: Prepared, sample: pd.DataFrame) -> Form:
    """Return the form of a sample submission.

    With several labels per image, a column per class wants probabilities where a value of the sample has a decimal
    point or the metric reads probabilities, else 0 and 1. What parts labels in a cell is told by ``[decision]
    separator``, by the sample's cells, by ``[data] labeled.separator``, and is a space where nothing tells. Such a cell
    holds the K most probable classes where the metric is ``map@K``, also with one label per image.

    Raises
    ------
    InputError
        When a class's name holds what would part labels.
    """
    columns = sample.columns[1:]
    if len(columns) > 1 or columns[0] in prepared.classes:
        is_whole = sample[list(columns)].isin(["0", "1"]).all(axis=None)
        needs_labels = prepared.competition.metric.needs == "labels"
        return Form("columns", is_binary=bool(prepared.pool.is_multilabel and is_whole and needs_labels))
    ranked = re.fullmatch(r"map@(\d+)", prepared.competition.metric.name)
    if not prepared.pool.is_multilabel and ranked is None:
        return Form("label")
    separator = prepared.competition.decision.separator or _find_separator(prepared, sample[columns[0]])
    if odd := [name for name in prepared.classes if separator in name]:
        file = prepared.competition.file
        raise InputError(
            f"{file}: class {some(map(repr, odd), 2)} holds {separator!r}, which parts labels in the submission; "
            'write [decision] separator = ";" or what else the competition asks for'
        )
    return Form("labels", separator, min(int(ranked[1]), len(prepared.classes)) if ranked else 0)


def _find_separator(prepared: Prepared, cells: pd.Series) -> str:
    """Return what parts the labels of the sample's cells, of the training labels, or a space."""
    for separator in CELL_SEPARATORS:
        several = [cell.split(separator) for cell in cells if separator in cell]
        if several and {part.strip() for parts in several for part in parts} <= {*prepared.classes, ""}:
            return separator
    given = [own.separator for own in prepared.competition.data.labeled_sources if isinstance(own, Listing)]
    return next((separator for separator in given if separator), CELL_SEPARATORS[0])


def named_classes(prepared: Prepared) -> tuple[str, ...]:
    """Return the classes, and after them what an image is called that shows none of them, where that has a name."""
    none = prepared.competition.decision.none_of_these
    return prepared.classes if none is None else (*prepared.classes, none)


def read_sample(prepared: Prepared) -> tuple[pd.DataFrame, np.ndarray]:
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


def _match_ids(path: Path, sample: pd.DataFrame, known: np.ndarray) -> np.ndarray:
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


def meant_ids(ids: Sequence[str] | np.ndarray, known: Collection[str] | np.ndarray) -> np.ndarray:
    """Return the test ids that the organisers' ids mean: those may have an image's suffix, or another Unicode form.

    Parameters
    ----------
    ids
        (n_rows,) as their file has them.
    known
        Those of the test images.

    Returns
    -------
    np.ndarray
        (n_rows,) text; an id that means none of `known` is among them, so that it can be named.
    """
    tested = set(known)
    if tested >= set(ids) or tested <= set(ids):
        return np.asarray(ids, dtype=object)
    forms = Counter(unicodedata.normalize("NFC", own) for own in tested)
    by_form = {form: own for own in tested if forms[form := unicodedata.normalize("NFC", own)] == 1}
    plain = [own if own in tested else _without_suffix(own) for own in ids]
    return np.array([by_form.get(unicodedata.normalize("NFC", own), own) for own in plain], dtype=object)


def _without_suffix(image_id: str) -> str:
    """Drop an image suffix from an id of the sample file."""
    return re.sub(r"\.(jpe?g|png|bmp|gif|webp|tiff?)$", "", image_id, flags=re.IGNORECASE)


def _check_columns(path: Path, columns: list[str], prepared: Prepared) -> None:
    """Accept one label column, or one column per class.

    Parents and what shows none of the classes may be left out; classes that no labelled image has may stand there.
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
    competition, found = prepared.competition, set()
    for own in competition.data.labeled_sources:
        if isinstance(own, Listing) and own.form in (None, "columns"):
            rows = read_csv(find_file(competition, "labeled.csv", own.csv))
            named = set(rows.columns) - {id_column(rows, own), own.group, ""}
            found |= {name for name in named if not is_on(rows[name]).any()}
    return found


def _check_values(path: Path, sample: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Refuse a label column that asks for something other than a class, as 0.5 asks for a probability.

    A sample's values are place-holders: most often a class, nothing, or some text. Numbers are refused only where no
    value is a class and no class is a number of that kind, whole or decimal. Zeros alone pass with a warning: they are
    the commonest place-holder of all.
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
