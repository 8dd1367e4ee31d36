"""Find the exemplars, the few images that stand for a class, in the image table.

Reads ``[mining]`` of competition.toml, a CSV of exemplars and the sample submission's header; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kit.config.competition import Competition, Mining
from kit.core.errors import InputError, nearest, some
from kit.core.shapes import Rows, Vectors
from kit.data.table import read_classes
from kit.data.table.scan import read_csv, strip_suffix
from kit.data.table.sources import find_file

EXEMPLAR_COLUMNS = ("id", "label")


@dataclass(frozen=True)
class Exemplar:
    """Name an image, by its id or as a file below the data root, its class, and the place where both are written."""

    image: str
    label: str
    place: str


def mining_plan(competition: Competition) -> Mining:
    """Return ``[mining]`` of competition.toml; InputError where there is no such table."""
    if competition.mining is None:
        raise InputError(
            f'{competition.file}: no table [mining]; write one with exemplars = {{ class = "image id" }} or '
            'exemplars = "exemplars.csv"'
        )
    return competition.mining


def read_exemplars(competition: Competition) -> list[Exemplar]:
    """Read the exemplars of a competition, from competition.toml or from the CSV that it names.

    Raises
    ------
    InputError
        When there is no table ``[mining]``, the CSV lacks a column, an image stands for two classes, or there are fewer
        than two classes.
    """
    file, named = competition.file, mining_plan(competition).exemplars
    written = _read_listed(competition, named) if isinstance(named, str) else _read_written(file, named)
    exemplars = list({(each.image, each.label): each for each in written}.values())
    classes: dict[str, str] = {}
    for each in exemplars:
        if classes.setdefault(each.image, each.label) != each.label:
            raise InputError(
                f"{each.place}: image {each.image!r} stands for {classes[each.image]!r} and {each.label!r}; "
                "an exemplar shows one class"
            )
    if len(set(classes.values())) < 2:
        only = some(set(classes.values())) or "none"
        raise InputError(f"{file}: [mining] exemplars: two classes or more must have one; named: {only}")
    return exemplars


def check_exemplar_classes(competition: Competition, table: pd.DataFrame, exemplars: list[Exemplar]) -> None:
    """Refuse an exemplar of a class that neither the labels nor the sample submission's columns know."""
    known = read_classes(table) or _submitted_classes(competition)
    for each in exemplars:
        if known and each.label not in known:
            raise InputError(f"{each.place}: {each.label!r} is no class; {nearest(each.label, known)}")


def place_exemplars(
    competition: Competition, table: pd.DataFrame, exemplars: list[Exemplar]
) -> tuple[pd.DataFrame, Rows]:
    """Find the exemplars in the image table; where an id is in several splits, the first row counts.

    Return the table, with a row of the split ``exemplar`` for each exemplar that is a file beside it, and the
    exemplars' positions in it.

    Raises
    ------
    InputError
        When an exemplar is neither; the message names the nearest id.
    """
    by_id: dict[str, int] = {}
    for row, image_id in enumerate(table["id"]):
        by_id.setdefault(image_id, row)
    by_path = {path: row for row, path in enumerate(table["path"])}
    added, rows = [], []
    for each in exemplars:
        path = (competition.root / each.image).resolve()
        row = by_id.get(each.image, by_path.get(str(path), by_id.get(strip_suffix(each.image))))
        if row is None and path.is_file():
            row = by_path[str(path)] = len(table) + len(added)
            added.append({"id": each.image, "path": str(path), "label": None, "split": "exemplar", "group": None})
        if row is None:
            raise InputError(
                f"{each.place}: exemplar {each.image!r} of class {each.label!r} is not in the image table, nor a file "
                f"below {competition.root}; {nearest(each.image, by_id)}"
            )
        rows.append(row)
    if added:
        table = pd.concat([table, pd.DataFrame(added, dtype=object)], ignore_index=True)
    return table, np.array(rows, dtype=np.int64)


def check_embedded(competition: Competition, embeddings: Vectors | None, exemplars: list[Exemplar], rows: Rows) -> None:
    """Refuse exemplars of which the organisers gave no embedding, where embeddings are compared.

    An embedding is NaN where an image has none. The position of a file beside the table comes after its end.
    """
    remedy = 'name an encoder, such as encoder = "timm:resnet50"'
    if embeddings is None:
        raise InputError(
            f'{competition.file}: [mining] encoder = "given" (the default) compares the organisers\' '
            f"embeddings, and [data] embeddings names none; {remedy}"
        )
    for each, row in zip(exemplars, rows, strict=True):
        if row >= len(embeddings) or np.isnan(embeddings[row]).any():
            raise InputError(
                f"{each.place}: the organisers gave no embedding of exemplar {each.image!r}; name an image of which "
                f"they did, or in [mining] {remedy}"
            )


def _read_written(file: object, named: dict[str, str | list[str]]) -> list[Exemplar]:
    """Return the exemplars of a table of competition.toml."""
    exemplars = []
    for label, images in named.items():
        place = f"{file}: [mining] exemplars.{label}"
        if not images:
            raise InputError(f"{place}: names no image; every class needs an exemplar")
        exemplars += [Exemplar(image, label, place) for image in ([images] if isinstance(images, str) else images)]
    return exemplars


def _read_listed(competition: Competition, name: str) -> list[Exemplar]:
    """Return the exemplars of a CSV."""
    if not (competition.root / name).exists() and (beside := competition.folder / name).is_file():
        file = beside
    else:
        file = find_file(competition, "exemplars", name)
    rows = read_csv(file)
    for column in EXEMPLAR_COLUMNS:
        if column not in rows.columns:
            raise InputError(f"{file}: no column {column!r}; exemplars are listed as {','.join(EXEMPLAR_COLUMNS)}")
    for column in EXEMPLAR_COLUMNS:
        if empty := [row for row, cell in zip(rows.index, rows[column], strict=True) if not cell.strip()]:
            raise InputError(f"{file}: row {some(empty)}: the {column} is empty; fill it in or remove the row")
    pairs = zip(rows.index, rows["id"], rows["label"], strict=True)
    return [Exemplar(image, label, f"{file}, row {row}") for row, image, label in pairs]


def _submitted_classes(competition: Competition) -> tuple[str, ...]:
    """Return the classes that a sample submission has a column for; none where it has a single column of labels."""
    if competition.data.sample_submission is None:
        return ()
    columns = read_csv(find_file(competition, "sample_submission", competition.data.sample_submission)).columns[1:]
    return tuple(columns) if len(columns) > 1 else ()
