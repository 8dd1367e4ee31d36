"""Exclusion: labelled images that a run does not train on, or trains on less; their rows stay in the oof.

Reads the CSV that a run's `exclude` names: what a human has decided of what `triage` laid out.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.engine.elsewhere import list_places
from kit.core.errors import InputError, some
from kit.core.files import key_of
from kit.data.images import Images, ids_of
from kit.data.prepared import Prepared
from kit.data.table.scan import read_column, read_csv


def read_exclusion(prepared: Prepared, run: Run) -> dict[str, float]:
    """Return the weight, 0..1, that a run gives to each image of its `exclude` file; empty where it names none.

    A file that is not there, an image that is not labelled and a weight that is no such number raise InputError.
    """
    if run.exclude is None:
        return {}
    path = find_excluded(prepared, run, run.exclude)
    table = read_csv(path)
    ids = read_column(table, "id", "exclude", path)
    known = set(prepared.pool.ids[prepared.labeled])
    if unknown := [image_id for image_id in ids if image_id not in known]:
        raise InputError(f"{path}: no labelled image has the id {some(map(repr, unknown))}; triage's CSV has them all")
    weights = [0.0] * len(table)
    if "weight" in table:
        weights = [_weight(path, row, text) for row, text in read_column(table, "weight", "exclude", path).items()]
    return dict(zip(ids, weights, strict=True))


def describe_exclusion(prepared: Prepared, run: Run) -> dict[str, Any] | None:
    """Return what run.json keeps of a run's `exclude`: the file's name, how many weigh below 1, and their key."""
    if run.exclude is None:
        return None
    weight_of = read_exclusion(prepared, run)
    n_images = sum(weight < 1 for weight in weight_of.values())
    return {"file": Path(run.exclude).name, "n_images": n_images, "key": key_of(sorted(weight_of.items()))}


def leave_out(prepared: Prepared, run: Run, labeled: Images) -> Images:
    """Return the images that a run trains on, each with its weight; InputError where a class would have none left."""
    weight_of = read_exclusion(prepared, run)
    if run.exclude is None or not weight_of:
        return labeled
    factors = np.array([weight_of.get(image_id, 1.0) for image_id in ids_of(labeled)], dtype=np.float32)
    kept = np.flatnonzero(factors > 0)
    left = replace(labeled.take(kept), weights=labeled.weights[kept] * factors[kept])
    gone = _classes_in(labeled) - _classes_in(left)
    if gone:
        names = [labeled.classes[code] for code in sorted(gone)]
        path = find_excluded(prepared, run, run.exclude)
        raise InputError(f"{path}: excludes every training image of {some(names)}; keep some of them")
    return left


def _classes_in(images: Images) -> set[int]:
    """Return the codes of the classes that have an image."""
    codes = np.flatnonzero((images.labels == 1).any(axis=0)) if images.labels.ndim == 2 else np.unique(images.labels)
    return set(codes.tolist())


def find_excluded(prepared: Prepared, run: Run, exclude: str) -> Path:
    """Return the file: beside competition.toml, below the data root or the workspace, or by its whole path."""
    competition = prepared.competition
    for place in list_places(exclude, competition.lookup):
        if place.is_file():
            return place
    looked = ", ".join(map(str, competition.lookup))
    key = f"{competition.file}: [runs.{run.name}] exclude = {exclude!r}"
    raise InputError(f"{key}: no such file in {looked}")


def _weight(path: Path, row: Hashable, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = np.nan
    if not 0 <= weight <= 1:
        raise InputError(f"{path}: row {row}: weight {text!r} is no number from 0 (left out) to 1")
    return weight
