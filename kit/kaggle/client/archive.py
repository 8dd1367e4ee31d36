"""Unpack a downloaded zip, and trust nothing in it: names, links, sizes, checksums.

Every member's CRC is checked as it is written, so the archive is read once.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from kit.core.errors import InputError, some

COPY_BYTES = 2**20
MAX_RATIO = 200  # unpacked to packed; images reach 2, tables 20
RATIO_FREE_BYTES = 2**30  # less than this is no bomb, however well it was packed
SPARE_BYTES = 2**28  # left free on the disk


class BadArchive(Exception):
    """Say that a zip is damaged: cut short, or a checksum that does not fit."""


def extract_zip(archive: Path, folder: Path) -> int:
    """Unpack a zip into a new folder that appears when all of it is there; return the number of files.

    Raises
    ------
    BadArchive
        When the zip is damaged; fetch it again.
    InputError
        When a member would land outside, is a link, or all of them would not fit or are a bomb.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            check_archive(archive, members, shutil.disk_usage(archive.parent).free)
            part.mkdir(parents=True)
            for member in members:
                _write_member(opened, member, part / member.filename)
        part.replace(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadArchive(str(error)) from error
    except (NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); unpack it by hand into {folder}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(members)


def check_archive(archive: Path, members: list[zipfile.ZipInfo], free_bytes: int) -> None:
    """Refuse members that would land outside the folder, links, equal names, and more bytes than fit on the disk.

    InputError for a member, or for all of them together.
    """
    for member in members:
        name = member.filename
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise InputError(f"{archive}: member {name!r} would land outside the folder; nothing was unpacked")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{archive}: member {name!r} is a link; nothing was unpacked")
    names = [str(PurePosixPath(member.filename)) for member in members]
    if len(set(names)) < len(names):
        doubles = sorted({name for name in names if names.count(name) > 1}) if len(names) < 10_000 else ["..."]
        raise InputError(f"{archive}: members of the same name: {some(doubles)}; nothing was unpacked")
    total = sum(member.file_size for member in members)
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * archive.stat().st_size:
        raise InputError(
            f"{archive}: {total / 1e9:,.1f} GB in {archive.stat().st_size / 1e6:,.1f} MB looks like a zip bomb; "
            "nothing was unpacked. Unpack it by hand if you know better"
        )
    if total + SPARE_BYTES > free_bytes:
        raise InputError(
            f"{archive}: unpacked it takes {total / 1e9:,.1f} GB and {free_bytes / 1e9:,.1f} GB are free; free some "
            "space or choose another --workspace"
        )


def _write_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Write one file; zipfile stops at the size that the archive names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, open(path, "xb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
