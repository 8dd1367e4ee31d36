"""Submission: test predictions merged one-to-one into sample_submission.csv, validated, with a ledger row.

Writes ``submissions/NAME/NNN_RUN.csv`` and a row of ``submissions/NAME/ledger.csv``. The sample file decides columns,
ids, order and whether labels or probabilities are wanted.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import Competition
from kit.errors import InputError, some
from kit.files import hash_file, write_atomic
from kit.ledger import hold_ledger, read_ledger, write_ledger
from kit.predictions import Predictions
from kit.prepare import Prepared
from kit.runs import Result, commit
from kit.table.scan import read_csv
from kit.table.sources import find_file, name_key
from kit.terminal import escape, warn


def make_submission(prepared: Prepared, result: Result) -> Path:
    """Write the next submission of a run; the file already there is returned when it would be the same.

    An equal file is found by its content, not by the ledger: a kill between the two leaves a file without a row, which
    is added now.

    Returns
    -------
    Path
        The CSV, ready for ``kaggle competitions submit``.

    Raises
    ------
    InputError
        When there are no test images, the sample file is missing, names other ids or wants what is not a class, or a
        check of the finished table fails.
    """
    table = fill_sample(prepared, result.predictions("test"))
    text = table.to_csv(index=False, lineterminator="\n").encode()
    digest = hashlib.sha256(text).hexdigest()
    folder = prepared.competition.workspace.submissions(prepared.competition.name)
    path = _find_written(folder, result.name, digest)
    ledger = read_ledger(prepared.competition)
    if path is None:
        path = folder / f"{_next_number(folder, ledger):03d}_{result.name}.csv"
        with write_atomic(path) as file:
            file.write(text)
    if not any(row["file"] == path.name and row["sha256"] == digest for row in ledger):
        _append(prepared.competition, path, result, digest)
    return path


def fill_sample(prepared: Prepared, test: Predictions) -> pd.DataFrame:
    """Return the submission as a table with the sample file's columns, ids and order.

    Parameters
    ----------
    prepared
        The competition made ready.
    test
        Predictions of the test images; broken images get the class prior.
    """
    sample, ids = read_sample(prepared)
    rows = with_broken(prepared, test).at(ids)
    id_column, *others = sample.columns
    classes = prepared.classes
    if len(others) == 1 and others[0] not in classes:
        table = sample.assign(**{others[0]: np.array(classes, dtype=object)[rows.proba.argmax(axis=1)]})
    else:
        by_class = dict(zip(classes, rows.proba.T, strict=True))
        table = pd.DataFrame({id_column: sample[id_column], **{name: by_class[name] for name in others}})
    check_submission(sample, table, classes)
    return table


def with_broken(prepared: Prepared, test: Predictions) -> Predictions:
    """Return predictions of all test images: those that cannot be read get the class prior of the labelled ones."""
    if not prepared.broken_test:
        return test
    counts = np.bincount(prepared.labels, minlength=len(prepared.classes))
    prior = np.tile(counts / counts.sum(), (len(prepared.broken_test), 1))
    ids = np.concatenate([test.ids, np.array(prepared.broken_test, dtype=object)])
    return Predictions(ids, test.classes, np.concatenate([test.proba, prior]))


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
    _check_columns(path, list(sample.columns[1:]), prepared.classes)
    _check_values(path, sample, prepared.classes)
    return sample, ids


def _match_ids(path: Path, sample: pd.DataFrame, known: np.ndarray) -> np.ndarray:
    """Return the test id that each row of the sample means, or refuse ids that are not exactly the test images'."""
    ids = sample.iloc[:, 0].to_numpy(dtype=object)
    if not set(ids) <= set(known):
        ids = np.array([_without_suffix(image_id) for image_id in ids], dtype=object)
    repeated = sample.iloc[:, 0][pd.Series(ids).duplicated().to_numpy()]
    if len(repeated):
        raise InputError(f"{path}: ids repeat: {some(repeated)}")
    if missing := sorted(set(ids) - set(known)):
        raise InputError(f"{path}: {len(missing)} ids have no test image: {some(missing)}")
    if extra := sorted(set(known) - set(ids)):
        raise InputError(f"{path}: {len(extra)} test images are not in it: {some(extra)}; is it another version?")
    return ids


def check_submission(sample: pd.DataFrame, table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Check a finished table as Kaggle would: ids, count, vocabulary, numbers.

    Parameters
    ----------
    sample
        The sample file.
    table
        What would be sent.
    classes
        The class names.

    Raises
    ------
    InputError
        Naming what is wrong; nothing is written then.
    """
    if list(table.columns) != list(sample.columns):
        raise InputError(f"submission: columns {list(table.columns)}, the sample has {list(sample.columns)}")
    if len(table) != len(sample) or not (table.iloc[:, 0].to_numpy() == sample.iloc[:, 0].to_numpy()).all():
        raise InputError(f"submission: {len(table)} rows whose ids are not the sample's {len(sample)} in its order")
    values = table.iloc[:, 1:]
    if values.isna().any(axis=None):
        raise InputError(f"submission: empty values in {int(values.isna().any(axis=1).sum())} rows")
    if values.shape[1] == 1 and values.columns[0] not in classes:
        unknown = sorted(set(values.iloc[:, 0]) - set(classes))
        if unknown:
            raise InputError(f"submission: labels that are not classes: {some(unknown)}")


def _append(competition: Competition, path: Path, result: Result, digest: str) -> None:
    """Add a ledger row, atomically."""
    row = {
        "file": path.name,
        "run": result.name,
        "key": result.facts["key"],
        "cv": f"{result.facts['cv']:.6f}",
        "se": f"{result.facts['se']:.6f}",
        "sha256": digest,
        "commit": commit(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    with hold_ledger(competition):
        write_ledger(competition, [*read_ledger(competition), row])


def _find_written(folder: Path, run: str, digest: str) -> Path | None:
    """Return the newest submission of a run that has this SHA-256, or None."""
    name = re.compile(rf"\d+_{re.escape(run)}\.csv")
    written = sorted((path for path in folder.glob("*.csv") if name.fullmatch(path.name)), reverse=True)
    return next((path for path in written if hash_file(path) == digest), None)


def _next_number(folder: Path, ledger: list[dict[str, str]]) -> int:
    """Return the number after the highest in the folder or the ledger: a deleted file's number is not used again."""
    names = [*(path.name for path in folder.glob("*.csv")), *(row["file"] for row in ledger)]
    return max((int(found[1]) for name in names if (found := re.match(r"(\d+)_", name))), default=0) + 1


def _without_suffix(image_id: str) -> str:
    """Drop an image suffix from an id of the sample file."""
    return re.sub(r"\.(jpe?g|png|bmp|gif|webp|tiff?)$", "", image_id, flags=re.IGNORECASE)


def _check_columns(path: Path, columns: list[str], classes: tuple[str, ...]) -> None:
    """Accept one label column, or one column per class."""
    if not columns:
        raise InputError(f"{path}: only one column; expected an id and a label column, or an id and the classes")
    if len(columns) > 1 and set(columns) != set(classes):
        odd = sorted(set(columns) ^ set(classes))
        raise InputError(f"{path}: columns are neither one label nor the {len(classes)} classes: {some(odd)} differ")


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
