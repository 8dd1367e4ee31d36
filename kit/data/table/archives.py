"""Archives: zip, tar and 7z, listed and unpacked, and nothing in them trusted: names, links, sizes, checksums.

Reads archives; writes the folder that it is given. `kit.data.table.scan` says what of them counts.
"""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kit.core.errors import InputError

ARCHIVE_SUFFIX = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.xz|tar\.bz2|7z)\Z", re.IGNORECASE)
ZIPPED_TABLE = re.compile(r"\.(csv|tsv|json)\.zip\Z", re.IGNORECASE)  # read as a table, and never unpacked
BLOCK_BYTES = 2**20
MAX_DEPTH = 4  # archives within archives
MAX_RATIO = 200  # unpacked to packed; images reach 2, tables 20
RATIO_FREE_BYTES = 2**30  # less than this is no bomb, however well it was packed
SPARE_BYTES = 2**28  # left free on the disk
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # encrypted, or packed by a method that zipfile does not know
)


def is_archive(name: str) -> bool:
    """Tell an archive of files by its suffix, in either case; a table in a zip, ``train.csv.zip``, is none."""
    return ARCHIVE_SUFFIX.search(name) is not None and ZIPPED_TABLE.search(name) is None


def strip_archive(name: str) -> str:
    """Return a name without its archive suffix."""
    return ARCHIVE_SUFFIX.sub("", name)


def list_members(archive: Path) -> list[str]:
    """Return the files that `unpack` would write, relative and with slashes, those of inner archives too.

    InputError where it is no archive or cut short.
    """
    with named(archive), open(archive, "rb") as file:
        return _list_opened(file, 0)


def unpack(archive: Path, folder: Path, depth: int = 0) -> None:
    """Unpack an archive into a folder; archives in it become folders beside their place, named without the suffix.

    Raises
    ------
    InputError
        When it is no archive, cut short or encrypted, a member has an absolute path, a ``..`` or a link out, archives
        stand in archives more than four deep, or all of it would not fit on the disk or is a bomb.
    """
    with named(archive):
        _unpack_one(archive, folder)
    inner = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_archive(path.name)]
    if inner and depth + 1 >= MAX_DEPTH:
        raise InputError(f"{archive}: archives within archives, {MAX_DEPTH} deep; unpack it by hand")
    for path in inner:
        place = path.with_name(strip_archive(path.name))
        place.mkdir(exist_ok=True)
        unpack(path, place, depth + 1)
        path.unlink()


@contextmanager
def named(archive: Path) -> Iterator[None]:
    """Name the archive in whatever its library has to say."""
    try:
        yield
    except (*ARCHIVE_ERRORS, *_seven_zip_errors(archive)) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); fetch it again or unpack it by hand") from error


def _seven_zip_errors(archive: Path) -> tuple[type[Exception], ...]:
    """Return what the library of 7z archives raises; it is loaded for them alone."""
    if not archive.name.lower().endswith(".7z"):
        return ()
    from py7zr.exceptions import ArchiveError

    return (ArchiveError, OSError, ValueError)


def _list_opened(file: IO[bytes], depth: int) -> list[str]:
    """Return the files of an opened archive; inner archives that can be read in place as folders."""
    start = file.read(len(SEVEN_ZIP))
    file.seek(0)
    if start == SEVEN_ZIP:
        import py7zr

        with py7zr.SevenZipFile(file) as seven:
            return [member.filename for member in seven.list() if not member.is_directory]
    if not zipfile.is_zipfile(file):
        file.seek(0)
        with tarfile.open(fileobj=file) as opened:
            return [member.name.removeprefix("./") for member in opened if member.isfile()]
    names: list[str] = []
    with zipfile.ZipFile(file) as packed:
        for name in packed.namelist():
            if is_archive(name) and depth + 1 < MAX_DEPTH and not name.rpartition("/")[2].startswith("."):
                with packed.open(name) as inner:
                    names += [f"{strip_archive(name)}/{path}" for path in _list_opened(inner, depth + 1)]
            elif not name.endswith("/"):
                names.append(name)
    return names


def _unpack_one(archive: Path, folder: Path) -> None:
    """Unpack every member of one archive, none of them outside the folder."""
    with open(archive, "rb") as file:
        is_seven = file.read(len(SEVEN_ZIP)) == SEVEN_ZIP
    if is_seven:
        _unpack_seven(archive, folder)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            for name in members.namelist():
                _refuse_outside(archive, name)
            _refuse_size(archive, sum(member.file_size for member in members.infolist()))
            members.extractall(folder)
    else:
        with tarfile.open(archive) as members:
            _refuse_size(archive, sum(member.size for member in members))
            members.extractall(folder, filter="data")
            while members.fileobj is not None and members.fileobj.read(BLOCK_BYTES):
                pass  # a broken header ends a tar quietly: the checksum comes last


def _unpack_seven(archive: Path, folder: Path) -> None:
    """Unpack a 7z archive."""
    import py7zr

    with py7zr.SevenZipFile(archive) as members:
        if members.needs_password():
            raise RuntimeError("encrypted, it needs a password")
        listed = members.list()
        for member in listed:
            _refuse_outside(archive, member.filename)
            if member.is_symlink:
                raise InputError(f"{archive}: member {member.filename!r} is a link; refused")
        _refuse_size(archive, sum(member.uncompressed for member in listed))
        members.extractall(folder)


def _refuse_outside(archive: Path, name: str) -> None:
    """Refuse a member whose path leads out of the folder."""
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
        raise InputError(f"{archive}: member {name!r} would land outside the folder; refused")


def _refuse_size(archive: Path, total: int) -> None:
    """Refuse more bytes than an honest archive holds, or than fit on the disk."""
    packed, free = archive.stat().st_size, shutil.disk_usage(archive.parent).free
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * packed:
        cause = f"{total / 1e9:,.1f} GB in {packed / 1e6:,.1f} MB looks like a bomb"
        raise InputError(f"{archive}: {cause}; nothing was unpacked. Unpack it by hand if you know better")
    if total + SPARE_BYTES > free:
        cause = f"unpacked it takes {total / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free"
        raise InputError(f"{archive}: {cause}; free some space or choose another --workspace")
