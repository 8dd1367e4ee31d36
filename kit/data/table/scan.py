"""What lies on the disk: the files below a folder, inside an archive, and the rows of a CSV.

Reads names, archives and CSV text; writes nothing but unpacked archives. The order in which a file system lists means
nothing, and no cell is converted: "000001" keeps its zeros, a class named "NA" stays one.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from kit.core.errors import InputError, nearest, some

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff")
ARCHIVE_SUFFIX = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.xz)\Z", re.IGNORECASE)
OTHER_SEPARATORS = (";", "\t", "|")  # a spreadsheet writes them where the comma is the decimal point
BLOCK_BYTES = 2**20
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # encrypted, or packed by a method that zipfile does not know
)


def read_csv(file: Path) -> pd.DataFrame:
    """Read a CSV file as text, nothing converted; the index holds each row's line as a text editor counts it.

    Raises
    ------
    InputError
        When it is not UTF-8 (a byte order mark is fine), has no header or no commas, or a row has another number of
        cells.
    """
    rows, lines, before = [], [], 0
    reader = csv.reader(io.StringIO(_read_text(file), newline=""), strict=True)
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
    if len(header) == 1 and (separator := next((mark for mark in OTHER_SEPARATORS if mark in header[0]), None)):
        raise InputError(f"{file}: separated by {separator!r}, not by commas; save it with commas")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            cause = f"{len(row)} cells where the header has {len(header)}; quote cells that hold a comma"
            raise InputError(f"{file}: row {line}: {cause}")
    return pd.DataFrame(rows[1:], columns=header, index=lines[1:], dtype=object)


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
    with _named(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                names = [name for name in opened.namelist() if not name.endswith("/")]
        else:
            with tarfile.open(archive) as opened:
                names = [member.name.removeprefix("./") for member in opened if member.isfile()]
    names = [name for name in names if all(map(is_visible, name.split("/")))]
    while len({name.partition("/")[0] for name in names}) == 1 and all("/" in name for name in names):
        names = [name.partition("/")[2] for name in names]
    return names


def extract_archive(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive into `folder`, once; return the folder inside that holds its files.

    Raises
    ------
    InputError
        When it is no archive, cut short or encrypted, or a member has an absolute path, a ``..`` or a link out.
    """
    if not folder.exists():
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            with _named(archive):
                _extract(archive, temporary)
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return _enter_single_folder(folder)


def is_visible(name: str) -> bool:
    """Tell whether a file or folder counts: not hidden, not what macOS adds to archives."""
    return not name.startswith(".") and name != "__MACOSX"


def is_image(name: str) -> bool:
    """Tell an image by its suffix, in either case."""
    return "." in name and name.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def is_archive(name: str) -> bool:
    """Tell an archive by its suffix, in either case."""
    return ARCHIVE_SUFFIX.search(name) is not None


def strip_archive(name: str) -> str:
    """Return a name without its archive suffix."""
    return ARCHIVE_SUFFIX.sub("", name)


def strip_suffix(name: str) -> str:
    """Return an image's path without its suffix; any other name as it is."""
    return name.rpartition(".")[0] if is_image(name) else name


def _read_text(file: Path) -> str:
    """Read UTF-8, with or without a byte order mark; name the byte that is none."""
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.start + len(data) - len(error.object)  # error.object lacks the byte order mark
        line = data.count(b"\n", 0, byte) + 1
        raise InputError(f"{file}: not UTF-8 (byte {byte}, row {line}); save it as UTF-8") from error


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


@contextmanager
def _named(archive: Path) -> Iterator[None]:
    """Name the archive in whatever its library has to say."""
    try:
        yield
    except ARCHIVE_ERRORS as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); fetch it again or unpack it by hand") from error


def _extract(archive: Path, folder: Path) -> None:
    """Unpack every member, none of them outside the folder."""
    if not zipfile.is_zipfile(archive):
        with tarfile.open(archive) as members:
            members.extractall(folder, filter="data")
            while members.fileobj.read(BLOCK_BYTES):  # a broken header ends a tar quietly: the checksum comes last
                pass
        return
    with zipfile.ZipFile(archive) as members:
        for name in members.namelist():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{archive}: member {name!r} would land outside the folder; refused")
        members.extractall(folder)


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
