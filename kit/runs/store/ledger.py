"""The ledger of runs: a line for every run that was ever finished, and for every other look at a score of these folds.

Appends to ``runs/NAME/history.jsonl``, alone and whole: a line that a kill has torn is cut off by the next writer. It
stays when a run's folder is cleaned away. Reading waits for nobody and changes nothing; a line that is not whole is
left out.

Every line holds the SHA-256 of the line before it, so that none can be edited or taken out unseen. The newest one's is
repeated in ``folds/NAME.log``, beside the folds that the looks were at, and every run.json holds the one before its
own line: a ledger that was cut short or deleted is missed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core.files import hash_file, write_atomic
from kit.core.terminal import warn

FILE = "history.jsonl"
PREVIOUS = "previous"  # of a line: the hash of the one before it
LOST = "lost"  # of a line: the hash of the newest one of a ledger that was cut short or gone when it was written
RUNS = "runs"  # the folder of a workspace in which homes lie
SEAL = "run_json"  # of a run's line: the hash of its run.json
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
    seals
        SHA-256 of every run.json that they had.
    n_torn
        Lines that are not whole.
    """

    runs: dict[tuple[str, str], Line]
    notes: dict[tuple[str, str], str]
    seals: dict[tuple[str, str], set[str]]
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


def note_finished(home: Path, document: dict[str, Any], file: Path) -> None:
    """Append a finished run to the ledger of ``runs/NAME``, from what its run.json holds, with the SHA-256 of `file`.

    `file` is its run.json, which may take its place afterwards: what a kill leaves is then a line too many, and never a
    run.json that the ledger does not know.
    """
    line = {key: document[key] for key in KEPT if key in document}
    _append(home, line | {SEAL: hash_file(file)} | ({"note": _note} if _note else {}))


def note_act(home: Path, act: str, **facts: Any) -> None:
    """Append another look or act than a finished run, once for each content: ``"prompts"``, ``"setting"``, ..."""
    line = {"act": act, **facts}
    if not any(_content(other) == line for other in read_acts(home, act)):
        _append(home, line | {"made": time.strftime("%Y-%m-%dT%H:%M:%S%z")})


def read_acts(home: Path, act: str) -> list[Line]:
    """Return the lines of one kind of act, the first made first."""
    return [line for line in _read_lines(home / FILE) if line is not None and line.get("act") == act]


def _content(line: Line) -> Line:
    return {name: value for name, value in line.items() if name not in (PREVIOUS, "made")}


def note_again(folder: Path, name: str, key: str, text: str) -> None:
    """Note something of a run that was finished before; what was noted earlier makes way."""
    _append(folder.parents[1], {"name": name, "key": key, "note": text})


def read_ledger(home: Path) -> Ledger:
    """Return what was ever finished in ``runs/NAME``; of a run that was made again, the last line counts."""
    runs: dict[tuple[str, str], Line] = {}
    notes: dict[tuple[str, str], str] = {}
    seals: dict[tuple[str, str], set[str]] = {}
    n_torn = 0
    for line in _read_lines(home / FILE):
        if line is None:
            n_torn += 1
            continue
        if "act" in line:
            continue
        place = line["name"], line["key"]
        if "cv" in line:
            runs[place] = line
        if SEAL in line:
            seals.setdefault(place, set()).add(line[SEAL])
        if line.get("note"):
            notes[place] = line["note"]
    return Ledger(runs, notes, seals, n_torn)


def _read_lines(path: Path) -> Iterator[Line | None]:
    """Give the lines of the file; None for one that is not whole, or not as the kit writes it."""
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").split("\n")  # a note may hold other line ends
    except FileNotFoundError:
        return
    for text in texts[:-1] if texts[-1] == "" else texts:
        line = _read_line(text)
        yield line if _is_whole(line) else None


def _read_line(text: str | bytes) -> Any:
    """Return what a line holds; None where it is no JSON object."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _is_whole(line: Any) -> bool:
    """Return whether a line is one of ours: an act, or something of a run."""
    if line is None:
        return False
    return isinstance(line.get("act"), str) or all(isinstance(line.get(name), str) for name in ("name", "key"))


@dataclass(frozen=True)
class Chain:
    """Hold how the lines of a ledger hang together.

    Parameters
    ----------
    hashes
        SHA-256 of every line, the first one first.
    broken
        The number of the first line, from 1, that does not follow from the line before it; None where all do.
    lost
        The numbers of lines, from 1, before which others were cut off.
    last_seen
        The hash of the newest line as ``folds/NAME.log`` has it; None where that file is not there.
    """

    hashes: list[str]
    broken: int | None
    lost: list[int]
    last_seen: str | None

    @property
    def newest(self) -> str:
        """Return the hash of the newest line; empty where there is none."""
        return self.hashes[-1] if self.hashes else ""

    @property
    def is_cut(self) -> bool:
        """Return whether a line is missing that was there once."""
        return self.last_seen is not None and self.last_seen not in self.hashes


def read_chain(home: Path) -> Chain:
    """Return how the ledger of ``runs/NAME`` hangs together."""
    content = (home / FILE).read_bytes() if (home / FILE).exists() else b""
    texts = content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]  # what is torn at the end is no line yet
    hashes = [_hash_line(text) for text in texts]
    lines = [_read_line(text) or {} for text in texts]
    follows = [line.get(PREVIOUS) == before for line, before in zip(lines, ["", *hashes], strict=False)]
    broken = next((number for number, is_right in enumerate(follows, start=1) if not is_right), None)
    seen = _log_of(home)
    return Chain(
        hashes,
        broken,
        [number for number, line in enumerate(lines, start=1) if LOST in line],
        seen.read_text().strip() if seen.exists() else None,
    )


def _hash_line(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _log_of(home: Path) -> Path:
    """Return the file beside the folds that repeats the newest hash, of ``runs/NAME`` in a workspace."""
    return home.parents[1] / "folds" / f"{home.name}.log"


def _append(home: Path, line: Line) -> None:
    """Append a line, which is on the disk when this returns; what is torn at the end of the file is cut off."""
    from filelock import FileLock

    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".history.lock"), open(home / FILE, "ab+") as file:
        _heal(file, home / FILE)
        chain = read_chain(home)
        lost = {LOST: chain.last_seen} if chain.is_cut else {}
        text = json.dumps(line | lost | {PREVIOUS: chain.newest}, ensure_ascii=False, default=str).encode()
        file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if home.parent.name == RUNS:
            with write_atomic(_log_of(home)) as log:
                log.write(f"{_hash_line(text)}\n".encode())


def _heal(file: Any, path: Path) -> None:
    """Cut off what stands behind the last line end: a write that was interrupted."""
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
        warn(f"{path}: its last line was not written to the end ({len(content) - whole} bytes) and is cut off")
    file.seek(0, os.SEEK_END)
