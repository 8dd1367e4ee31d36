"""What lies on the disk: the files below a folder, inside an archive, and the rows of a CSV.

Reads names, archives and CSV text; writes nothing but unpacked archives. The order in which a file system lists means
nothing, and no cell is converted: "000001" keeps its zeros, a class named "NA" stays one.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from kit.core.errors import InputError, nearest, some
from kit.core.files import write_folder
from kit.data.table.archives import is_archive as is_archive
from kit.data.table.archives import list_members, named, unpack
from kit.data.table.archives import strip_archive as strip_archive

PLAIN_SUFFIXES = ("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "tif", "tiff", "avif", "jp2")
LIBRARY_SUFFIXES = ("heic", "heif", "dcm")  # read by a library of their own; beside a plain file of the name, left out
IMAGE_SUFFIXES = (*PLAIN_SUFFIXES, *LIBRARY_SUFFIXES)
_IMAGE_SUFFIXES = frozenset(IMAGE_SUFFIXES)
RECORD_SUFFIXES = ("tfrec", "tfrecord", "tfrecords")  # images packed for TensorFlow, most often copies of those beside
OTHER_SEPARATORS = (";", "\t", "|")  # a spreadsheet writes them where the comma is the decimal point
MANY_COLUMNS = 256  # more hold the pixels of images, and are many
MAX_ZIPS = 3  # within each other, around one table


def read_csv(file: Path) -> pd.DataFrame:
    """Read a CSV file as text, nothing converted; the index holds each row's line as a text editor counts it.

    It may be separated by semicolons, tabs or bars, too; it may lie alone inside a zip, and that inside another one.

    Raises
    ------
    InputError
        When it is neither UTF-8 nor marked as UTF-16, has no header, holds a NUL, or a row has another
        number of cells.
    """
    text = read_text(file)
    separator = separator_of(text, file.name)
    header = next(csv.reader(io.StringIO(text[: text.find("\n") + 1 or None], newline=""), delimiter=separator), [])
    if len(header) > MANY_COLUMNS:
        return _read_wide(text, separator, file)
    rows, lines = _read_cells(text, separator, file)
    if not rows:
        raise InputError(f"{file}: empty; it needs a header and a row per image")
    header = [name.strip() for name in rows[0]]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            cause = f"{len(row)} cells where the header has {len(header)}; quote cells that hold {separator!r}"
            raise InputError(f"{file}: row {line}: {cause}")
    return pd.DataFrame(rows[1:], columns=header, index=lines[1:], dtype=object)


def separator_of(text: str, name: str = "") -> str:
    """Return what parts the cells of a table: a comma, or where its header has none what else parts that.

    A ``.tsv`` by its `name` is separated by tabs.
    """
    if is_tsv(name):
        return "\t"
    header = next(csv.reader(io.StringIO(text[: text.find("\n") + 1 or None], newline="")), [])
    return next((mark for mark in OTHER_SEPARATORS if len(header) == 1 and mark in header[0]), ",")


def is_tsv(name: str) -> bool:
    """Tell a table whose cells are separated by tabs, alone or inside a zip."""
    return name.lower().removesuffix(".zip").endswith(".tsv")


def read_text(file: Path) -> str:
    """Read text in UTF-8, with or without a byte order mark, or in UTF-16 with one; out of a zip where it lies in one.

    InputError names the byte that is none, a NUL, and a zip that holds more than one table.
    """
    data = file.read_bytes()
    if file.name.lower().endswith(".zip"):
        with named(file):
            data = _read_zipped(data, file, 0)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.start + len(data) - len(error.object)  # error.object lacks the byte order mark
        line = data.count(b"\n", 0, byte) + 1
        raise InputError(f"{file}: not UTF-8 (byte {byte}, row {line}); save it as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{file}: row {line}: a NUL byte, which no text has; save the file again as UTF-8")
    return text


def scan_files(folder: Path) -> list[str]:
    """Return the path of every file below a folder, relative and with slashes, in no order.

    Hidden files and folders and macOS's ``__MACOSX`` are left out, and so is what is no plain file: to read a named
    pipe is to wait for its writer. Links are followed, a link back up is not; one that leads nowhere counts as a file,
    so that whoever reads it can name it.

    Raises
    ------
    InputError
        When a folder cannot be read or a name is not UTF-8.
    """
    try:
        names = list(_walk(folder, "", ()))
    except PermissionError as error:
        raise InputError(f"{error.filename}: may not be read; change its permissions") from error
    try:
        "\0".join(names).encode()
    except UnicodeEncodeError as error:
        bad = names[error.object.count("\0", 0, error.start)]
        shown = os.fsencode(bad).decode("utf-8", "backslashreplace")
        raise InputError(f"{folder}: the file name {shown} is not UTF-8; rename it") from None
    return names


def list_archive(archive: Path) -> list[str]:
    """Return the files that `extract_archive` would leave in the folder it returns.

    InputError where it is no archive or cut short.
    """
    names = [name for name in list_members(archive) if all(map(is_visible, name.split("/")))]
    while len({name.partition("/")[0] for name in names}) == 1 and all("/" in name for name in names):
        names = [name.partition("/")[2] for name in names]
    return names


def extract_archive(archive: Path, folder: Path) -> Path:
    """Unpack a zip, tar or 7z archive into `folder`, once; return the folder inside that holds its files.

    InputError as of `kit.data.table.archives.unpack`; nothing is left behind then.
    """
    if not folder.exists():
        with write_folder(folder) as part:
            unpack(archive, part)
    return _enter_single_folder(folder)


def is_visible(name: str) -> bool:
    """Tell whether a file or folder counts: not hidden, not what macOS adds to archives."""
    return not name.startswith(".") and name != "__MACOSX"


def is_image(name: str) -> bool:
    """Tell an image by its suffix, in either case."""
    _, dot, suffix = name.rpartition(".")
    return dot != "" and (suffix in _IMAGE_SUFFIXES or suffix.lower() in _IMAGE_SUFFIXES)


def describe_others(names: Iterable[str]) -> str:
    """Return how many files are no images, by suffix, for a message; nothing where all are images."""
    kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in names if not is_image(name))
    if not kinds:
        return ""
    shown = some(f"{n} {kind}" for kind, n in kinds.most_common())
    packed = any(kind.removeprefix(".") in RECORD_SUFFIXES for kind in kinds)
    return f"{shown}{' (TFRecords are ignored)' if packed else ''}"


def strip_suffix(name: str) -> str:
    """Return an image's path without its suffix; any other name as it is."""
    stem, _, suffix = name.rpartition(".")
    return stem if "." in name and suffix.lower() in _IMAGE_SUFFIXES else name


def _read_zipped(data: bytes, file: Path, depth: int) -> bytes:
    """Return the one table in a zip, or in the one zip that a zip holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        names = [member.filename for member in opened.infolist() if not member.is_dir()]
        names = [name for name in names if all(map(is_visible, name.split("/")))]
        tables = [name for name in names if name.lower().endswith((".csv", ".tsv", ".json", ".txt"))]
        tables = tables or [name for name in names if name.lower().endswith(".zip") and depth < MAX_ZIPS]
        if len(tables) != 1:
            holds = some(tables or names) or "nothing"
            raise InputError(f"{file}: holds {holds}, where one table is wanted; unpack it and name the file")
        inner = opened.read(tables[0])
    return _read_zipped(inner, file, depth + 1) if tables[0].lower().endswith(".zip") else inner


def _read_cells(text: str, separator: str, file: Path) -> tuple[list[list[str]], list[int]]:
    """Return the rows of a CSV, the header first, and the line at which each begins; a cell may be of any length."""
    rows, lines, before = [], [], 0
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        raise InputError(f"{file}: row {before + 1}: not CSV ({error}); quote the cell or remove the quote") from error
    finally:
        csv.field_size_limit(limit)
    return rows, lines


def _read_wide(text: str, separator: str, file: Path) -> pd.DataFrame:
    """Read a CSV of very many columns as text: equal cells share their memory, and no row spans lines."""
    try:
        rows = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=object, keep_default_na=False, na_filter=False, header=None
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{file}: not CSV ({' '.join(str(error).split())}); mend that row") from error
    header = [str(name).strip() for name in rows.iloc[0]]
    return rows.iloc[1:].set_axis(header, axis=1).set_axis(pd.RangeIndex(2, len(rows) + 1), axis=0)


def _walk(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[str]:
    """Yield the visible files below a folder, `prefix` before their names; `above` are the folders entered so far."""
    here = folder.resolve()
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_visible(entry.name):
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", (*above, here))
            elif entry.is_file() or not Path(entry).exists():
                yield prefix + entry.name


def _enter_single_folder(folder: Path) -> Path:
    """Step into a folder as long as it is alone in its parent."""
    while True:
        inside = [path for path in folder.iterdir() if is_visible(path.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]


def read_column(rows: pd.DataFrame, name: str, key: str, file: Path) -> pd.Series:
    """Return a column by name; InputError, in which `key` says who asked, where not exactly one is named so."""
    n_columns = list(rows.columns).count(name)
    if n_columns != 1:
        hint = "rename all but one" if n_columns else nearest(name, filter(None, rows.columns))
        cause = f"{n_columns} columns are named {name!r}" if n_columns else f"no column {name!r}"
        raise InputError(f"{file}: {cause}; {hint} ({key})")
    return rows.loc[:, name]


def refuse_empty(cells: pd.Series, file: Path, what: str) -> None:
    """Refuse empty cells, with an InputError that names the rows."""
    empty = cells.index[cells.str.strip() == ""]
    if len(empty):
        raise InputError(f"{file}: row {some(empty)}: the {what} is empty; fill it in or remove the row")
