"""What a file of shared runs says of itself, and whether it fits the competition here."""

from __future__ import annotations

import csv
import io
import re

from pydantic import BaseModel, ConfigDict

from kit import __version__
from kit.core.errors import InputError, some
from kit.core.files import KEY_LENGTH, csv_text
from kit.data.prepared import Prepared

FORMAT = 1
MANIFEST, FOLDS, IMAGES = "manifest.json", "folds.csv", "images.csv"
SUFFIXES = ("json", "parquet", "npy", "safetensors")  # nothing that could be executed
PLACE = re.compile(
    rf"runs/(?P<name>[A-Za-z0-9][\w-]*(?:\.\d+)?)/(?P<key>[0-9a-f]{{{KEY_LENGTH}}}|imported)/"
    rf"(?:(?:fold_\d+|refit|pairs/\d+_\d+)/)?[A-Za-z0-9][\w-]*\.(?:{'|'.join(SUFFIXES)})",
    re.ASCII,
)


class SharedRun(BaseModel):
    """Hold where a run lies, and whether it was asked for or is what another one was made from."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    key: str
    folder: str
    is_asked_for: bool


class SharedFile(BaseModel):
    """Hold a file's size in bytes and its SHA-256."""

    model_config = ConfigDict(frozen=True, strict=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """Hold what a file of shared runs says of itself.

    Parameters
    ----------
    classes
        In the order of all predictions.
    fold_key, pool_key
        Of the folds and labels, and of all images.
    runs
        Those that were asked for and all that they were made from.
    files
        By their place in the zip.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    format: int
    kit: str
    competition: str
    task: str
    classes: list[str]
    fold_key: str
    pool_key: str
    runs: list[SharedRun]
    files: dict[str, SharedFile]


def describe_folds(prepared: Prepared) -> bytes:
    """Return id, label and fold of every labelled image as CSV."""
    labels = [_spell_label(prepared, label) for label in prepared.labels]
    rows = zip(prepared.pool.ids[prepared.labeled], labels, prepared.folds.tolist(), strict=True)
    return csv_text(["id", "label", "fold"], sorted(rows))


def _spell_label(prepared: Prepared, label: object) -> str:
    """Return a label by its class, of several labels by their classes."""
    if prepared.pool.is_multilabel:
        return " ".join(name for name, has in zip(prepared.classes, list(label), strict=True) if has == 1)  # type: ignore[call-overload]
    return prepared.classes[int(label)]  # type: ignore[call-overload]


def describe_images(prepared: Prepared) -> bytes:
    """Return split, id and the digest of every labelled and every test image as CSV."""
    pool = prepared.pool
    rows = [*prepared.labeled.tolist(), *prepared.split("test").tolist()]
    return csv_text(["split", "id", "digest"], ((pool.splits[row], pool.ids[row], pool.digests[row]) for row in rows))


def check_fit(prepared: Prepared, manifest: Manifest, folds: bytes, images: bytes) -> None:
    """Refuse runs of other classes, labels, folds or images, and of a kit whose files differ; InputError says which."""
    if manifest.format != FORMAT:
        raise InputError(f"was written by kit {manifest.kit} in another form; share it again with kit {__version__}")
    if manifest.task != prepared.competition.facts.task:
        raise InputError(f"its task is {manifest.task}, not {prepared.competition.facts.task}")
    ours = list(prepared.classes)
    if manifest.classes != ours:
        way = "other classes" if set(manifest.classes) != set(ours) else "another order of classes"
        raise InputError(f"has {way}: {some(manifest.classes)}; {prepared.competition.name} has {some(ours)}")
    if manifest.fold_key != prepared.fold_key:
        raise InputError(f"was made on other folds or labels: {_compare(folds, describe_folds(prepared))}; send them "
                         f"your folds/{prepared.competition.name}.csv, or import their oof predictions")  # fmt: skip
    if manifest.pool_key != prepared.pool.key:
        images_differ = _compare(images, describe_images(prepared), "the unlabelled images differ")
        raise InputError(f"was made of other images: {images_differ}; import their oof predictions instead")


def _compare(theirs: bytes, ours: bytes, else_: str = "groups, or which folds are scored, differ") -> str:
    """Say which rows of two tables differ, by their ids."""
    rows = [list(csv.DictReader(io.StringIO(text.decode()))) for text in (theirs, ours)]
    by_id = [{(row.get("split", ""), row["id"]): row for row in table} for table in rows]
    apart = sorted(place[1] for place in {*by_id[0], *by_id[1]} if by_id[0].get(place) != by_id[1].get(place))
    return f"{len(apart)} images differ: {some(apart)}" if apart else else_
