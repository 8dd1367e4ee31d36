"""Files as the interface between stages: written atomically, keyed by content.

Every file of the kit is written under a temporary name beside its place, flushed to the disk and renamed, so a
reader sees the old file or the whole one, whatever kills the writer.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

KEY_LENGTH = 16  # hexadecimal digits of a key: 64 bits


@dataclass(frozen=True)
class Workspace:
    """Name the folders of one workspace: data/, runs/, folds/ and submissions/ below `root`."""

    root: Path

    def runs(self, competition: str) -> Path:
        """Return the folder of everything computed for a competition."""
        return self.root / "runs" / competition

    def cache(self, competition: str) -> Path:
        """Return the folder of decoded images and features."""
        return self.runs(competition) / "cache"

    def folds(self, competition: str) -> Path:
        """Return the fold file."""
        return self.root / "folds" / f"{competition}.csv"

    def submissions(self, competition: str) -> Path:
        """Return the folder of the submissions and their ledger."""
        return self.root / "submissions" / competition


@contextlib.contextmanager
def write_atomic(path: Path, mode: Literal["wb", "w"] = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of `path` when the block ends without an error.

    The folder of `path` is made. In the mode ``"w"`` the file is UTF-8 text whose line ends are left alone.

    Raises
    ------
    OSError
        When the disk is full or the folder cannot be written; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # two machines may share a pid
    try:
        with open(temporary, mode) if mode == "wb" else open(temporary, mode, encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `folder` when the block ends without an error.

    Of two processes that write the same folder at once, the first to end is the one whose folder stays; the other's
    is dropped.

    Raises
    ------
    OSError
        When the disk is full or the folder cannot be made; nothing is left behind.
    """
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.is_dir():  # not because another process was first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write `value` as JSON, atomically. With ``indent=None`` it is one line, which is ten times faster to write."""
    with write_atomic(path, "w") as file:
        file.write(json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n")


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> bytes:
    """Return a table as the kit writes CSV: UTF-8, with commas and a line feed after each line."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV, atomically; its folder is made."""
    with write_atomic(path) as file:
        file.write(csv_text(header, rows))


def read_json(path: Path) -> Any:
    """Read a JSON file that the kit wrote; None where there is none, or it is no JSON any more."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def read_object(path: Path, *keys: str) -> dict[str, Any] | None:
    """Read a JSON object that the kit wrote; None where there is none, or it lacks one of `keys`.

    A file without such a key was written by another version of the kit, or changed by hand.
    """
    value = read_json(path)
    return value if isinstance(value, dict) and all(key in value for key in keys) else None


def remedy_for(path: Path) -> str:
    """Say how a damaged file is made again. Where a fold of a finished run is damaged, ``run.json`` must go too."""
    finished = path.parent.parent / "run.json"
    return f"delete {path.parent}{f' and {finished}' if finished.exists() else ''} and run again"


def key_of(*parts: object) -> str:
    """Return a short hash of JSON-like values: the key of whatever is made from them."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
