"""The images of one split that a CSV or JSON file lists, or that a pattern of their files' names tells.

Reads the file and the folders of its images; writes nothing itself: archives are unpacked by `kit.data.table.sources`,
images that stand in the rows written by `kit.data.table.pixels`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from kit.config.competition import Competition
from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.terminal import note, warn
from kit.data.table.labels import read_label_lists
from kit.data.table.matching import Matches, describe_views, list_files, match_images, nearest_file, views_of
from kit.data.table.naming import name_images
from kit.data.table.one_label import read_label
from kit.data.table.pixels import read_pixel_rows
from kit.data.table.records import JSON_FILE, JSON_LABEL, is_json, read_rows
from kit.data.table.scan import is_image, read_column, refuse_empty
from kit.data.table.sources import find_file, find_folders, id_column, is_named, name_key

MIN_SHARE = 0.5  # of a listing's images must be there; fewer are another folder's


def read_listing(competition: Competition, split: str, listing: Listing) -> pd.DataFrame:
    """Read the images that a listing names.

    Returns
    -------
    pandas.DataFrame
        Columns id, path, label and group in the file's order, None where there is none; images without a file are
        warned of and left out, but for test images, whose path then leads nowhere. With several labels per image a
        label is a list of names.

    Raises
    ------
    InputError
        When a column is missing or in doubt, most files are, an id is empty, repeats or fits several files, or a label
        is empty or in doubt.
    """
    if listing.pattern is not None:
        return _read_pattern(competition, split, listing, listing.pattern)
    key = name_key(competition, split)
    file = find_file(competition, f"{split}.csv", listing.title)
    paths: pd.Series | None = None
    if listing.form == "pixels":
        rows, paths = read_pixel_rows(competition, split, listing, file)
        listing = listing.model_copy(update={"id": rows.columns[0], "form": None})
    else:
        rows = read_rows(file)
    if rows.empty:
        raise InputError(f"{file}: a header and no rows; {key} needs a row per image")
    if is_json(file.name):
        listing = _fill_in(listing, rows, competition.facts.task)
    if competition.data.labels_are_mined and listing.label is None:
        listing = listing.model_copy(update={"label": "label"})  # as `mine` writes it
    id_name = id_column(rows, listing)
    refuse_empty(read_column(rows, id_name, f"{key}.id", file), file, "id")
    rows, labels = _read_labels(competition, split, rows, listing, file)
    ids = read_column(rows, id_name, f"{key}.id", file)
    if repeated := _list_repeated(ids):
        (first, where), *others = repeated.items()
        more = f" ({len(others)} more ids repeat)" if others else ""
        raise InputError(f"{file}: id {first!r} stands in rows {some(where)}; an image has one row{more}")
    groups = None
    if listing.group is not None:
        groups = [group or None for group in read_column(rows, listing.group, f"{key}.group", file)]
    if paths is None:
        names = ids if listing.file is None else read_column(rows, listing.file, f"{key}.file", file)
        paths = _find_paths(competition, split, listing, names, file)
    table = pd.DataFrame({"id": ids, "path": paths.loc[ids.index], "label": labels, "group": groups}, dtype=object)
    return table.loc[table["path"].notna()]


def list_paths(competition: Competition, split: str, listing: Listing) -> list[str | None]:
    """Return the file of every row of a listing, in the file's order; None where there is none."""
    file = find_file(competition, f"{split}.csv", listing.title)
    rows = read_rows(file)
    names = rows[listing.file or id_column(rows, listing)].tolist()
    return match_images(names, list_files(find_folders(competition, f"{split}.images", listing.folders))).paths


def list_unnamed(competition: Competition, paths: Iterable[str]) -> list[str]:
    """Return the image files in the listings' folders that are not among the paths of the image table, sorted.

    The paths are those of all splits together: listings may share a folder.
    """
    named, unnamed = set(paths), set()
    data = competition.data
    sources = [("labeled", source) for source in data.labeled_sources]
    for split, listing in [*sources, ("unlabeled", data.unlabeled), ("test", data.test)]:
        if isinstance(listing, Listing) and listing.form != "pixels":
            for folder, name in list_files(find_folders(competition, f"{split}.images", listing.folders)):
                if is_image(name) and (path := f"{folder}/{name}") not in named:
                    unnamed.add(path)
    return sorted(unnamed)


def _fill_in(listing: Listing, rows: pd.DataFrame, task: str) -> Listing:
    """Return a listing with the keys that a JSON file's names leave no doubt about."""
    keys = {}
    if listing.file is None and JSON_FILE in rows.columns:
        keys["file"] = JSON_FILE
    if listing.label is None and JSON_LABEL in rows.columns:
        keys["label"] = JSON_LABEL
    if listing.form is None and task == MULTILABEL and JSON_LABEL in rows.columns:
        keys["form"] = "rows"
    return listing.model_copy(update=keys)


def _read_labels(
    competition: Competition, split: str, rows: pd.DataFrame, listing: Listing, file: Path
) -> tuple[pd.DataFrame, Sequence[str] | Sequence[list[str]] | None]:
    """Return a row per image, and the labels where the split has them."""
    key, id_name = name_key(competition, split), id_column(rows, listing)
    if split == "labeled" and competition.facts.task == MULTILABEL:
        return read_label_lists(rows, id_name, listing, key, file)
    labels = None
    if split == "labeled":
        labels = read_label(rows, id_name, listing, key, file, _sample_columns(competition))
        if is_json(file.name) and not all(labels):
            note(f"{file}: {int((labels == '').sum())} images without an annotation are left out")
            labels = labels.loc[labels != ""]
            rows = rows.loc[labels.index]
        refuse_empty(labels, file, "label")
    same = pd.DataFrame({"id": rows[id_name], "label": labels}).duplicated().to_numpy()
    if same.any():
        again = "again, with the same label" if split == "labeled" else "again"
        note(f"{file}: {int(same.sum())} rows name an image {again}; each counts once")
        rows = rows.loc[~same]
        labels = None if labels is None else labels.loc[~same]
    if labels is not None and rows[id_name].duplicated().any():
        _refuse_two_labels(pd.Series(rows[id_name]), labels, file)
    return rows, None if labels is None else labels.tolist()


def _refuse_two_labels(ids: pd.Series, labels: pd.Series, file: Path) -> None:
    """Refuse an image of several labels where the task is one label each."""
    (first, where), *others = _list_repeated(ids).items()
    more = f" ({len(others)} more images have several)" if others else ""
    named = some(map(repr, labels.loc[where]))
    remedy = f'take one out, or write task = "{MULTILABEL}" in [competition]'
    raise InputError(f"{file}: id {first!r} stands in rows {some(where)} with the labels {named}{more}; {remedy}")


def _sample_columns(competition: Competition) -> list[str]:
    """Return the columns of the sample submission after its id; none where there is no such file yet."""
    name = competition.data.sample_submission
    if name is None or not (competition.root / name).is_file():
        return []
    return [column for column in read_rows(competition.root / name).columns if is_named(column)][1:]


def _find_paths(competition: Competition, split: str, listing: Listing, names: pd.Series, file: Path) -> pd.Series:
    """Return the file of every image by its row, None where it is left out; say what was matched how."""
    folders = find_folders(competition, f"{split}.images", listing.folders)
    files = list_files(folders)
    matches = match_images(names.tolist(), files)
    shown = some(folders)
    if matches.doubtful:
        row, fits = min(matches.doubtful.items())
        below = [path.removeprefix(f"{folders[0]}/") for path in fits]
        cause = f"id {names.iloc[row]!r} fits {some(below)} of {shown}"
        remedy = f"remove one, write its suffix, or name its folder ({split}.images)"
        raise InputError(f"{file}: row {names.index[row]}: {cause}; {remedy}")
    _tell_matches(names, matches, file)
    paths = pd.Series(matches.paths, index=names.index, dtype=object)
    missing = names.loc[paths.isna()]
    if len(missing):
        _report_missing(missing, len(names), _hint(missing.iloc[0], files), shown, file, split)
        if split == "test":  # in the submission all the same: the audit says that it cannot be read
            paths = paths.where(paths.notna(), [f"{folders[0]}/{name}" for name in names])
    _refuse_same_file(names, paths, file)
    return paths


def _hint(name: str, files: Sequence[tuple[str, str]]) -> str:
    """Say what is there in place of an image: several of its id, the file of the nearest name, or nothing."""
    if views := views_of(name, [below for _, below in files]):
        return describe_views(name, views)
    near = nearest_file(name, files)
    return f"the nearest file is {near!r}" if near else "there is no image at all"


def _tell_matches(names: pd.Series, matches: Matches, file: Path) -> None:
    """Say of which images the file is named otherwise than its id, and of which one of several files was taken."""
    if matches.loose:
        row = min(matches.loose)
        kinds = ", ".join(f"{n} by {how}" for how, n in Counter(matches.loose.values()).items())
        example = f"{names.iloc[row]!r} is {_path(matches, row)}"
        note(f"{file}: ids that are not their files' names were matched, {kinds}: {example}")
    if matches.chosen:
        row = min(matches.chosen)
        cause = "of several files of an id the readable one in the folder that holds most was taken"
        note(f"{file}: {cause}: {len(matches.chosen)} ids, {names.iloc[row]!r} is {_path(matches, row)}")


def _path(matches: Matches, row: int) -> str:
    """Return a matched file for a message."""
    return str(matches.paths[row])


def _report_missing(missing: pd.Series, n_names: int, hint: str, shown: str, file: Path, split: str) -> None:
    """Warn of images without a file; refuse where most have none."""
    named = some(f"{name!r} (row {row})" for row, name in missing.items())
    text = f"{file}: no image in {shown} for {named}; {hint}"
    if n_names - len(missing) < MIN_SHARE * n_names:
        raise InputError(f"{text}: put the images there, mend the ids or name the images' folder ({split}.images)")
    fate = "they get the class prior in the submission" if split == "test" else "left out"
    warn(f"{text}; {fate} ({len(missing)} of {n_names} rows)")


def _refuse_same_file(names: pd.Series, paths: pd.Series, file: Path) -> None:
    """Refuse two ids of one file."""
    if repeated := _list_repeated(paths.dropna()):
        image, rows = next(iter(repeated.items()))
        cause = f"ids {some(map(repr, names.loc[rows]))} are one file, {Path(image).name!r}"
        raise InputError(f"{file}: rows {some(rows)}: {cause}; remove one row")


def _list_repeated(cells: pd.Series) -> dict[str, list[Hashable]]:
    """Return the values that stand in several cells, each with its rows, in the order of the cells."""
    again = cells.loc[cells.duplicated(keep=False)]
    rows: dict[str, list[Hashable]] = {}
    for row, cell in again.items():
        rows.setdefault(cell, []).append(row)
    return rows


def _read_pattern(competition: Competition, split: str, listing: Listing, pattern: str) -> pd.DataFrame:
    """Read the images whose paths a pattern tells apart."""
    key, expression = name_key(competition, split), re.compile(pattern)
    if split == "labeled" and "label" not in expression.groupindex:
        raise InputError(f"{key}.pattern = {pattern!r}: has no group (?P<label>...), so labels nothing")
    folders = find_folders(competition, f"{split}.images", listing.folders)
    files = [file for file in list_files(folders) if is_image(file[1])]
    found = [(folder, name, match) for folder, name in files if (match := expression.search(name))]
    if not found:
        example = f", such as {files[0][1]!r}" if files else ""
        cause = f"fits none of the {len(files)} images in {some(folders)}{example}"
        raise InputError(f"{key}.pattern = {pattern!r}: {cause}")
    if len(found) < len(files):
        odd = next(name for _, name in files if not expression.search(name))
        say = warn if split == "labeled" else note
        say(f"{some(folders)}: {len(files) - len(found)} images do not fit {key}.pattern and are left out: {odd!r}")
    parts = [match.groupdict() for _, _, match in found]
    ids = [part["id"] for part in parts] if "id" in expression.groupindex else None
    if ids is None:
        ids = name_images([name for _, name, _ in found], folders[0])
    labels = [part["label"] for part in parts] if split == "labeled" else None
    if labels and not all(labels):
        raise InputError(f"{key}.pattern = {pattern!r}: the label of {found[labels.index('')][1]!r} is empty")
    if labels and competition.facts.task != MULTICLASS:
        labels = [[label] for label in labels]
    paths = [f"{folder}/{name}" for folder, name, _ in found]
    if twice := _list_repeated(pd.Series(ids, index=paths, dtype=object)):
        image_id, where = min(twice.items())
        raise InputError(f"{key}.pattern = {pattern!r}: {some(where)} have the same id {image_id!r}; name more in it")
    groups = [part.get("group") or None for part in parts]
    return pd.DataFrame({"id": ids, "path": paths, "label": labels, "group": groups}, dtype=object)
