"""Embeddings: the features that the organisers gave, in the image table's order.

Reads the ``.npy`` file that ``[data] embeddings`` names and the CSV that lists the unlabelled images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.shapes import Vectors
from kit.data.table.listing import list_paths
from kit.data.table.sources import find_file, name_key


def read_embeddings(competition: Competition, table: pd.DataFrame) -> Vectors | None:
    """Read the features that the organisers gave.

    The array's rows are those of the CSV that lists the unlabelled images, in the CSV's order (an image that the
    table holds as labelled or test one is found by its file); or else those of the whole image table, in its order.

    Returns
    -------
    Vectors or None
        Float32, a row per row of the table, NaN where an image has none; None where ``[data] embeddings`` names no
        file.

    Raises
    ------
    InputError
        When the file is missing or no array, has another number of rows, or a row is all zero or not finite; with mined
        labels, where no CSV says which row is whose.
    """
    if competition.data.embeddings is None:
        return None
    file = find_file(competition, "embeddings", competition.data.embeddings)
    given = _load_array(file)
    listing = competition.data.unlabeled if isinstance(competition.data.unlabeled, Listing) else None
    listed = list_paths(competition, "unlabeled", listing) if listing and listing.csv else []
    if listed and len(given) == len(listed):
        return _pick_rows(given, listed, table["path"].tolist())
    if competition.data.labels_are_mined:
        key = name_key(competition, "unlabeled")
        n_rows = f"its {len(listed)} rows are not the {len(given)} of {file}" if listed else "it is no CSV listing"
        raise InputError(
            f"{key}: {n_rows}; mined labels change the table's order, so embeddings need "
            'unlabeled = { csv = "...", images = "..." } with one row for each of theirs, in their order'
        )
    if len(given) != len(table):
        wanted = f"{len(table)} images in the table" + (f" or {len(listed)} rows in {listing.title}" if listing else "")
        key = name_key(competition, "embeddings")
        raise InputError(f"{file}: {len(given)} rows for {wanted}; {key} wants one row each")
    return given


def _pick_rows(given: Vectors, listed: list[str | None], paths: list[str]) -> Vectors:
    """Return the rows of `given` (n_listed, n_dims) in the order of `paths`, NaN where a path is not listed."""
    row_of = {path: row for row, path in enumerate(listed)}
    rows = np.array([row_of.get(path, -1) for path in paths], dtype=np.int64)
    embeddings = given[rows]  # (n_images, n_dims)
    embeddings[rows < 0] = np.nan
    return embeddings


def _load_array(file: Path) -> Vectors:
    """Load (n_rows, n_dims) features as float32; refuse a row that is zero or not finite."""
    try:
        given = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file}: not an array in numpy's .npy form ({error})") from error
    if not isinstance(given, np.ndarray) or given.ndim != 2 or given.dtype.kind not in "fiu":
        raise InputError(f"{file}: embeddings must be one .npy array of numbers, (n_images, n_dims)")
    given = given.astype(np.float32)
    for bad, what in ((~np.isfinite(given).all(axis=1), "not finite"), (~given.any(axis=1), "all zero")):
        if bad.any():
            rows = np.flatnonzero(bad)
            raise InputError(f"{file}: row {some(rows)} (counted from 0) is {what}; every row needs a feature")
    return given
