"""Files as the interface between stages: written atomically, keyed by content, locked against a second run.

Every file of the kit is written under a temporary name beside its place, flushed to the disk and renamed, so a
reader sees the old file or the whole one, whatever kills the writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kit.terminal import warn

if TYPE_CHECKING:
    import numpy as np

KEY_LENGTH = 16  # hexadecimal digits of a key: 64 bits
POLL_SECONDS = 0.5
HEADER_BYTES = 256  # no header of an array of ours is longer
ZEROS_BYTES = 2**24  # written at a time


@dataclass(frozen=True)
class Workspace:
    """Name the folders of one workspace: data/, runs/, folds/ and submissions/ below `root`.

    Parameters
    ----------
    root
        The folder; the repository by default.
    """

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
def write_atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of `path` when the block ends well.

    Parameters
    ----------
    path
        Where the file shall be; its folder is made.
    mode
        ``"wb"``, or ``"w"`` for UTF-8 text with line ends left alone.

    Raises
    ------
    OSError
        When the disk is full or the folder cannot be written; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write `value` as JSON, atomically; without `indent` on one line, ten times faster for what nobody reads."""
    with write_atomic(path, "w") as file:
        file.write(json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of the kit's own; None where there is none or a foreign hand broke it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def read_object(path: Path, *keys: str) -> dict[str, Any] | None:
    """Read a JSON object of the kit's own; None where there is none, or the file holds anything but one.

    Parameters
    ----------
    path
        The file.
    keys
        What it must hold; without one of them it is another version's, or another hand's.
    """
    found = read_json(path)
    return found if isinstance(found, dict) and all(key in found for key in keys) else None


def remedy_for(path: Path) -> str:
    """Return how a damaged file comes to be made again: of a finished run's fold, the run's note of that goes too."""
    finished = path.parent.parent / "run.json"
    return f"delete {path.parent}{f' and {finished}' if finished.exists() else ''} and run again"


def key_of(*parts: object) -> str:
    """Return a short hash of JSON-like values: the key of what is made from them."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: Any,
    fill: Callable[[np.ndarray, int, int], None],
    block: int = 256,
    after_block: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return the memory-mapped array at `path`, computing the rows that are not there yet; a damaged one is remade.

    Rows are computed in blocks into a ``.part`` file beside `path`, with a note of how many are safe on the disk, so
    that a killed run goes on where it stopped. The disk space is reserved first: a full disk is an error here, not a
    bus error in the middle of a write. Of several processes that want the same array one fills it and the others wait;
    where the one is killed, the next goes on.

    Parameters
    ----------
    path
        The ``.npy`` file; its name holds the key of its content.
    shape
        Shape, rows first.
    dtype
        What numpy takes for a dtype.
    fill
        ``fill(rows, start, stop)`` writes rows start..stop into `rows` (stop - start, ...).
    block
        Rows per block.
    after_block
        Called between blocks, where the rows so far are safe; what it raises stops the filling, and a later call goes
        on at the next block.

    Raises
    ------
    OSError
        When the disk is full.
    """
    import numpy as np

    if (found := read_array(path, shape, dtype)) is None:
        lock = path.with_suffix(".lock")
        with _locked(lock):
            if not path.exists():  # else another process made it while this one waited
                _fill_part(path, shape, dtype, fill, block, after_block)
            # Safe: whoever waits for this lock file, and whoever makes a new one, finds `path` made.
            lock.unlink(missing_ok=True)
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def read_array(path: Path, shape: tuple[int | None, ...], dtype: Any) -> np.ndarray | None:
    """Return the memory-mapped array at `path`, or None where there is none; a damaged one is named and deleted.

    Parameters
    ----------
    path
        A ``.npy`` file that can be made again.
    shape
        Its shape; None for an axis whose length is not known beforehand.
    dtype
        What numpy takes for a dtype.
    """
    import numpy as np

    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.dtype != np.dtype(dtype) or len(found.shape) != len(shape):
            raise ValueError(path)
        if any(wanted not in (None, length) for wanted, length in zip(shape, found.shape, strict=True)):
            raise ValueError(path)
    except FileNotFoundError:
        return None
    except (EOFError, ValueError, OverflowError):  # numpy's words, of pickles, would not help
        warn(f"{path}: damaged, and made again")
        path.unlink(missing_ok=True)
        return None
    return found


@contextlib.contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Hold a lock file alone; the operating system takes it from a process that dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill_part(
    path: Path,
    shape: tuple[int, ...],
    dtype: Any,
    fill: Callable[[np.ndarray, int, int], None],
    block: int,
    after_block: Callable[[], None],
) -> None:
    """Compute the rows of the half-made array that are missing, then put it in its place."""
    part, note = path.with_suffix(".part"), path.with_suffix(".rows")
    rows, done = _open_part(part, note, shape, dtype)
    for start in range(done, shape[0], block):
        stop = min(start + block, shape[0])
        fill(rows[start:stop], start, stop)
        rows.flush()
        write_json(note, stop)
        if stop < shape[0]:
            after_block()
    del rows
    os.replace(part, path)
    note.unlink(missing_ok=True)


def _open_part(part: Path, note: Path, shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, int]:
    """Open the half-made array, or reserve a new one."""
    import numpy as np

    done = read_json(note)
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if isinstance(done, int) and part.exists() and part.stat().st_size > n_bytes:  # numpy would lengthen a cut file
        with contextlib.suppress(ValueError):
            rows = np.lib.format.open_memmap(part, mode="r+")
            if rows.shape == shape and rows.dtype == np.dtype(dtype):
                return rows, done
    note.unlink(missing_ok=True)
    _reserve(part, n_bytes + HEADER_BYTES)
    # open_memmap would truncate and so give the reserved space back: write the header into it instead.
    with open(part, "r+b") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + n_bytes)
    return np.lib.format.open_memmap(part, mode="r+"), 0


def _reserve(part: Path, n_bytes: int) -> None:
    """Make a file whose disk space is its own; macOS cannot reserve, so zeros are written there."""
    try:
        with open(part, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                for start in range(0, n_bytes, ZEROS_BYTES):
                    file.write(bytes(min(ZEROS_BYTES, n_bytes - start)))
    except OSError:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def hold(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a workspace folder alone; wait, saying who holds it, while another run does.

    The lock is the operating system's (flock), so a killed run leaves none behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    file.seek(0)
                    say(f"{folder} is held by {file.read().strip() or 'another run'}; waiting for it to end")
                waiting = True
                time.sleep(POLL_SECONDS)
        _note_holder(file, f"process {os.getpid()} since {time.strftime('%H:%M:%S')}")
        try:
            yield
        finally:
            _note_holder(file, "")


def _note_holder(file: IO[str], holder: str) -> None:
    """Write into a lock file who holds it: a courtesy to those who wait, that a full disk need not grant."""
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), holder.encode())  # unbuffered: closing the file would write what a full disk refused
