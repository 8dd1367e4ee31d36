"""Predictions made elsewhere, in ``runs/NAME/RUN/imported/``: which count today, and why others do not."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import RESERVED, RUN_NAME
from kit.core.errors import InputError, some
from kit.core.files import hash_file, key_of
from kit.core.shapes import Ids
from kit.core.terminal import warn
from kit.data.prepared import Prepared
from kit.data.table.scan import read_csv
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


def import_predictions(prepared: Prepared, name: str, oof: Path, test: Path) -> Result:
    """Take oof and test predictions made elsewhere.

    The oof must have been made on the folds of the fold file; the kit cannot see how, and says so.

    Parameters
    ----------
    name
        The member's name, not one of the competition's runs.
    oof, test
        CSV or parquet files: an id column, then one column per class, in any order; or, with one label per image and
        a metric of labels, one column of labels, each taken as certain. The test file may hold the test images that
        cannot be read here; their rows are left out, the submission gives them the class prior.

    Raises
    ------
    InputError
        When the name is taken, a file cannot be read, ids are missing or unknown, classes differ, a row is not a
        distribution, or a file holds labels and the metric needs probabilities.
    """
    if not RUN_NAME.fullmatch(name) or name in RESERVED or name in prepared.competition.runs:
        raise InputError(f"import {name!r}: choose a name of letters, digits, _ and - that no run has")
    rows = prepared.labeled[prepared.scored_rows]
    oof_predictions = _read(oof, prepared, prepared.pool.ids[rows])
    test_predictions = _read(test, prepared, prepared.pool.ids[prepared.split("test")], prepared.broken_test)
    document = describe_run(prepared, name, oof_predictions)
    document |= {"key": key_of(hash_file(oof), hash_file(test)), "model": IMPORTED, "teachers": {}, "seconds": None}
    document["images_key"] = import_images_key(prepared)
    folder = prepared.competition.workspace.runs(prepared.competition.name) / name / IMPORTED
    (folder / "run.json").unlink(missing_ok=True)  # else a kill would leave these predictions under the old key
    write_predictions(folder / "oof.parquet", oof_predictions)
    write_predictions(folder / "test.parquet", test_predictions)
    return write_result(name, folder, document)


def _read(path: Path, prepared: Prepared, wanted: Ids, spare: Collection[str] = ()) -> Predictions:
    """Read one file, leave out `spare` ids, and bring rows and columns into the kit's order."""
    table = _read_table(path)
    table = table.loc[~table.iloc[:, 0].astype(str).isin(spare)]
    ids = table.iloc[:, 0].astype(str)
    table = _spread_labels(path, prepared, table)
    columns = {str(name).removeprefix("class:"): name for name in table.columns[1:]}
    if set(columns) != set(prepared.classes):
        raise InputError(f"{path}: columns are not the classes: {some(sorted(set(columns) ^ set(prepared.classes)))}")
    if odd := sorted(set(ids) ^ set(wanted)):
        raise InputError(f"{path}: {len(odd)} ids are missing or not the competition's: {some(odd)}")
    cells = table[[columns[name] for name in prepared.classes]]
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
    return predictions.at(wanted)


def _spread_labels(path: Path, prepared: Prepared, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of one label per image as one column per class, 1 for the label; others as they are."""
    classes, metric = prepared.classes, prepared.metric
    if table.shape[1] != 2 or str(table.columns[1]).removeprefix("class:") in classes:
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


def _read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or parquet file; name it in whatever goes wrong."""
    import pyarrow as pa

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as a table of predictions ({error})") from error
    if table.columns.empty:
        raise InputError(f"{path}: no columns; expected an id column, then one column per class")
    return table
