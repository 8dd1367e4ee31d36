"""The image table: one row per image, with its id, file, class, split and group.

Reads the folders, archives and CSV files that ``[data]`` of competition.toml names. Rows are ordered by split and id,
never by what the file system happens to list first. Ids and labels are text, exactly as written: a class ending in a
space keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.terminal import note, warn
from kit.data.images import SPLITS
from kit.data.table.archives import strip_archive
from kit.data.table.labels import join_labels, split_labels
from kit.data.table.listing import read_listing
from kit.data.table.merging import as_list, join_sources, merge_classes
from kit.data.table.naming import name_images
from kit.data.table.scan import IMAGE_SUFFIXES, describe_others, is_image, is_visible, scan_files
from kit.data.table.sources import check_root, find_folder, list_folders, name_key
from kit.data.table.tree import read_lineage

TABLE_COLUMNS = ["id", "path", "label", "split", "group"]
MANY_OTHERS = 0.1  # of a folder's files that are no images: more than notes that somebody left there
MIN_IMAGES_PER_CLASS = 2  # one to learn from and one to score, in different folds


def read_table(competition: Competition) -> pd.DataFrame:
    """Read the image table of a competition.

    An image's id is its file's name without suffix where that is unique within the split, else its path without
    suffix (``cat/1``), for all images of the split alike; in a CSV listing it is the CSV's own text. Unlabelled images
    that are labelled or test images too are left out of the pool. Embedded data must have been written already.

    Returns
    -------
    pandas.DataFrame
        Columns id, path (absolute), label (None where there is none), split (labeled, unlabeled or test) and group
        (None where there is none), all text; labelled rows first, then unlabelled, then test, each sorted by id. With
        several labels per image a label is a cell of `kit.data.table.labels`, parents among the labels.

    Raises
    ------
    InputError
        When a folder, file or column is missing, or most images of a listing; a CSV cannot be read, an id repeats or
        fits two files, a label is empty, or fewer than two classes have two images; names the key of competition.toml
        or the CSV's row. Where there is a hierarchy, also when a label does not fit it.
    """
    check_root(competition)
    _check_mined(competition)
    table = _read_splits(competition, SPLITS)
    check = _check_label_sets if competition.facts.task == MULTILABEL else _check_classes
    check(competition, table["label"].dropna().tolist())
    return _leave_out_known(table)


def read_pool(competition: Competition) -> pd.DataFrame:
    """Read the unlabelled and the test images alone, as `read_table` does: what there is before any label.

    InputError as of `read_table`, and where no unlabelled image is left.
    """
    check_root(competition)
    if competition.data.unlabeled in (None, []):
        raise InputError(f"{name_key(competition, 'unlabeled')} names no images, so there are none to look through")
    table = _leave_out_known(_read_splits(competition, SPLITS[1:]))
    if "unlabeled" not in set(table["split"]):
        raise InputError(f"{name_key(competition, 'unlabeled')}: every unlabelled image is a test image too")
    return table


def read_test(competition: Competition) -> pd.DataFrame:
    """Read the test images alone, as `read_table` does: what a code competition gives its notebooks.

    InputError as of `read_table`, and where there is no test image.
    """
    check_root(competition)
    if competition.data.test in (None, []):
        raise InputError(f"{name_key(competition, 'test')} names no images, so there is nothing to predict")
    return _read_splits(competition, SPLITS[2:])


def _read_splits(competition: Competition, splits: tuple[str, ...]) -> pd.DataFrame:
    """Read the images of some splits, one split after the other, each sorted by id."""
    parts, sources = [], {"unlabeled": competition.data.unlabeled, "test": competition.data.test}
    for split in splits:
        source = sources.get(split)
        if split == "labeled":
            part = _read_labeled(competition)
        elif isinstance(source, Listing):
            part = read_listing(competition, split, source)
        elif source is not None and source != []:
            part = _read_folders(competition, split, list_folders(source))
        else:
            continue
        parts.append(part.sort_values("id").assign(split=split))
    return pd.concat(parts, ignore_index=True).loc[:, TABLE_COLUMNS].astype(object)


def _read_labeled(competition: Competition) -> pd.DataFrame:
    """Read the labelled images of one source or several, their classes merged and placed in the hierarchy."""
    sources = competition.data.labeled_sources
    parts = [
        read_listing(competition, "labeled", source)
        if isinstance(source, Listing)
        else _read_class_folders(competition, source)
        for source in sources
    ]
    merged = merge_classes(competition, [part["label"].tolist() for part in parts])
    for part, source, labels in zip(parts, sources, merged, strict=True):
        part["label"] = _place_labels(competition, source, dict(zip(part.index, labels, strict=True)))
    return join_sources(competition, parts, sources)


def read_classes(table: pd.DataFrame, task: str = MULTICLASS) -> tuple[str, ...]:
    """Return the labels that occur in an image table, sorted: the order of all probabilities."""
    labels = set(table["label"].dropna())
    return tuple(sorted(labels if task == MULTICLASS else {name for cell in labels for name in split_labels(cell)}))


def _check_mined(competition: Competition) -> None:
    """Refuse mined labels that have not been mined yet, and say how to."""
    source = competition.data.labeled
    if not competition.data.labels_are_mined or not isinstance(source, Listing):
        return
    file = competition.root / source.title
    if not file.is_file():
        raise InputError(f"{file}: no labels have been mined yet; {competition.command('mine', '--write')} mines them")


def _read_class_folders(competition: Competition, text: str) -> pd.DataFrame:
    """Read a folder of class folders; what lies beside them is no class."""
    folder = find_folder(competition, "labeled", text)
    pools = [*list_folders(competition.data.unlabeled), *list_folders(competition.data.test)]
    elsewhere = {(competition.root / pool).resolve() for pool in pools}  # below a labelled ``.`` they are no classes
    classes = {path.name for path in _visible_folders(folder) if path.resolve() not in elsewhere}
    files = scan_files(folder)
    images = list(filter(is_image, files))
    names = [name for name in images if "/" in name and name.partition("/")[0] in classes]
    tree = competition.data.hierarchy
    if tree is not None and tree.separator is not None:  # the folders' path is the label's
        labels = [tree.separator.join(name.split("/")[:-1]) for name in names]
    else:
        labels = [name.partition("/")[0] for name in names]
    n_beside = sum("/" not in name for name in images)
    if not classes:
        cause = f"holds {n_beside} images but no class folders" if n_beside else "is empty"
        remedy = f'make a folder per class, or write labeled = {{ csv = "train.csv", images = "{text}" }}'
        raise InputError(f"{name_key(competition, 'labeled')} = {text!r}: {folder} {cause}; {remedy}")
    tops = {name.partition("/")[0] for name in names}
    _check_class_folders(f"{name_key(competition, 'labeled')} = {text!r}", folder, text, classes, tops)
    if n_beside:
        note(f"{folder}: {n_beside} images beside the class folders are not read")
    _tell_others(folder, [name for name in files if name.partition("/")[0] in classes])
    return _make_part(name_images(names, folder), [f"{folder}/{name}" for name in names], labels)


def _place_labels(
    competition: Competition, source: str | Listing, labels: Mapping[Hashable, str | list[str]]
) -> list[str]:
    """Return labels, by the row of their CSV, as the table holds them; refuse those that the hierarchy lacks."""
    lineage, is_multilabel = read_lineage(competition), competition.facts.task == MULTILABEL
    where = competition.root / source.title if isinstance(source, Listing) else None
    above: dict[str, list[str]] = {}

    def with_parents(row: Hashable, label: str) -> list[str]:
        if label not in above:
            try:
                above[label] = [label] if lineage is None else lineage.chain(label)
            except InputError as error:
                raise InputError(f"{where}: row {row}: {error}" if where else f"folder {label!r}: {error}") from error
        return above[label]

    placed = [[with_parents(row, name) for name in as_list(label)] for row, label in labels.items()]
    if not is_multilabel:
        return [chain[-1] for (chain,) in placed]
    return [join_labels(name for chain in chains for name in chain) for chains in placed]


def _check_label_sets(competition: Competition, cells: list[str]) -> None:
    """Warn of classes that hardly any image has; refuse labels that leave nothing to tell apart."""
    key, n_images = name_key(competition, "labeled"), Counter(name for cell in cells for name in split_labels(cell))
    if len(n_images) < 2:
        cause = f"one class only, {next(iter(n_images))!r}" if n_images else "no image has a label"
        raise InputError(f"{key}: {cause}; a classifier needs two")
    small = sorted(name for name, n in n_images.items() if n < MIN_IMAGES_PER_CLASS)
    if small:
        warn(f"{key}: class {some(map(repr, small))} has one image: the fold that scores it cannot have learned it")


def _visible_folders(folder: Path) -> list[Path]:
    """Return the visible folders of a folder."""
    return [path for path in folder.iterdir() if is_visible(path.name) and path.is_dir()]


def _check_class_folders(key: str, folder: Path, text: str, classes: set[str], labels: set[str]) -> None:
    """Refuse class folders that are empty, or a single one, with the remedy."""
    if empty := sorted(classes - labels):
        kinds = sorted({Path(name).suffix for name in scan_files(folder) if name.partition("/")[0] in empty} - {""})
        others = f" but {some(kinds)} files (images are {', '.join(IMAGE_SUFFIXES)})" if kinds else ""
        remedy = "put images into it or remove it" if len(empty) == 1 else "put images into them or remove them"
        raise InputError(f"{key}: class folder {some(map(repr, empty))} of {folder} holds no images{others}; {remedy}")
    if len(classes) == 1:
        (only,) = classes
        inner = _visible_folders(folder / only)
        remedy = f'write labeled = "{text}/{only}"' if inner else "a classifier needs two"
        raise InputError(f"{key}: {folder} holds one class folder only, {only!r}; {remedy}")


def _read_folders(competition: Competition, split: str, texts: list[str]) -> pd.DataFrame:
    """Read the images of one or several folders; several lend their names to ids that would repeat."""
    names: list[str] = []
    paths: list[str] = []
    for text in texts:
        folder = find_folder(competition, split, text)
        files = scan_files(folder)
        images = list(filter(is_image, files))
        if not images:
            others = f" but {shown}" if (shown := describe_others(files)) else ""
            wanted = f"images are {', '.join(IMAGE_SUFFIXES)}"
            cause = f"{folder} holds no images{others} ({wanted}); put some there or leave the key out"
            raise InputError(f"{name_key(competition, split)} = {text!r}: {cause}")
        _tell_others(folder, files)
        prefix = f"{strip_archive(text.strip('/'))}/" if len(texts) > 1 else ""
        names += [prefix + name for name in images]
        paths += [f"{folder}/{name}" for name in images]
    return _make_part(name_images(names, competition.root / (texts[0] if len(texts) == 1 else "")), paths)


def _tell_others(folder: Path, files: list[str]) -> None:
    """Say how many of a folder's files are no images, by suffix; where they are many, as a warning."""
    if shown := describe_others(files):
        n_others = sum(not is_image(name) for name in files)
        say = warn if n_others >= MANY_OTHERS * len(files) else note
        say(f"{folder}: {n_others} of {len(files)} files are no images and are not read: {shown}")


def _make_part(ids: list[str], paths: list[str], labels: list[str] | None = None) -> pd.DataFrame:
    """Return the rows of one split."""
    return pd.DataFrame({"id": ids, "path": paths, "label": labels, "group": None}, dtype=object)


def _check_classes(competition: Competition, labels: list[str]) -> None:
    """Warn of classes that look like one; refuse a class too small to be split."""
    key, n_images = name_key(competition, "labeled"), Counter(labels)
    alike: dict[str, list[str]] = {}
    for name in sorted(n_images):
        alike.setdefault(name.strip().casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            warn(f"classes {some(map(repr, names))} differ in case or outer spaces only; they are kept apart")
    small = sorted(name for name, n in n_images.items() if n < MIN_IMAGES_PER_CLASS)
    if small and len(n_images) - len(small) < 2:
        cause = f"class {some(map(repr, small))} has one image"
        needs = f"cross-validation needs two classes of at least {MIN_IMAGES_PER_CLASS}"
        raise InputError(f"{key}: {cause}; {needs}: add one")
    if len(n_images) == 1:
        raise InputError(f"{key}: one class only, {next(iter(n_images))!r}; a classifier needs two")


def _leave_out_known(table: pd.DataFrame) -> pd.DataFrame:
    """Take labelled and test images out of the pool; warn of test images whose label is known."""
    paths = {split: set(table.loc[table["split"] == split, "path"]) for split in SPLITS}
    rows = list(zip(table["split"], table["path"], strict=True))
    if n_known := sum(split == "test" and path in paths["labeled"] for split, path in rows):
        warn(f"{n_known} test images are labelled ones too: their score says nothing")
    known = paths["labeled"] | paths["test"]
    doubled = np.array([split == "unlabeled" and path in known for split, path in rows], dtype=bool)
    if doubled.any():
        note(f"{int(doubled.sum())} unlabelled images are labelled or test images too; left out of the pool")
    return table.loc[~doubled].reset_index(drop=True)
