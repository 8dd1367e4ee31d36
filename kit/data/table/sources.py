"""What a key of ``[data]`` points to: a folder, an archive, a file, or the images that a CSV lists.

Reads competition.toml's words and looks them up below the data root; writes nothing but unpacked archives, below
``runs/NAME/unpacked``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kit.config.competition import Competition, Mining
from kit.config.data import Listing
from kit.core.errors import InputError, nearest
from kit.core.files import key_of
from kit.core.names import PROGRAM
from kit.data.table.archives import is_archive
from kit.data.table.scan import extract_archive, is_visible

UNNAMED = "unnamed:"  # begins the name that pandas gives to an index without one


def name_key(competition: Competition, key: str) -> str:
    """Return a key of ``[data]``, or of ``[mining]`` where that has it, as messages name it."""
    table = "mining" if key in Mining.model_fields else "data"
    return f"{competition.file}: [{table}] {key}"


def list_folders(source: str | list[str] | tuple[str, ...] | Listing | None) -> list[str]:
    """Return the folders that a source names."""
    if isinstance(source, Listing):
        return source.folders
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
        return _open_archive(competition, path)
    remedy = f' ({key} = {{ csv = "{text}", images = "..." }} reads a CSV)' if text.endswith(".csv") else ""
    raise InputError(f"{name_key(competition, key)} = {text!r} is a file; name a folder or an archive{remedy}")


def find_folders(competition: Competition, key: str, texts: Sequence[str]) -> list[Path]:
    """Return the folders that a key names, as `find_folder` does."""
    return [find_folder(competition, key, text) for text in texts]


def find_file(competition: Competition, key: str, text: str) -> Path:
    """Return the file that a key of ``[data]`` names; InputError where it is not there or is a folder."""
    path = _locate(competition, key, text)
    if path.is_dir():
        raise InputError(f"{name_key(competition, key)} = {text!r} is a folder; name a file")
    return path


def is_named(column: str) -> bool:
    """Tell whether a column has a name: the index that pandas writes has none."""
    return bool(column) and not column.casefold().startswith(UNNAMED)


def id_column(rows: pd.DataFrame, listing: Listing) -> str:
    """Return the name of a listing's id column; an index that pandas wrote has no name and is none."""
    return listing.id or next(filter(is_named, rows.columns), "")


def _open_archive(competition: Competition, archive: Path) -> Path:
    """Return the folder of an archive's files, unpacked once: another archive, another folder."""
    status = archive.stat()
    name = f"{archive.name}-{key_of(status.st_size, status.st_mtime_ns)}"
    return extract_archive(archive, competition.workspace.runs(competition.name) / "unpacked" / name)


def _locate(competition: Competition, key: str, text: str) -> Path:
    """Return an existing path, also inside an archive, or say what lies there instead."""
    check_root(competition)
    path = competition.root / text
    if path.exists():
        return path
    folder = next(parent for parent in path.parents if parent.exists())
    inside = path.relative_to(folder)
    if folder.is_file() and is_archive(folder.name):
        folder = _open_archive(competition, folder)
        if (folder / inside).exists():
            return folder / inside
    shown = folder if folder.is_dir() else folder.parent
    wanted = inside.parts[0] if folder.is_dir() else folder.name
    names = [entry.name for entry in shown.iterdir() if is_visible(entry.name)]
    cause = f"{wanted!r} is not in {shown}; {nearest(wanted, names)}"
    raise InputError(f"{name_key(competition, key)} = {text!r}: {cause}")
