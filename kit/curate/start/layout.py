"""Infer the layout of a folder of images: which files are labelled, unlabelled and test images.

Reads the names of files (archives are listed, not unpacked) and the CSV files beside them; unpacks the archive that it
is given. The result is a `Layout`, for a person to confirm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.terminal import note
from kit.curate.start.hints import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    LABELED,
    TEST,
    UNLABELED,
    VALIDATION,
    find_roles,
    guess_columns,
    guess_ids,
    images_in,
    match_ids,
    read_cells,
    role_of,
    subfolders,
)
from kit.curate.start.label_sets import PATH, are_paths, guess_label_sets
from kit.data.table.scan import (
    IMAGE_SUFFIXES,
    extract_archive,
    is_archive,
    is_image,
    list_archive,
    read_csv,
    scan_files,
    strip_archive,
)
from kit.data.table.sources import list_folders

SAMPLE = re.compile(r"sample.*sub|submission", re.IGNORECASE)
SOLUTION = re.compile(r"solution", re.IGNORECASE)
MAX_CSV_DEPTH = 2  # folders between the root and a CSV


@dataclass(frozen=True)
class Layout:
    """Hold what was inferred of a folder of images.

    Parameters
    ----------
    labeled, unlabeled, test
        As in ``[data]`` of competition.toml: a folder, several folders or a listing, relative to `root`.
    counts
        Images by split: labeled, unlabeled, test, validation.
    validation
        Folders of validation images, which nothing reads.
    task
        ``"multilabel"`` where a CSV gives images several labels.
    hierarchy
        The separator of labels that are paths, or None.
    """

    root: Path
    labeled: str | Listing
    classes: tuple[str, ...]
    counts: dict[str, int]
    unlabeled: str | tuple[str, ...] | None = None
    test: str | tuple[str, ...] | Listing | None = None
    validation: tuple[str, ...] = ()
    sample_submission: str | None = None
    solution: str | None = None
    task: str = MULTICLASS
    hierarchy: str | None = None


SourceT = TypeVar("SourceT", bound=str | tuple[str, ...] | Listing | None, covariant=True)


@dataclass(frozen=True)
class _Images(Generic[SourceT]):
    """Hold where images lie, which they are and, of labelled ones, their classes."""

    source: SourceT
    names: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    task: str = MULTICLASS


def infer_layout(data: Path, unpack_to: Path | None = None) -> Layout:
    """Infer which files of a folder are labelled, unlabelled and test images.

    Labels are class folders (``train/<class>/``, ``<class>/``) or a CSV whose ids are image files; where both are there
    and name different classes, the CSV is believed. Folders are recognised by the words of their names.

    Parameters
    ----------
    data
        A folder, or a zip or tar archive.
    unpack_to
        Where an archive is unpacked: the workspace's ``data/NAME``.

    Raises
    ------
    InputError
        When there is no file, no image, or nothing that labels images; the message tells what was looked for.
    """
    root = _open_root(data, unpack_to)
    files = scan_files(root)
    names = [*filter(is_image, files), *_list_archived(root, files)]
    if not names:
        what = f"no images ({', '.join(IMAGE_SUFFIXES)}); found {_show(root)}" if files else "no files"
        raise InputError(f"{root}: holds {what}; give the folder that holds the competition's images")
    tables, complaints = _read_tables(root, files)
    roles, sample = find_roles(names), _highest(tables, SAMPLE)
    labeled = _find_labeled(names, roles, tables)
    if labeled.source is None:
        raise complaints[0] if complaints else _no_labels(root)
    test = _find_test(names, roles, tables, sample, labeled.names)
    pool = _find_pool(names, roles, labeled, test)
    validation = _Images(tuple(roles[VALIDATION]), images_in(names, roles[VALIDATION]))
    _refuse_beside(root, labeled.source, validation.source)
    for source in (labeled.source, pool.source, test.source):
        _refuse_inside_archives(root, list_folders(source))
    splits = {LABELED: labeled, UNLABELED: pool, TEST: test, VALIDATION: validation}
    return Layout(
        root=root,
        labeled=labeled.source,
        classes=tuple(sorted(labeled.classes)),
        counts={split: len(images.names) for split, images in splits.items()},
        unlabeled=pool.source,
        test=test.source,
        validation=validation.source,
        sample_submission=sample,
        solution=_highest(tables, SOLUTION),
        task=labeled.task,
        hierarchy=PATH if labeled.task == MULTILABEL and are_paths(labeled.classes) else None,
    )


def _open_root(data: Path, unpack_to: Path | None) -> Path:
    """Return the folder to look at; an archive is unpacked."""
    if data.is_dir():
        return data.resolve()
    if not data.exists():
        raise InputError(f"{data}: no such folder or archive")
    if not is_archive(data.name) or unpack_to is None:
        raise InputError(f"{data}: is a file; give a folder of images{' or an archive' if unpack_to else ''}")
    if unpack_to.exists():
        note(f"{unpack_to} is there already and read as it is; remove it to unpack {data.name} again")
    return extract_archive(data, unpack_to).resolve()


def _list_archived(root: Path, files: list[str]) -> list[str]:
    """Return the images inside archives, as if each were a folder; those unpacked beside are left out."""
    images = []
    for archive in filter(is_archive, files):
        if not any(name.startswith(f"{strip_archive(archive)}/") for name in files):
            images += [f"{archive}/{name}" for name in list_archive(root / archive) if is_image(name)]
    return images


def _read_tables(root: Path, files: list[str]) -> tuple[dict[str, pd.DataFrame], list[InputError]]:
    """Read the CSV files; also return what is wrong with unreadable ones, to be told where no file has labels."""
    tables, complaints = {}, []
    for file in sorted(files):
        if file.lower().endswith(".csv") and file.count("/") <= MAX_CSV_DEPTH:
            try:
                tables[file] = read_csv(root / file)
            except InputError as error:
                complaints.append(error)
    return tables, complaints


def _highest(tables: dict[str, pd.DataFrame], pattern: re.Pattern[str]) -> str | None:
    """Return the CSV with such a name, the one highest up."""
    named = [file for file in tables if pattern.search(Path(file).name)]
    return min(named, key=lambda file: (file.count("/"), file), default=None)


def _find_labeled(
    names: list[str], roles: dict[str, list[str]], tables: dict[str, pd.DataFrame]
) -> _Images[str | Listing | None]:
    """Return the labelled images; a CSV is believed where class folders name other classes."""
    folders, listed = _find_class_folders(names, roles), _find_listed(names, roles, tables)
    return listed if listed.names and listed.classes != folders.classes else folders


def _find_class_folders(names: list[str], roles: dict[str, list[str]]) -> _Images[str | None]:
    """Return the images in class folders: below the labelled folder with most images, else wherever there are any."""
    taken = {*roles[UNLABELED], *roles[TEST], *roles[VALIDATION]}
    for folder in sorted(roles[LABELED], key=lambda path: -len(images_in(names, [path]))) or ["."]:
        while len(inside := [path for path in subfolders(names, folder) if path not in taken]) == 1:
            folder = inside[0]
        inside = [path for path in inside if not is_archive(path)]
        if inside:
            classes = {path.rpartition("/")[2] for path in inside}
            start = 0 if folder == "." else len(folder) + 1
            inner = {name for name in images_in(names, [folder]) if name[start:].partition("/")[0] in classes}
            return _Images(folder, inner, classes)
    return _Images(None)


def _find_listed(
    names: list[str], roles: dict[str, list[str]], tables: dict[str, pd.DataFrame]
) -> _Images[Listing | None]:
    """Return the images of the CSV that labels most."""
    avoid = [*roles[TEST], *roles[VALIDATION], *roles[UNLABELED]]
    listed: list[_Images[Listing | None]] = []
    for file, table in tables.items():
        if SAMPLE.search(Path(file).name) or SOLUTION.search(file) or role_of(file) not in (LABELED, None):
            continue
        if several := _find_label_sets(names, roles, file, table, avoid):
            listed.append(several)
            continue
        for image_id, label in guess_columns(table):
            match = match_ids(read_cells(table, image_id), names, avoid, prefer=roles[LABELED])
            labels = [cell for cell in read_cells(table, label) if cell.strip()]
            if match and 1 < len(set(labels)) < len(labels):
                listing = Listing(csv=file, images=match[0], id=image_id, label=label)
                listed.append(_Images(listing, match[1], set(labels)))
                break
    return max(listed, key=lambda images: len(images.names), default=_Images(None))


def _find_label_sets(
    names: list[str], roles: dict[str, list[str]], file: str, table: pd.DataFrame, avoid: list[str]
) -> _Images[Listing] | None:
    """Return the images that a CSV gives several labels, or None."""
    for image_id in guess_ids(table):
        several = guess_label_sets(table, image_id)
        match = several and match_ids(read_cells(table, image_id), names, avoid, prefer=roles[LABELED])
        if several and match:
            keys, classes = several
            return _Images(Listing(csv=file, images=match[0], id=image_id, **keys), match[1], classes, MULTILABEL)
    return None


def _find_test(
    names: list[str],
    roles: dict[str, list[str]],
    tables: dict[str, pd.DataFrame],
    sample: str | None,
    labeled: set[str],
) -> _Images[str | tuple[str, ...] | Listing | None]:
    """Return the test images: in a folder of that name, else those that a test CSV or the sample submission lists."""
    if roles[TEST]:
        return _Images(_one_or_all(roles[TEST]), images_in(names, roles[TEST]))
    others = [*roles[LABELED], *roles[VALIDATION], *roles[UNLABELED]]
    listings = [file for file in tables if role_of(file) == TEST]
    for file in [*listings, *([sample] if sample else [])]:
        for image_id in guess_ids(tables[file]):
            ids = read_cells(tables[file], image_id)
            match = match_ids(ids, names, others) or match_ids(ids, names)
            if match and not match[1] & labeled:
                return _Images(Listing(csv=file, images=match[0], id=image_id), match[1])
    return _Images(None)


def _find_pool(
    names: list[str], roles: dict[str, list[str]], labeled: _Images[Any], test: _Images[Any]
) -> _Images[str | tuple[str, ...] | None]:
    """Return the unlabelled images: in folders of that name, else those of the labelled images' folder in no CSV."""
    folders = roles[UNLABELED]
    if not folders and isinstance(labeled.source, Listing) and labeled.source.images != ".":
        folders = [labeled.source.images]
    images = images_in(names, folders) - labeled.names - test.names
    return _Images(_one_or_all(folders), images) if images else _Images(None)


def _one_or_all(folders: list[str]) -> str | tuple[str, ...]:
    """Return one folder as text, several as they are."""
    return folders[0] if len(folders) == 1 else tuple(folders)


def _no_labels(root: Path) -> InputError:
    """Return the error where nothing labels the images."""
    return InputError(
        f"{root}: no labels found: neither class folders (train/<class>/, or <class>/) nor a CSV with a "
        f"column of image names ({some(ID_COLUMNS, 3)}, ...) and one of classes ({some(LABEL_COLUMNS, 3)}, ...); "
        f"found {_show(root)}"
    )


def _refuse_beside(root: Path, labeled: str | Listing, validation: tuple[str, ...]) -> None:
    """Refuse class folders beside a folder of validation images: it would be read as one more class."""
    beside = [path for path in validation if (path.rpartition("/")[0] or ".") == labeled]
    if beside:
        remedy = "move the class folders into a folder of their own, such as train/"
        raise InputError(f"{root}: the class folders lie beside {some(beside)}; {remedy}")


def _refuse_inside_archives(root: Path, folders: list[str]) -> None:
    """Refuse folders that lie inside an archive: only whole archives are unpacked."""
    for path in folders:
        for above in PurePosixPath(path).parents:
            if is_archive(above.name):
                remedy = f"unpack it, or give it instead of the folder: --data {root / above}"
                raise InputError(f"{root}: the images lie in {path!r}, inside {above}; {remedy}")


def _show(root: Path) -> str:
    """Return the first entries of a folder, for a message."""
    return some(sorted(f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir()), 8)
