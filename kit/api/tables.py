"""What Python gets as tables: a row per image, run or mistake, as pandas DataFrames.

Reads finished runs; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kit.core.shapes import Proba
from kit.runs.store import Result, oof_rows
from kit.scoring.metrics import decide

if TYPE_CHECKING:
    from kit.config.competition import Competition
    from kit.data.prepared import Prepared
    from kit.report.board import Row
    from kit.scoring.predictions import Predictions

SEPARATOR = "|"  # between the labels of an image that has several
OWN = ("id", "label", "fold")  # columns that are no class's


def images_table(prepared: Prepared) -> pd.DataFrame:
    """Return all usable images: id, path, label, split and fold; no label and no fold where there is none."""
    pool = prepared.pool
    table = pd.DataFrame({"id": pool.ids, "path": pool.paths, "label": None, "split": pool.splits}, dtype=object)
    table["label"] = table["label"].astype(object)
    table.loc[prepared.labeled, "label"] = name_labels(prepared.classes, prepared.labels)
    folds = np.full(len(pool), -1)
    folds[prepared.labeled] = prepared.folds
    return table.assign(fold=pd.array(folds, dtype="Int64")).assign(fold=lambda rows: rows["fold"].mask(folds < 0))


def folds_table(prepared: Prepared) -> pd.DataFrame:
    """Return the labelled images with their folds: id, label, fold, group; images of a group are never parted."""
    pool, rows = prepared.pool, prepared.labeled
    labels = name_labels(prepared.classes, prepared.labels)
    return pd.DataFrame({"id": pool.ids[rows], "label": labels, "fold": prepared.folds, "group": pool.groups[rows]})


def runs_table(competition: Competition, results: Sequence[Result], unfinished: Mapping[str, str]) -> pd.DataFrame:
    """Return the runs of competition.toml in its order: model, encoder, state, CV and one standard error."""
    made = {result.base: result.record for result in results}
    rows = []
    for name, run in competition.runs.items():
        record = made.get(name)
        row = {"run": name, "model": run.model, "encoder": run.options.get("encoder")}
        row |= {"state": "finished" if record else unfinished.get(name, "not trained")}
        rows.append(row | {"cv": record.cv if record else np.nan, "se": record.se if record else np.nan})
    return pd.DataFrame(rows, columns=["run", "model", "encoder", "state", "cv", "se"])


def board_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the leaderboard, the best CV first; what is a number is a float, NaN where it is not known.

    `low` and `high` are the ends of the 95 % interval of `cv`; scores in other metrics stand behind them, as
    ``accuracy`` and ``accuracy_se``.
    """
    return pd.DataFrame([_flatten(row) for row in rows])


def _flatten(row: Row) -> dict[str, Any]:
    """Return a line of the leaderboard as cells."""
    low, high = row.interval or (None, None)
    cells: dict[str, Any] = {"run": row.run}
    cells |= _numbers(cv=row.cv, se=row.se)  # first: pandas leaves out columns in the middle where the screen is narrow
    cells |= {"model": row.model, "encoder": row.encoder} | _numbers(low=low, high=high)
    for name, score in row.beside.items():
        cells |= _numbers(**{name: score.score, f"{name}_se": score.se})
    cells |= _numbers(difference=row.difference, difference_se=row.difference_se) | {"verdict": row.verdict}
    cells |= _numbers(local=row.local, local_se=row.local_se, public=row.public, private=row.private)
    cells |= _numbers(seconds=row.seconds, round=row.round)
    return cells | {"test_images_used": row.test_images_used, "remarks": "; ".join(row.remarks)}


def _numbers(**values: Any) -> dict[str, float]:
    return {name: float("nan") if value is None else float(value) for name, value in values.items()}


def oof_table(prepared: Prepared, result: Result) -> pd.DataFrame:
    """Return a run's out-of-fold predictions of the scored images: id, label, fold, a probability per class."""
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    rows = prepared.scored_rows
    head = {"id": prepared.pool.ids[prepared.labeled[rows]], "label": name_labels(prepared.classes, labels)}
    return _with_classes(pd.DataFrame(head | {"fold": prepared.folds[rows]}), prepared.classes, proba)


def predictions_table(
    prepared: Prepared, ids: Sequence[str], mixture: Predictions, decided: Predictions
) -> pd.DataFrame:
    """Return predictions of new images in the order of `ids`: id, label as it would be sent, a probability per class.

    Images that could not be read have no label, and the class prior for probabilities.
    """
    decided = decided.at(np.array(ids, dtype=object))
    codes = decide(decided.proba, prepared.pool.is_multilabel)
    read = set(mixture.ids)
    labels = name_labels(decided.classes, codes)
    labels = [label if image_id in read else None for label, image_id in zip(labels, decided.ids, strict=True)]
    columns = [decided.classes.index(name) for name in prepared.classes]
    proba = np.array(decided.proba[:, columns], dtype=np.float32)
    is_read = np.array([image_id in read for image_id in decided.ids], dtype=bool)
    proba[is_read] = mixture.at(decided.ids[is_read]).proba
    return _with_classes(pd.DataFrame({"id": decided.ids, "label": labels}, dtype=object), prepared.classes, proba)


def name_labels(classes: tuple[str, ...], codes: np.ndarray) -> list[str]:
    """Return class codes as names; several labels of an image stand in one cell, a ``|`` between two."""
    if codes.ndim == 1:
        return [str(classes[code]) for code in codes.tolist()]
    return [SEPARATOR.join(classes[i] for i in np.flatnonzero(row).tolist()) for row in codes]


def _with_classes(table: pd.DataFrame, classes: Sequence[str], proba: Proba) -> pd.DataFrame:
    """Return a table with a column per class; a class that is called like one of ours gets ``class`` before it."""
    names = [f"class {name}" if name in OWN else name for name in classes]
    return pd.concat([table, pd.DataFrame(proba, columns=names, index=table.index)], axis=1)
