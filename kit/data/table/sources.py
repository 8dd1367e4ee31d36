"""What a key of ``[data]`` points to: a folder, an archive, a file, or the images that a CSV lists.

Reads competition.toml's words and looks them up below the data root; writes nothing but unpacked archives, below
``runs/NAME/unpacked``.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path

import pandas as pd

from kit.config.competition import Competition, Mining
from kit.config.data import Listing
from kit.core.errors import InputError, nearest, some
from kit.core.files import key_of
from kit.core.names import MULTILABEL, PROGRAM
from kit.core.terminal import warn
from kit.data.table.labels import read_label_lists
from kit.data.table.scan import (
    extract_archive,
    is_archive,
    is_image,
    is_visible,
    read_column,
    read_csv,
    refuse_empty,
    scan_files,
    strip_suffix,
)


def name_key(competition: Competition, key: str) -> str:
    """Return a key of ``[data]``, or of ``[mining]`` where that has it, as messages name it."""
    table = "mining" if key in Mining.model_fields else "data"
    return f"{competition.file}: [{table}] {key}"


def list_folders(source: str | list[str] | tuple[str, ...] | Listing | None) -> list[str]:
    """Return the folders that a source names."""
    if isinstance(source, Listing):
        return [source.images]
    return [source] if isinstance(source, str) else list(source or ())


def check_root(competition: Competition) -> None:
    """Refuse a data folder, ``[data] root``, that is missing or a file: InputError that says how to get it."""
    root = competition.root
    if root.is_dir():
        return
    slug = competition.facts.slug
    fetch = competition.command("download") if competition.is_known else f"{PROGRAM} download {slug}"
    remedy = f"fetch it with {fetch}" if slug else "put the competition's files there"
    if (competition.folder / "README.md").is_file():
        remedy += f", as {competition.folder / 'README.md'} says"
    what = "is a file, not a folder" if root.exists() else "is not there"
    raise InputError(f"{name_key(competition, 'root')} = {competition.data.root!r}: {root} {what}; {remedy}")


def find_folder(competition: Competition, key: str, text: str) -> Path:
    """Return the folder that a key of ``[data]`` names, links resolved; an archive is unpacked first.

    InputError where it is not there, is another kind of file, or cannot be unpacked.
    """
    path = _locate(competition, key, text)
    if path.is_dir():
        return path.resolve()
    if is_archive(path.name):
        status = path.stat()
        name = f"{path.name}-{key_of(status.st_size, status.st_mtime_ns)}"  # another archive, another folder
        return extract_archive(path, competition.workspace.runs(competition.name) / "unpacked" / name)
    remedy = f' ({key} = {{ csv = "{text}", images = "..." }} reads a CSV)' if text.endswith(".csv") else ""
    raise InputError(f"{name_key(competition, key)} = {text!r} is a file; name a folder or an archive{remedy}")


def find_file(competition: Competition, key: str, text: str) -> Path:
    """Return the file that a key of ``[data]`` names; InputError where it is not there or is a folder."""
    path = _locate(competition, key, text)
    if path.is_dir():
        raise InputError(f"{name_key(competition, key)} = {text!r} is a folder; name a file")
    return path


def read_listing(competition: Competition, split: str, listing: Listing) -> pd.DataFrame:
    """Read the images that a CSV lists.

    Returns
    -------
    pandas.DataFrame
        Columns id, path, label and group in the CSV's order, None where there is none; unlabelled rows without a file
        are left out and warned of. With several labels per image a label is a list of names.

    Raises
    ------
    InputError
        When a column or a file is missing, an id is empty, repeats or fits two files, or a label is empty or in doubt.
    """
    key = name_key(competition, split)
    file = find_file(competition, f"{split}.csv", listing.csv)
    folder = find_folder(competition, f"{split}.images", listing.images)
    rows = read_csv(file)
    if rows.empty:
        raise InputError(f"{file}: a header and no rows; {key} needs a row per image")
    ids = read_column(rows, id_column(rows, listing), f"{key}.id", file)
    labels = groups = None
    if split == "labeled" and competition.facts.task == MULTILABEL:
        refuse_empty(ids, file, "id")
        rows, labels = read_label_lists(rows, id_column(rows, listing), listing, key, file)
        ids = ids.loc[rows.index]
    _check_ids(ids, file)
    if split == "labeled" and labels is None:
        labels = _read_labels(rows, ids, listing, key, file)
    if listing.group is not None:
        groups = [group or None for group in read_column(rows, listing.group, f"{key}.group", file)]
    names = _find_images(ids, folder, file, strict=split != "unlabeled")
    paths = [name and f"{folder}/{name}" for name in names]
    table = pd.DataFrame({"id": ids, "path": paths, "label": labels, "group": groups}, dtype=object)
    return table.loc[table["path"].notna()]


def list_unnamed(competition: Competition, paths: Iterable[str]) -> list[str]:
    """Return the image files in the listings' folders that are not among the paths of the image table, sorted.

    The paths are those of all splits together: listings may share a folder.
    """
    named, unnamed = set(paths), set()
    data = competition.data
    sources = [("labeled", source) for source in data.labeled_sources]
    for split, listing in [*sources, ("unlabeled", data.unlabeled), ("test", data.test)]:
        if isinstance(listing, Listing):
            folder = find_folder(competition, f"{split}.images", listing.images)
            unnamed |= {f"{folder}/{name}" for name in scan_files(folder) if is_image(name)} - named
    return sorted(unnamed)


def id_column(rows: pd.DataFrame, listing: Listing) -> str:
    """Return the name of a listing's id column; an index that pandas wrote has no name and is none."""
    return listing.id or next(filter(None, rows.columns), "")


def _locate(competition: Competition, key: str, text: str) -> Path:
    """Return an existing path, or say what lies there instead."""
    check_root(competition)
    path = competition.root / text
    if path.exists():
        return path
    folder = next(parent for parent in path.parents if parent.is_dir())
    wanted = path.relative_to(folder).parts[0]
    names = [inside.name for inside in folder.iterdir() if is_visible(inside.name)]
    cause = f"{wanted!r} is not in {folder}; {nearest(wanted, names)}"
    raise InputError(f"{name_key(competition, key)} = {text!r}: {cause}")


def _read_labels(rows: pd.DataFrame, ids: pd.Series, listing: Listing, key: str, file: Path) -> pd.Series:
    """Return the column of classes: the second one where none is named."""
    named = [name for name in rows.columns if name]
    if listing.label is None and len(named) < 2:
        raise InputError(f"{file}: one column only, {some(named)!r}; is it separated by commas?")
    labels = read_column(rows, listing.label if isinstance(listing.label, str) else named[1], f"{key}.label", file)
    if labels.name == ids.name:
        raise InputError(f"{key}: column {ids.name!r} is both id and label; name the label's column")
    refuse_empty(labels, file, "label")
    return labels


def _check_ids(ids: pd.Series, file: Path) -> None:
    """Refuse ids that are empty or repeat."""
    refuse_empty(ids, file, "id")
    if repeated := _list_repeated(ids):
        (first, rows), *others = repeated.items()
        more = f" ({len(others)} more ids repeat)" if others else ""
        raise InputError(f"{file}: id {first!r} stands in rows {some(rows)}; an image has one row{more}")


def _find_images(ids: pd.Series, folder: Path, file: Path, strict: bool) -> list[str | None]:
    """Return the file of every id, relative to `folder`; an id may leave out the suffix."""
    names = scan_files(folder)
    exact = set(names)
    images = sorted(filter(is_image, names))
    by_stem = {strip_suffix(name): name for name in images}
    files = [image_id if image_id in exact else by_stem.get(image_id) for image_id in ids]
    if len(by_stem) < len(images):
        _refuse_twins(ids.loc[~ids.isin(exact)], images, folder, file)
    if None in files:
        files = _join_forms(ids, files, images)
    if None in files:
        missing = ids.loc[[name is None for name in files]]
        _report_missing(missing, names, folder, file, strict or len(missing) == len(ids))
    _refuse_same_file(ids, files, file)
    return files


def _join_forms(ids: pd.Series, files: list[str | None], images: list[str]) -> list[str | None]:
    """Find the images of ids that lack one by names of another Unicode form, as macOS writes an accent, if only one."""
    by_form: dict[str, list[str]] = {}
    for name in images:
        for form in {name, strip_suffix(name)}:
            by_form.setdefault(unicodedata.normalize("NFC", form), []).append(name)
    same = [by_form.get(unicodedata.normalize("NFC", image_id), ()) for image_id in ids]
    return [name or (named[0] if len(named) == 1 else None) for name, named in zip(files, same, strict=True)]


def _refuse_twins(ids: pd.Series, images: list[str], folder: Path, file: Path) -> None:
    """Refuse an id that fits two files."""
    n_files = Counter(map(strip_suffix, images))
    for row, image_id in ids.items():
        if n_files[image_id] > 1:
            pair = [name for name in images if strip_suffix(name) == image_id]
            cause = f"id {image_id!r} fits {some(pair)} of {folder}; remove one or write its suffix"
            raise InputError(f"{file}: row {row}: {cause}")


def _report_missing(missing: pd.Series, names: list[str], folder: Path, file: Path, strict: bool) -> None:
    """Refuse ids without a file, or warn of them; hint at a file of that name elsewhere below."""
    shown = some(f"{image_id!r} (row {row})" for row, image_id in missing.items())
    wanted = strip_suffix(missing.iloc[0]).rpartition("/")[2]
    near = next((name for name in names if strip_suffix(name).rpartition("/")[2] == wanted), None)
    hint = f"there is {near!r}" if near else "an id is a path below that folder, its suffix optional"
    text = f"{file}: no image in {folder} for {shown}; {hint}"
    if strict:
        raise InputError(f"{text}: put the image there, mend the id or take the row out")
    warn(f"{text}; left out ({len(missing)} rows)")


def _refuse_same_file(ids: pd.Series, files: list[str | None], file: Path) -> None:
    """Refuse two ids of one file."""
    if repeated := _list_repeated(pd.Series(files, index=ids.index, dtype=object).dropna()):
        image, rows = next(iter(repeated.items()))
        cause = f"ids {some(map(repr, ids.loc[rows]))} are one file, {image!r}"
        raise InputError(f"{file}: rows {some(rows)}: {cause}; remove one row")


def _list_repeated(cells: pd.Series) -> dict[str, list[Hashable]]:
    """Return the values that stand in several cells, each with its rows, in the order of the cells."""
    rows: dict[str, list[Hashable]] = {}
    for row, cell in cells.items():
        rows.setdefault(cell, []).append(row)
    return {cell: where for cell, where in rows.items() if len(where) > 1}
