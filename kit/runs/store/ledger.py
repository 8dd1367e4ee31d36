"""The ledger of runs: a line for every run that was ever finished, which stays when the run's folder is cleaned away.

Appends to ``runs/NAME/history.jsonl``, alone and whole: a line that a kill has torn is cut off by the next writer.
Reading waits for nobody and changes nothing; a line that is not whole is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core.terminal import warn

FILE = "history.jsonl"
KEPT = (  # of a run's run.json
    "name key made cv se interval metric metric_key fold_key pool_key model settings options pseudo use_test_images "
    "refit exclude rounds members weights seconds machine kit commit from"
).split()

Line = dict[str, Any]
_note = ""


@dataclass(frozen=True)
class Ledger:
    """Hold what the file says.

    Parameters
    ----------
    runs
        A run's line by its name and key, in the order in which they were first finished.
    notes
        What was noted of them last, by name and key.
    n_torn
        Lines that are not whole.
    """

    runs: dict[tuple[str, str], Line]
    notes: dict[tuple[str, str], str]
    n_torn: int


@contextmanager
def noting(text: str | None) -> Iterator[None]:
    """Let every run that is finished inside the block have a note."""
    global _note
    before, _note = _note, text or ""
    try:
        yield
    finally:
        _note = before


def note_finished(folder: Path, document: dict[str, Any]) -> None:
    """Append a finished run, whose folder is ``runs/NAME/RUN/KEY``, from what its run.json holds."""
    line = {key: document[key] for key in KEPT if key in document}
    _append(folder.parents[1], line | ({"note": _note} if _note else {}))


def note_again(folder: Path, name: str, key: str, text: str) -> None:
    """Note something of a run that was finished before; what was noted earlier makes way."""
    _append(folder.parents[1], {"name": name, "key": key, "note": text})


def read_ledger(home: Path) -> Ledger:
    """Return what was ever finished in ``runs/NAME``; of a run that was made again, the last line counts."""
    runs: dict[tuple[str, str], Line] = {}
    notes: dict[tuple[str, str], str] = {}
    n_torn = 0
    for line in _read_lines(home / FILE):
        if line is None:
            n_torn += 1
            continue
        place = line["name"], line["key"]
        if "cv" in line:
            runs[place] = line
        if line.get("note"):
            notes[place] = line["note"]
    return Ledger(runs, notes, n_torn)


def _read_lines(path: Path) -> Iterator[Line | None]:
    """Give the lines of the file; None for one that is not whole, or not as the kit writes it."""
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            yield None
            continue
        is_whole = isinstance(line, dict) and isinstance(line.get("name"), str) and isinstance(line.get("key"), str)
        yield line if is_whole else None


def _append(home: Path, line: Line) -> None:
    """Append a line, which is on the disk when this returns; what is torn at the end of the file is cut off."""
    from filelock import FileLock

    home.mkdir(parents=True, exist_ok=True)
    text = json.dumps(line, ensure_ascii=False, default=str) + "\n"
    with FileLock(home / ".history.lock"), open(home / FILE, "ab+") as file:
        _heal(file, home / FILE)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _heal(file: Any, path: Path) -> None:
    """Cut off what stands behind the last line end: a write that was interrupted."""
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
        warn(f"{path}: its last line was not written to the end ({len(content) - whole} bytes) and is cut off")
    file.seek(0, os.SEEK_END)
