"""Predictions made elsewhere, in ``runs/NAME/RUN/imported/``: which count today, and why others do not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import RESERVED, RUN_NAME
from kit.core.errors import InputError, some
from kit.core.files import key_of
from kit.core.shapes import Ids
from kit.core.terminal import note, warn
from kit.data.prepared import Prepared
from kit.runs.store.foreign import Foreign, Reading, read_foreign
from kit.runs.store.result import IMPORTED, Result, read_result, write_result
from kit.runs.store.score import describe_run
from kit.scoring.predictions import Predictions, write_predictions


def list_imported(prepared: Prepared) -> list[str]:
    """Return the names of predictions that were imported for these folds."""
    imports = ((name, read_import(prepared, name)) for name in _list_names(prepared))
    return [
        name
        for name, result in imports
        if name not in prepared.competition.runs and result and what_is_gone(prepared, result) is None
    ]


def stale_imports(prepared: Prepared) -> dict[str, str]:
    """Return why imported predictions are used by nothing, and the remedy, by their name."""
    reasons = {}
    for name in _list_names(prepared):
        if name in prepared.competition.runs:
            reasons[name] = "has the name of a run, which counts; import it again under another"
        elif (result := read_import(prepared, name)) and (cause := what_is_gone(prepared, result)):
            reasons[name] = f"was imported for {cause}; import it again"
    return reasons


def read_import(prepared: Prepared, name: str) -> Result | None:
    """Return the predictions imported by a name, whatever they were made for, or None."""
    folder = prepared.competition.workspace.runs(prepared.competition.name) / name / IMPORTED
    return read_result(name, folder)


def what_is_gone(prepared: Prepared, result: Result) -> str | None:
    """Return what an import was made for and is gone by now, or None."""
    if result.record.fold_key != prepared.fold_key:
        return "other folds or labels"
    then, now = result.record.images_key, import_images_key(prepared)
    same = result.record.pool_key == prepared.pool.key if then is None else then == now  # older ones know the pool
    return None if same else "other images"


def import_images_key(prepared: Prepared) -> str:
    """Return the key of the images that imported predictions are of: the scored and the test images' content."""
    pool, rows = prepared.pool, np.concatenate([prepared.labeled[prepared.scored_rows], prepared.split("test")])
    return key_of(list(pool.splits[rows]), list(pool.ids[rows]), list(pool.digests[rows]))


def _list_names(prepared: Prepared) -> list[str]:
    """Return the names of all imports."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    return sorted(file.parents[1].name for file in home.glob(f"*/{IMPORTED}/run.json"))


def import_predictions(
    prepared: Prepared, name: str, oof: Path, test: Path | None = None, reading: Reading | None = None
) -> Result:
    """Take oof and test predictions made elsewhere.

    The oof must have been made on folds of which no model saw what it predicts; the kit cannot see that, and says so.

    Parameters
    ----------
    name
        The member's name, not one of the competition's runs.
    oof, test
        CSV, parquet or npy files; see `kit.runs.store.foreign`. One column per class, in any order; or, with one label
        per image and a metric of labels, one column of labels, each taken as certain. The test file may hold the test
        images that cannot be read here; their rows are left out, the submission gives them the class prior. Without it
        the predictions can neither be sent nor join the ensemble.
    reading
        What the user says of ids and columns.

    Raises
    ------
    InputError
        When the name is taken, a file cannot be read, ids are missing or unknown, classes differ, a row is not a
        distribution, or a file holds labels and the metric needs probabilities.
    """
    if name in prepared.competition.runs:
        raise InputError(
            f"import {name!r}: {prepared.competition.name} has a run of that name; choose a name that none has"
        )
    if not RUN_NAME.fullmatch(name) or name in RESERVED:
        raise InputError(f"import {name!r}: choose a name of letters, digits, _ and - that the kit does not use itself")
    reading, rows = reading or Reading(), prepared.labeled[prepared.scored_rows]
    oof_predictions, found = _read(oof, prepared, prepared.pool.ids[rows], (), reading)
    test_predictions = _read_test(prepared, test, replace(reading, classes=reading.classes or found.order))
    document = describe_run(prepared, name, oof_predictions)
    read = [_digest(each) for each in (oof_predictions, test_predictions) if each is not None]
    document |= {"key": key_of(*read), "model": IMPORTED, "teachers": {}, "seconds": None}
    kind, sentence = _compare_folds(prepared, found.folds)
    (warn if kind == "other" else note)(f"{name}: {sentence}")
    if other := found.other_labels:
        shown = some(f"{image} ({words})" for image, words in other.items())
        warn(
            f"{name}: {oof.name} has other labels than ours for {len(other)} of {len(rows)} images: {shown}; "
            "its models may have learned those: correct the labels here or there"
        )
    document |= {"images_key": import_images_key(prepared), "folds": kind, "n_other_labels": len(other)}
    folder = prepared.competition.workspace.runs(prepared.competition.name) / name / IMPORTED
    (folder / "run.json").unlink(missing_ok=True)  # else a kill would leave these predictions under the old key
    write_predictions(folder / "oof.parquet", oof_predictions)
    if test_predictions is None:
        (folder / "test.parquet").unlink(missing_ok=True)
        note(f"{name}: without test predictions it can neither be sent nor join the ensemble")
    else:
        write_predictions(folder / "test.parquet", test_predictions)
    return write_result(name, folder, document)


def _digest(predictions: Predictions) -> str:
    """Return the hash of predictions as they were understood: a file's columns can be read in several orders."""
    return hashlib.sha256(predictions.proba.tobytes()).hexdigest()


def _read_test(prepared: Prepared, test: Path | None, reading: Reading) -> Predictions | None:
    """Return the test predictions; of a competition without test images those of none."""
    wanted = prepared.pool.ids[prepared.split("test")]
    if test is not None:
        return _read(test, prepared, wanted, prepared.broken_test, reading)[0]
    if len(wanted):
        return None
    return Predictions(wanted, prepared.classes, np.zeros((0, len(prepared.classes))), prepared.pool.task)


def _read(
    path: Path, prepared: Prepared, wanted: Ids, spare: Collection[str], reading: Reading
) -> tuple[Predictions, Foreign]:
    """Read one file without `spare` ids; return its rows and columns in the kit's order, and what was found."""
    found = read_foreign(path, prepared, wanted, spare, reading)
    if found.facts:
        note(f"{path.name}: {'; '.join(found.facts)}")
    for guess in found.guesses:
        warn(f"{path.name}: a guess: {guess}")
    table = _spread_labels(path, prepared, found.table)
    ids = table["id"]
    if odd := sorted(set(ids) ^ set(wanted)):
        raise InputError(f"{path}: {len(odd)} ids are missing or not the competition's: {some(odd)}")
    cells = table[list(prepared.classes)]
    values = cells.apply(pd.to_numeric, errors="coerce")
    if (empty := values.isna().to_numpy()).any():
        row, column = (int(axis[0]) for axis in np.nonzero(empty))
        cause = f"column {prepared.classes[column]!r} is {cells.iat[row, column]!r}, not a number"
        raise InputError(f"{path}: id {ids.iat[row]!r}: {cause}")
    try:
        proba = values.to_numpy(dtype=np.float64)
        if prepared.hierarchy is not None:
            proba = prepared.hierarchy.make_consistent(proba)
        predictions = Predictions(ids.to_numpy(dtype=object), prepared.classes, proba, prepared.pool.task)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error
    metric = prepared.metric
    if metric.needs == "proba" and np.isin(predictions.proba, (0, 1)).all():
        warn(f"{path}: every probability is 0 or 1, as labels are; {metric.name} counts how sure they are")
    return predictions.at(wanted), found


def _spread_labels(path: Path, prepared: Prepared, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of one label per image as one column per class, 1 for the label; others as they are."""
    classes, metric = prepared.classes, prepared.metric
    if table.shape[1] != 2 or table.columns[1] in classes:
        return table
    labels = table.iloc[:, 1].astype(str)
    if prepared.pool.is_multilabel or not set(labels) & set(classes):
        return table
    if metric.needs == "proba":
        raise InputError(
            f"{path}: holds labels; metric {metric.name} needs probabilities and cannot be scored from them: give one "
            "column per class"
        )
    if unknown := sorted(set(labels) - set(classes)):
        raise InputError(f"{path}: labels that are not classes: {some(unknown)}")
    return table.iloc[:, :1].assign(**{name: (labels == name).astype(np.float64) for name in classes})


def _compare_folds(prepared: Prepared, folds: dict[str, str] | None) -> tuple[str, str]:
    """Return whether predictions were made on our folds, ``"same"``, ``"other"`` or ``"unknown"``, and a sentence."""
    from scipy.optimize import linear_sum_assignment

    if folds is None:
        return "unknown", "it does not say its folds: that no model saw what it predicts is taken on trust"
    rows = prepared.scored_rows
    ids = prepared.pool.ids[prepared.labeled[rows]]
    _, ours = np.unique(prepared.folds[rows], return_inverse=True)
    _, theirs = np.unique([folds.get(each, "") for each in ids], return_inverse=True)
    counts = np.zeros((ours.max() + 1, theirs.max() + 1), dtype=np.int64)  # ours x theirs
    np.add.at(counts, (ours, theirs), 1)
    matched = counts[linear_sum_assignment(counts, maximize=True)].sum()
    n_moved = len(ids) - int(matched)
    if n_moved == 0 and counts.shape[0] == counts.shape[1]:
        return "same", "its folds are ours"
    return "other", (
        f"{n_moved} of {len(ids)} images are in other folds than ours ({counts.shape[1]} folds against "
        f"{counts.shape[0]}). Its own CV stands where no model saw what it predicts. A blend's does not quite: weights "
        "for one of our folds are learned from rows whose models saw images of that fold, so the CV leans upwards. "
        "Train on one fold file, folds/NAME.csv, to avoid it"
    )
