"""Submission: test predictions merged one-to-one into sample_submission.csv, validated, with a ledger row.

Writes ``submissions/NAME/NNN_RUN.csv`` and a row of ``submissions/NAME/ledger.csv``. The sample file decides columns,
ids, order and whether labels or probabilities are wanted.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.errors import some
from kit.core.files import hash_file, write_atomic
from kit.core.terminal import note, stage
from kit.data.prepared import Prepared
from kit.kaggle.submission.ledger import hold_ledger, is_of, read_ledger, write_ledger
from kit.kaggle.submission.sample import check_submission, form_of, read_sample
from kit.runs.decide.decisions import decided_test
from kit.runs.store import Result, commit
from kit.runs.store.thresholds import sent_key
from kit.scoring.metrics import decide
from kit.scoring.predictions import Predictions, concatenate


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
    table = fill_sample(prepared, decided_test(prepared, result, note))
    text = table.to_csv(index=False, lineterminator="\n").encode()
    digest = hashlib.sha256(text).hexdigest()
    folder = prepared.competition.workspace.submissions(prepared.competition.name)
    path = _find_written(folder, result.name, digest)
    ledger = read_ledger(prepared.competition)
    if path is not None:
        stage("submission", f"{path}: written before, the predictions are the same")
    else:
        path = folder / f"{_next_number(folder, ledger):03d}_{result.name}.csv"
        with write_atomic(path) as file:
            file.write(text)
        twins = [row["file"] for row in ledger if row["sha256"] == digest]
        same = f"; {some(twins)} says the same of every image" if twins else ""
        stage("submission", f"{path}: written{same}")
    rows = [row for row in ledger if row["file"] == path.name and row["sha256"] == digest]
    if not any(is_of(prepared, result, row) for row in rows):
        _note_made(prepared, path, result, digest)
    return path


def fill_sample(prepared: Prepared, test: Predictions) -> pd.DataFrame:
    """Return the submission as a table with the sample file's columns, ids and order.

    Parameters
    ----------
    prepared
        The competition made ready.
    test
        What was decided for the test images (`kit.runs.decide.decisions`); broken images get the class prior.
    """
    sample, ids = read_sample(prepared)
    rows, form = with_broken(prepared, test).at(ids), form_of(prepared, sample)
    id_column, *others = sample.columns
    if form.kind == "columns":
        by_class = _class_columns(prepared, rows, form.is_binary)
        values = {name: by_class.get(name, np.zeros(len(rows), dtype=np.int8)) for name in others}
        table = pd.DataFrame({id_column: sample[id_column], **values})
    else:
        names = np.array(rows.classes, dtype=object)
        if form.n_ranked:
            best = np.argsort(-rows.proba, axis=1, kind="stable")[:, : form.n_ranked]
            cells = [form.separator.join(own) for own in names[best]]
        elif form.kind == "labels":
            cells = _label_cells(prepared, rows.proba, form.separator)
        else:
            cells = names[rows.proba.argmax(axis=1)]
        table = sample.assign(**{others[0]: cells})
    check_submission(prepared, sample, table)
    return table


def _class_columns(prepared: Prepared, rows: Predictions, is_binary: bool) -> dict[str, np.ndarray]:
    """Return what is said of each class, and with several labels of having none, (n_images,) each."""
    said = decide(rows.proba, True) if is_binary else rows.proba
    columns, none = dict(zip(rows.classes, said.T, strict=True)), prepared.competition.decision.none_of_these
    return columns if none is None else {none: 1 - said.max(axis=1)} | columns


def _label_cells(prepared: Prepared, proba: np.ndarray, separator: str) -> list[str]:
    """Return each image's labels as one cell; of a path only its end, for the end names the parents."""
    said, hierarchy = decide(proba, True) == 1, prepared.hierarchy
    plan, tree = prepared.competition.decision, prepared.competition.data.hierarchy
    with_parents = plan.parents if plan.parents is not None else tree is None or tree.separator is None
    named = said.copy()
    if hierarchy is not None and not with_parents:
        for child in np.flatnonzero(hierarchy.parents >= 0):
            named[:, hierarchy.parents[child]] &= ~said[:, child]
    names, empty = np.array(prepared.classes, dtype=object), plan.none_of_these or ""
    return [separator.join(names[row]) or empty for row in named]


def with_broken(prepared: Prepared, test: Predictions) -> Predictions:
    """Return predictions of all test images: those that cannot be read get the class prior of the labelled ones."""
    ids = np.array(prepared.broken_test, dtype=object)
    return add_broken(test, ids, class_prior(prepared)) if len(ids) else test


def class_prior(prepared: Prepared) -> np.ndarray:
    """Return the share of the labelled images that have each class, (n_classes,)."""
    labels, n_classes = prepared.labels, len(prepared.classes)
    return labels.mean(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=n_classes) / len(labels)


def add_broken(test: Predictions, ids: np.ndarray, prior: np.ndarray) -> Predictions:
    """Return predictions with those of images that cannot be read: the class prior (n_classes,), and no stranger."""
    prior = np.append(prior, np.zeros(len(test.classes) - len(prior)))
    return concatenate([test, replace(test, ids=ids, proba=np.tile(prior, (len(ids), 1)))])


def _note_made(prepared: Prepared, path: Path, result: Result, digest: str) -> None:
    """Write of which run a file is into the ledger, atomically: of one made before and not sent, into its row."""
    competition = prepared.competition
    row = {
        "file": path.name,
        "run": result.name,
        "key": result.record.key,
        "decision": sent_key(prepared, result.record.thresholds),
        "cv": f"{result.record.cv:.6f}",
        "se": f"{result.record.se:.6f}",
        "sha256": digest,
        "commit": commit(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    with hold_ledger(competition):
        rows = [
            own
            for own in read_ledger(competition)
            if own["sha256"] != digest or own["file"] != path.name or own["ref"] or own["token"]
        ]
        write_ledger(competition, [*rows, row])


def _find_written(folder: Path, run: str, digest: str) -> Path | None:
    """Return the newest submission of a run that has this SHA-256, or None."""
    name = re.compile(rf"\d+_{re.escape(run)}\.csv")
    written = sorted((path for path in folder.glob("*.csv") if name.fullmatch(path.name)), reverse=True)
    return next((path for path in written if hash_file(path) == digest), None)


def _next_number(folder: Path, ledger: list[dict[str, str]]) -> int:
    """Return the number after the highest in the folder or the ledger: a deleted file's number is not used again."""
    names = [*(path.name for path in folder.glob("*.csv")), *(row["file"] for row in ledger)]
    return max((int(found[1]) for name in names if (found := re.match(r"(\d+)_", name))), default=0) + 1
