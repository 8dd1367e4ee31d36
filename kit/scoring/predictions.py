"""Predictions: ids x classes -> probability; what every model gives and everything after combines.

Stored as parquet, one column per class beside ``id``. Class order and row order are data: checked at every join.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.core.errors import DamagedFile, InputError, some
from kit.core.files import remedy_for, write_atomic
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Ids, Proba

SUM_TOLERANCE = 1e-3
THREADED_BYTES = 2**20  # of a file: a smaller one is read sooner by one thread
TASK_KEY = b"task"  # of the parquet schema's metadata


@dataclass(frozen=True)
class Predictions:
    """Hold class probabilities for images.

    Parameters
    ----------
    ids
        (n_images,) unique ids, text.
    classes
        (n_classes,) class names, in the order of the columns.
    proba
        (n_images, n_classes) float32 probabilities, 0..1; rows sum to 1 where the task is multiclass.
    task
        ``"multiclass"``: one class per image; ``"multilabel"``: every class for itself.

    Raises
    ------
    ValueError
        When shapes differ, an id repeats, a value is not finite or outside 0..1, or a multiclass row does not sum to 1.
    """

    ids: Ids
    classes: tuple[str, ...]
    proba: Proba
    task: str = MULTICLASS

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids, dtype=object)
        proba = np.asarray(self.proba)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "classes", tuple(self.classes))
        if proba.shape != (len(ids), len(self.classes)):
            raise ValueError(f"proba has shape {proba.shape}, not ({len(ids)} ids, {len(self.classes)} classes)")
        _check_ids(ids)
        if not np.isfinite(proba).all():
            row = int(np.flatnonzero(~np.isfinite(proba).all(axis=1))[0])
            raise ValueError(f"probabilities of {ids[row]!r} are not finite: {proba[row][:5]}")
        if self.task == MULTILABEL:
            _check_each(ids, proba)
        else:
            _check_sums(ids, proba)
        object.__setattr__(self, "proba", proba.astype(np.float32))

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, ids: Ids) -> Predictions:
        """Return the predictions of `ids`, in that order; InputError where an id has none."""
        if np.array_equal(self.ids, ids):
            return self
        position = {image_id: row for row, image_id in enumerate(self.ids)}
        missing = [image_id for image_id in ids if image_id not in position]
        if missing:
            raise InputError(f"no prediction for {len(missing)} ids: {some(missing)}")
        rows = np.array([position[image_id] for image_id in ids], dtype=np.int64)
        return replace(self, ids=self.ids[rows], proba=self.proba[rows])


def mean_predictions(parts: list[Predictions]) -> Predictions:
    """Return the mean of predictions of the same images, joined by id.

    Raises
    ------
    ValueError
        When there is nothing to average, or the classes or tasks differ.
    """
    if not parts:
        raise ValueError("no predictions to average")
    first = parts[0]
    total = np.zeros(first.proba.shape, dtype=np.float64)  # (n_images, n_classes)
    for part in parts:
        check_same(part, first)
        total += part.proba if np.array_equal(part.ids, first.ids) else part.at(first.ids).proba
    return replace(first, proba=total / len(parts))


def concatenate(parts: list[Predictions]) -> Predictions:
    """Return predictions of different images as one."""
    for part in parts:
        check_same(part, parts[0])
    ids, proba = [part.ids for part in parts], [part.proba for part in parts]
    return replace(parts[0], ids=np.concatenate(ids), proba=np.concatenate(proba))


def check_same(predictions: Predictions, first: Predictions) -> None:
    """Refuse predictions of another task than `first`, of other classes or in another order: ValueError."""
    check_class_order(predictions, first.classes)
    if predictions.task != first.task:
        raise ValueError(f"tasks differ: {predictions.task!r} is not {first.task!r}")


def check_class_order(predictions: Predictions, classes: tuple[str, ...]) -> None:
    """Refuse predictions of other classes, or in another order: ValueError that names the first one."""
    if predictions.classes != tuple(classes):
        apart = [f"{a!r} is not {b!r}" for a, b in zip(predictions.classes, classes, strict=False) if a != b]
        raise ValueError(f"class order differs: {some(apart, 2) or 'another number of classes'}")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as parquet, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [pa.array(predictions.ids, type=pa.string())]
    columns += [pa.array(np.ascontiguousarray(column)) for column in predictions.proba.T]
    table = pa.table(columns, names=["id", *_column_names(predictions.classes)])
    table = table.replace_schema_metadata({TASK_KEY: predictions.task})
    with write_atomic(path) as file:
        pq.write_table(table, file, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """Read predictions written by `write_predictions`.

    Raises
    ------
    InputError
        When the file cannot be read or is not a table of predictions.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # read_table takes three times as long for a small file
            table = file.read(use_threads=path.stat().st_size > THREADED_BYTES)
        names = table.column_names
        proba = np.column_stack([table.column(i).to_numpy() for i in range(1, len(names))])
        task = (table.schema.metadata or {}).get(TASK_KEY, MULTICLASS.encode()).decode()
        classes = tuple(name.removeprefix("class:") for name in names[1:])
        return Predictions(table.column(0).to_numpy(), classes, proba, task)
    except (OSError, pa.ArrowException, ValueError, IndexError) as error:
        raise DamagedFile(f"{path}: cannot be read as predictions ({error}); {remedy_for(path)}") from error


def _column_names(classes: tuple[str, ...]) -> list[str]:
    """Keep a class named "id" apart from the id column."""
    return [f"class:{name}" for name in classes]


def _check_sums(ids: Ids, proba: Proba) -> None:
    """Refuse rows that are no distribution."""
    _check_each(ids, proba)
    if len(ids) and np.abs(proba.sum(axis=1) - 1).max() > SUM_TOLERANCE:
        row = int(np.abs(proba.sum(axis=1) - 1).argmax())
        raise ValueError(
            f"probabilities must be 0..1 and sum to 1; those of {ids[row]!r} sum to {proba[row].sum():.4f}"
        )


def _check_each(ids: Ids, proba: Proba) -> None:
    """Refuse values that are no probability."""
    far = (proba < -SUM_TOLERANCE) | (proba > 1 + SUM_TOLERANCE)
    if far.any():
        row, column = (int(axis[0]) for axis in np.nonzero(far))
        raise ValueError(f"probabilities must be 0..1; one of {ids[row]!r} is {proba[row, column]:.4f}")


def _check_ids(ids: Ids) -> None:
    """Refuse ids that repeat or are not text."""
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        repeated = [image_id for image_id in ids if image_id in seen or seen.add(image_id)]
        raise ValueError(f"ids repeat: {some(repeated)}")
    if not all(isinstance(image_id, str) for image_id in ids[:1000]):
        raise ValueError("ids must be text: '000001' keeps its zeros")
