"""The image table: one row per image, with its id, file, class, split and group.

Reads the folders, archives and CSV files that ``[data]`` of competition.toml names; writes nothing but unpacked
archives, below ``runs/NAME/unpacked``. Folders are scanned once, rows are ordered by split and id, never by what the
file system happens to list first. Ids and labels are text, exactly as written: "000001" keeps its zeros, a class
named "NA" or ending in a space stays what it is.
"""

from __future__ import annotations

import csv
import io
import lzma
import os
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import FILE, Competition, Listing
from kit.errors import InputError, nearest, some
from kit.files import extract_archive, key_of
from kit.terminal import escape, note, warn

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")
SPLITS = ("labeled", "unlabeled", "test")
COLUMNS = ["id", "path", "label", "split", "group"]
MIN_IMAGES_PER_CLASS = 2  # one to learn from and one to score, in different folds
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_table(competition: Competition) -> pd.DataFrame:
    """Read the image table of a competition.

    An image's id is its file's name without suffix where that is unique within the split, else its path without
    suffix (``cat/1``), for all images of the split alike; in a CSV listing it is the CSV's own text. Unlabelled images
    that are labelled or test images too are left out of the pool.

    Parameters
    ----------
    competition
        The competition; embedded data must have been written already.

    Returns
    -------
    pandas.DataFrame
        Columns id, path (absolute), label (None where there is none), split (labeled, unlabeled or test) and group
        (None where there is none), all text; labelled rows first, then unlabelled, then test, each sorted by id.

    Raises
    ------
    InputError
        When a folder, file, column or image is missing, a CSV cannot be read, an id repeats or fits two files, a label
        is empty, or a class has fewer than two images; names the key of competition.toml or the CSV's row.
    """
    _check_root(competition)
    parts: dict[str, pd.DataFrame] = {}
    for split in SPLITS:
        source, key = getattr(competition.data, split), _Key(competition, split)
        if isinstance(source, Listing):
            part, _ = _read_listing(key, source)
        elif split == "labeled":
            part = _read_class_folders(key, source)
        elif source is not None and source != []:
            part = _read_folders(key, [source] if isinstance(source, str) else source)
        else:
            continue
        parts[split] = part.assign(split=split)
    _check_labels(parts["labeled"], _Key(competition, "labeled"))
    _part_splits(parts)
    ordered = [part.iloc[sorted(range(len(part)), key=part["id"].tolist().__getitem__)] for part in parts.values()]
    return pd.concat(ordered, ignore_index=True)[COLUMNS].astype(object)


def read_classes(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the labels that occur in an image table, sorted: the order of all probabilities."""
    return tuple(sorted(set(table["label"].dropna())))


def read_embeddings(competition: Competition, table: pd.DataFrame) -> np.ndarray | None:
    """Read the features given by the organisers.

    The array's rows are those of the CSV that lists the unlabelled images, in the CSV's order (an image that the
    table holds as labelled or test one is found by its file); or else those of the whole image table, in its order.

    Parameters
    ----------
    competition
        The competition; ``data.embeddings`` names the file.
    table
        Its image table, as `read_table` returns it.

    Returns
    -------
    numpy.ndarray or None
        (n_images, n_dims) float32, one row per row of the table, NaN where an image has none; None when no file is
        named.

    Raises
    ------
    InputError
        When the file is missing or no array, has another number of rows, or a row is all zero or not finite.
    """
    if competition.data.embeddings is None:
        return None
    key = _Key(competition, "embeddings")
    file = key.find_file(competition.data.embeddings)
    given = _load_array(file)
    source = competition.data.unlabeled
    paths = table["path"].tolist()
    listed = _read_listing(_Key(competition, "unlabeled"), source)[1] if isinstance(source, Listing) else None
    if listed is None or len(given) != len(listed):
        if len(given) != len(table):
            wanted = f"{len(table)} images in the table"
            wanted += f" or {len(listed)} rows in {source.csv}" if listed is not None else ""
            raise InputError(f"{file}: {len(given)} rows for {wanted}; {key} wants one row each")
        listed = paths
    row_of = {path: row for row, path in enumerate(listed) if path is not None}
    rows = np.array([row_of.get(path, -1) for path in paths], dtype=np.int64)
    embeddings = given[rows]  # (n_images, n_dims)
    embeddings[rows < 0] = np.nan
    return embeddings


def read_csv(file: Path) -> pd.DataFrame:
    """Read a CSV file as text, nothing converted; the index holds each row's line as a text editor counts it.

    Raises
    ------
    InputError
        When it is not UTF-8 (a byte order mark is fine), has no header, or a row has another number of cells.
    """
    data = file.read_bytes()
    text = data.removeprefix(BYTE_ORDER_MARK)
    try:
        reader = csv.reader(io.StringIO(text.decode("utf-8"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        byte = error.start + len(data) - len(text)
        line = data.count(b"\n", 0, byte) + 1
        raise InputError(f"{file}: not UTF-8 (byte {byte}, row {line}); save it as UTF-8") from error
    rows, lines, before = [], [], 0
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        raise InputError(f"{file}: row {before + 1}: not CSV ({error}); quote the cell or remove the quote") from error
    if not rows:
        raise InputError(f"{file}: empty; it needs a header and a row per image")
    header = [name.strip() for name in rows[0]]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            cause = f"{len(row)} cells where the header has {len(header)}; quote cells that hold a comma"
            raise InputError(f"{file}: row {line}: {cause}")
    return pd.DataFrame(rows[1:], columns=header, index=lines[1:], dtype=object)


def scan_files(folder: Path) -> list[str]:
    """Return the path of every file below a folder, relative and with slashes, in no order.

    Hidden files and folders and macOS's ``__MACOSX`` are left out; links are followed, a link back up is not.

    Raises
    ------
    InputError
        When a folder cannot be read or a name is not UTF-8.
    """
    found: list[str] = []
    ahead: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while ahead:
        prefix, above = ahead.pop()
        try:
            status = (folder / prefix).stat()
            here = (status.st_dev, status.st_ino)
            if here in above:
                continue
            with os.scandir(folder / prefix) as entries:
                for entry in entries:
                    if not is_visible(entry.name):
                        continue
                    if entry.is_dir():
                        ahead.append((f"{prefix}{entry.name}/", above | {here}))
                    else:
                        found.append(prefix + entry.name)
        except PermissionError as error:
            raise InputError(f"{error.filename}: may not be read; change its permissions") from error
    _check_names(folder, found)
    return found


def is_visible(name: str) -> bool:
    """Tell whether a file or folder counts: not hidden, not what macOS adds to archives."""
    return not name.startswith(".") and name != "__MACOSX"


def is_image(name: str) -> bool:
    """Tell an image by its suffix, in either case."""
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES and "." in name


def is_archive(name: str) -> bool:
    """Tell an archive by its suffix, in either case."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def strip_archive(name: str) -> str:
    """Return a name without its archive suffix."""
    suffixes = [suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)]
    return name[: -max(map(len, suffixes))] if suffixes else name


def strip_suffix(name: str) -> str:
    """Return an image's path without its suffix; any other name as it is."""
    return name.rpartition(".")[0] if is_image(name) else name


def enter_single_folder(folder: Path) -> Path:
    """Return the folder that holds something: steps into a folder as long as it is alone in its parent."""
    while True:
        inside = [path for path in folder.iterdir() if is_visible(path.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]


@dataclass(frozen=True)
class _Key:
    """Name a key of [data] in messages, and find what it points to."""

    competition: Competition
    name: str

    def __str__(self) -> str:
        return f"{self.competition.folder / FILE}: [data] {self.name}"

    def find_folder(self, text: str) -> Path:
        """Return the folder a text of this key names, links resolved; an archive is unpacked first."""
        path = self._locate(text)
        if path.is_dir():
            return path.resolve()
        if is_archive(path.name):
            return self._unpack(path)
        remedy = f' ({self.name} = {{ csv = "{text}", images = "..." }} reads a CSV)' if text.endswith(".csv") else ""
        raise InputError(f"{self} = {text!r} is a file; name a folder or an archive{remedy}")

    def find_file(self, text: str) -> Path:
        """Return the file a text of this key names."""
        path = self._locate(text)
        if path.is_dir():
            raise InputError(f"{self} = {text!r} is a folder; name a file")
        return path

    def _locate(self, text: str) -> Path:
        """Return an existing path, or say what lies there instead."""
        path = self.competition.root / text
        if path.exists():
            return path
        there = next(parent for parent in path.parents if parent.is_dir())
        wanted = path.relative_to(there).parts[0]
        names = [inside.name for inside in there.iterdir() if is_visible(inside.name)]
        raise InputError(f"{self} = {text!r}: {wanted!r} is not in {there}; {nearest(wanted, names)}")

    def _unpack(self, archive: Path) -> Path:
        """Unpack an archive below runs/, under a name that changes when the archive does."""
        status = archive.stat()
        name = f"{archive.name}-{key_of(status.st_size, status.st_mtime_ns)}"
        folder = self.competition.workspace.runs(self.competition.name) / "unpacked" / name
        return unpack(archive, folder)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into `folder`, once, and return the folder inside that holds its files.

    Raises
    ------
    InputError
        When it is no archive, is cut short, or has members that would land elsewhere.
    """
    try:
        return enter_single_folder(extract_archive(archive, folder))
    except (EOFError, lzma.LZMAError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); fetch it again") from error


def _check_root(competition: Competition) -> None:
    """Refuse a data folder that is not there, and say how to get it."""
    root = competition.root
    if root.is_dir():
        return
    slug = competition.facts.slug
    remedy = f"fetch it with ./run.sh download {slug}" if slug else "put the competition's files there"
    what = "is a file, not a folder" if root.exists() else "is not there"
    raise InputError(f"{_Key(competition, 'root')} = {competition.data.root!r}: {root} {what}; {remedy}")


def _check_names(folder: Path, names: list[str]) -> None:
    """Refuse file names that cannot be written into a CSV file."""
    try:
        "\n".join(names).encode()
    except UnicodeEncodeError:
        bad = next(name for name in names if not _is_utf8(name))
        shown = os.fsencode(bad).decode("utf-8", "backslashreplace")
        raise InputError(f"{folder}: the file name {shown} is not UTF-8; rename it") from None


def _is_utf8(name: str) -> bool:
    """Tell whether a name can be encoded."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _read_class_folders(key: _Key, text: str) -> pd.DataFrame:
    """Read a folder of class folders; what lies beside them is no class."""
    folder = key.find_folder(text)
    elsewhere = _other_folders(key.competition)
    classes = {path.name for path in _list_folders(folder) if path.resolve() not in elsewhere}
    images = [name for name in scan_files(folder) if is_image(name)]
    files = [name for name in images if "/" in name and name.partition("/")[0] in classes]
    n_beside = sum("/" not in name for name in images)
    labels = [name.partition("/")[0] for name in files]
    _check_class_folders(key, folder, text, classes, labels, n_beside)
    if n_beside:
        note(f"{escape(folder)}: {n_beside} images beside the class folders are not read")
    return _make_part(_name_images(files, folder), folder, files, labels)


def _list_folders(folder: Path) -> list[Path]:
    """Return the visible folders of a folder."""
    return [path for path in folder.iterdir() if is_visible(path.name) and path.is_dir()]


def _check_class_folders(
    key: _Key, folder: Path, text: str, classes: set[str], labels: list[str], n_beside: int
) -> None:
    """Refuse what is no folder of class folders, with the remedy."""
    if not classes:
        cause = f"holds {n_beside} images but no class folders" if n_beside else "is empty"
        remedy = f'make a folder per class, or write {key.name} = {{ csv = "train.csv", images = "{text}" }}'
        raise InputError(f"{key} = {text!r}: {folder} {cause}; {remedy}")
    empty = sorted(classes.difference(labels))
    if empty:
        raise InputError(f"{key} = {text!r}: class folder {some(map(repr, empty))} of {folder} holds no images")
    if len(classes) == 1:
        (only,) = classes
        inner = f'write {key.name} = "{text}/{only}"'
        remedy = inner if _list_folders(folder / only) else "a classifier needs two"
        raise InputError(f"{key} = {text!r}: {folder} holds one class folder only, {only!r}; {remedy}")


def _other_folders(competition: Competition) -> set[Path]:
    """Return the folders of the unlabelled and test images: below a labelled ``.`` they are no classes."""
    sources = (competition.data.unlabeled, competition.data.test)
    texts = [text for source in sources for text in ([source] if isinstance(source, str | Listing) else source or [])]
    folders = [text.images if isinstance(text, Listing) else text for text in texts]
    return {(competition.root / folder).resolve() for folder in folders}


def _read_folders(key: _Key, texts: list[str]) -> pd.DataFrame:
    """Read the images of one or several folders; several lend their names to ids that would repeat."""
    names: list[str] = []
    paths: list[str] = []
    for text in texts:
        folder = key.find_folder(text)
        files = [name for name in scan_files(folder) if is_image(name)]
        if not files:
            raise InputError(f"{key} = {text!r}: {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
        prefix = f"{strip_archive(text.strip('/'))}/" if len(texts) > 1 else ""
        names += [prefix + name for name in files]
        paths += _join(folder, files)
    ids = _name_images(names, key.competition.root / (texts[0] if len(texts) == 1 else ""))
    return pd.DataFrame({"id": ids, "path": paths, "label": None, "group": None}, dtype=object)


def _name_images(files: list[str], folder: Path) -> list[str]:
    """Return an id per file: the stem where all differ, else the path without suffix."""
    names = [strip_suffix(name) for name in files]
    stems = [name.rpartition("/")[2] for name in names]
    if len(set(stems)) == len(stems):
        return stems
    if len(set(names)) < len(names):
        repeated = next(name for name, n in Counter(names).items() if n > 1)
        pair = sorted(file for file, name in zip(files, names, strict=True) if name == repeated)
        raise InputError(f"{folder}: {some(pair)} have the same id {repeated!r}; rename or remove one")
    return names


def _read_listing(key: _Key, listing: Listing) -> tuple[pd.DataFrame, list[str | None]]:
    """Read the images a CSV lists; return them, and every row's path in the CSV's order (None without a file)."""
    file = _Key(key.competition, f"{key.name}.csv").find_file(listing.csv)
    folder = _Key(key.competition, f"{key.name}.images").find_folder(listing.images)
    rows = read_csv(file)
    if rows.empty:
        raise InputError(f"{file}: a header and no rows; {key} needs a row per image")
    named = [name for name in rows.columns if name]  # an index written by pandas has no name
    ids = _read_column(rows, listing.id or next(iter(named), ""), f"{key}.id", file)
    _check_ids(ids, file)
    labels = groups = None
    if key.name == "labeled":
        if listing.label is None and len(named) < 2:
            raise InputError(f"{file}: one column only, {some(named)!r}; is it separated by commas?")
        labels = _read_column(rows, listing.label or named[1], f"{key}.label", file)
        if labels.name == ids.name:
            raise InputError(f"{key}: column {ids.name!r} is both id and label; name the label's column")
        _refuse_empty(labels, file, "label")
    if listing.group is not None:
        groups = [group or None for group in _read_column(rows, listing.group, f"{key}.group", file)]
    files = _find_images(ids, folder, file, strict=key.name != "unlabeled")
    part = _make_part(ids.tolist(), folder, [name or "" for name in files], labels, groups)
    found = np.array([name is not None for name in files])
    return part[found], [path if known else None for path, known in zip(part["path"], found, strict=True)]


def _read_column(rows: pd.DataFrame, name: str, key: str, file: Path) -> pd.Series:
    """Return a column by name."""
    n_found = list(rows.columns).count(name)
    if n_found != 1:
        cause = f"{n_found} columns are named {name!r}" if n_found else f"no column {name!r}"
        raise InputError(f"{file}: {cause}; {nearest(name, filter(None, rows.columns))} ({key})")
    return rows[name]


def _refuse_empty(cells: pd.Series, file: Path, what: str) -> None:
    """Refuse cells that say nothing."""
    empty = cells.index[cells.str.strip() == ""]
    if len(empty):
        raise InputError(f"{file}: row {some(empty)}: the {what} is empty; fill it in or remove the row")


def _check_ids(ids: pd.Series, file: Path) -> None:
    """Refuse ids that are empty or repeat."""
    _refuse_empty(ids, file, "id")
    repeated = ids[ids.duplicated(keep=False)]
    if len(repeated):
        first = repeated.iloc[0]
        rows = repeated.index[repeated == first]
        others = repeated.nunique() - 1
        more = f" ({others} more ids repeat)" if others else ""
        raise InputError(f"{file}: id {first!r} stands in rows {some(rows)}; an image has one row{more}")


def _find_images(ids: pd.Series, folder: Path, file: Path, strict: bool) -> list[str | None]:
    """Return the file of every id, relative to `folder`; an id may leave out the suffix."""
    names = scan_files(folder)
    exact = set(names)
    images = sorted(filter(is_image, names))
    by_stem = dict(zip(map(strip_suffix, images), images, strict=True))
    found = [image_id if image_id in exact else by_stem.get(image_id) for image_id in ids]
    if len(by_stem) < len(images):
        _refuse_twins(ids[~ids.isin(exact)], images, folder, file)
    if None in found:
        missing = ids[[name is None for name in found]]
        _report_missing(missing, names, folder, file, strict or len(missing) == len(ids))
    _refuse_same_file(ids, found, file)
    return found


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
        raise InputError(text)
    warn(f"{escape(text)}; left out ({len(missing)} rows)")


def _refuse_same_file(ids: pd.Series, found: list[str | None], file: Path) -> None:
    """Refuse two ids of one file."""
    files = pd.Series(found, index=ids.index, dtype=object).dropna()
    repeated = files[files.duplicated(keep=False)]
    if len(repeated):
        same = repeated.index[repeated == repeated.iloc[0]]
        cause = f"ids {some(map(repr, ids[same]))} are one file, {repeated.iloc[0]!r}"
        raise InputError(f"{file}: rows {some(same)}: {cause}; remove one row")


def _make_part(
    ids: list[str], folder: Path, files: list[str], labels: Iterable[str] | None, groups: list | None = None
) -> pd.DataFrame:
    """Return the rows of one split."""
    columns = {"id": ids, "path": _join(folder, files), "label": None if labels is None else list(labels)}
    return pd.DataFrame({**columns, "group": groups}, dtype=object)


def _join(folder: Path, files: list[str]) -> list[str]:
    """Return absolute paths, as text."""
    return [f"{folder}/{name}" for name in files]


def _check_labels(labeled: pd.DataFrame, key: _Key) -> None:
    """Warn of classes that look like one; refuse a class too small to be split."""
    n_images = Counter(labeled["label"])
    alike: dict[str, list[str]] = {}
    for name in sorted(n_images):
        alike.setdefault(name.strip().casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            warn(f"classes {escape(some(map(repr, names)))} differ in case or outer spaces only; they are kept apart")
    small = sorted(name for name, n in n_images.items() if n < MIN_IMAGES_PER_CLASS)
    if small:
        cause = f"class {some(map(repr, small))} has one image; cross-validation needs at least {MIN_IMAGES_PER_CLASS}"
        raise InputError(f"{key}: {cause}: add one or leave the class out")
    if len(n_images) == 1:
        raise InputError(f"{key}: one class only, {next(iter(n_images))!r}; a classifier needs two")


def _part_splits(parts: dict[str, pd.DataFrame]) -> None:
    """Take labelled and test images out of the pool; warn of test images whose label is known."""
    known = set(parts["labeled"]["path"])
    if "test" in parts:
        n_known = int(parts["test"]["path"].isin(known).sum())
        if n_known:
            warn(f"{n_known} test images are labelled ones too: their score says nothing")
        known |= set(parts["test"]["path"])
    if "unlabeled" in parts:
        outside = ~parts["unlabeled"]["path"].isin(known)
        if not outside.all():
            note(f"{int((~outside).sum())} unlabelled images are labelled or test images too; left out of the pool")
            parts["unlabeled"] = parts["unlabeled"][outside]


def _load_array(file: Path) -> np.ndarray:
    """Load (n_rows, n_dims) features as float32; refuse a row that says nothing."""
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
