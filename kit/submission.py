"""Submission: test predictions merged one-to-one into sample_submission.csv, validated, with a ledger row.

Writes ``submissions/NAME/NNN_RUN.csv`` and a row of ``submissions/NAME/ledger.csv``. The sample file decides columns,
ids, order and whether labels or probabilities are wanted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import Competition
from kit.errors import InputError, some
from kit.files import write_atomic
from kit.predictions import Predictions
from kit.prepare import Prepared
from kit.runs import Result, commit
from kit.table.scan import read_csv

LEDGER = "ledger.csv"
COLUMNS = ("file", "run", "key", "cv", "se", "sha256", "commit", "made", "public", "private", "message")


def make_submission(prepared: Prepared, result: Result) -> Path:
    """Write the next submission of a run; the file already there is returned when it would be the same.

    Returns
    -------
    Path
        The CSV, ready for ``kaggle competitions submit``.

    Raises
    ------
    InputError
        When the sample file and the test images name different ids, or a check of the finished table fails.
    """
    table = fill_sample(prepared, result.predictions("test"))
    text = table.to_csv(index=False, lineterminator="\n").encode()
    digest = hashlib.sha256(text).hexdigest()
    folder = prepared.competition.workspace.submissions(prepared.competition.name)
    for row in reversed(read_ledger(prepared.competition)):
        if row["run"] == result.name and row["sha256"] == digest and (folder / row["file"]).is_file():
            return folder / row["file"]
    path = folder / f"{_next_number(folder):03d}_{result.name}.csv"
    with write_atomic(path) as file:
        file.write(text)
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
    test = _with_broken(prepared, test)
    rows = test.at(ids)
    id_column, *others = sample.columns
    classes = prepared.classes
    if len(others) == 1 and others[0] not in classes:
        table = sample.assign(**{others[0]: np.array(classes, dtype=object)[rows.proba.argmax(axis=1)]})
    else:
        by_class = dict(zip(classes, rows.proba.T, strict=True))
        table = pd.DataFrame({id_column: sample[id_column], **{name: by_class[name] for name in others}})
    check_submission(prepared, table)
    return table


def read_sample(prepared: Prepared) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the sample file and the test id that each of its rows means; without a file one is made.

    Raises
    ------
    InputError
        When its ids are not exactly those of the test images, or its columns fit neither labels nor classes.
    """
    competition = prepared.competition
    known = np.concatenate([prepared.pool.ids[prepared.split("test")], np.array(prepared.broken_test, dtype=object)])
    if competition.data.sample_submission is None:
        ids = np.sort(known)
        return pd.DataFrame({"id": ids, "label": prepared.classes[0]}), ids
    path = competition.root / competition.data.sample_submission
    sample = read_csv(path)
    ids = sample.iloc[:, 0].to_numpy(dtype=object)
    if not set(ids) <= set(known):
        ids = np.array([_without_suffix(image_id) for image_id in ids], dtype=object)
    repeated = sample.iloc[:, 0][sample.iloc[:, 0].duplicated()]
    if len(repeated):
        raise InputError(f"{path}: ids repeat: {some(repeated)}")
    if missing := sorted(set(ids) - set(known)):
        raise InputError(f"{path}: {len(missing)} ids have no test image: {some(missing)}")
    if extra := sorted(set(known) - set(ids)):
        raise InputError(f"{path}: {len(extra)} test images are not in it: {some(extra)}; is it another version?")
    _check_columns(path, list(sample.columns[1:]), prepared.classes)
    return sample, ids


def check_submission(prepared: Prepared, table: pd.DataFrame) -> None:
    """Check a finished table as Kaggle would: ids, count, vocabulary, numbers.

    Raises
    ------
    InputError
        Naming what is wrong; nothing is written then.
    """
    sample, _ = read_sample(prepared)
    if list(table.columns) != list(sample.columns):
        raise InputError(f"submission: columns {list(table.columns)}, the sample has {list(sample.columns)}")
    if len(table) != len(sample) or not (table.iloc[:, 0].to_numpy() == sample.iloc[:, 0].to_numpy()).all():
        raise InputError(f"submission: {len(table)} rows whose ids are not the sample's {len(sample)} in its order")
    values = table.iloc[:, 1:]
    if values.isna().any(axis=None):
        raise InputError(f"submission: empty values in {int(values.isna().any(axis=1).sum())} rows")
    if values.shape[1] == 1 and values.columns[0] not in prepared.classes:
        unknown = sorted(set(values.iloc[:, 0]) - set(prepared.classes))
        if unknown:
            raise InputError(f"submission: labels that are not classes: {some(unknown)}")


def read_ledger(competition: Competition) -> list[dict[str, str]]:
    """Return the ledger's rows, oldest first."""
    path = competition.workspace.submissions(competition.name) / LEDGER
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*read_ledger(competition), row])
    with write_atomic(path.parent / LEDGER, "w") as file:
        file.write(text.getvalue())


def _next_number(folder: Path) -> int:
    """Return the number after the highest in the folder."""
    numbers = [int(found[1]) for path in folder.glob("*.csv") if (found := re.match(r"(\d+)_", path.name))]
    return max(numbers, default=0) + 1


def _with_broken(prepared: Prepared, test: Predictions) -> Predictions:
    """Give test images that cannot be read the class prior of the labelled ones."""
    if not prepared.broken_test:
        return test
    counts = np.bincount(prepared.labels, minlength=len(prepared.classes))
    prior = np.tile(counts / counts.sum(), (len(prepared.broken_test), 1))
    ids = np.concatenate([test.ids, np.array(prepared.broken_test, dtype=object)])
    return Predictions(ids, test.classes, np.concatenate([test.proba, prior]))


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
