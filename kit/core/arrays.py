"""Arrays on disk that can be made again: filled block by block, mapped into memory, healed when damaged.

Reads and writes ``.npy`` files; a half-made one lies beside its place, with a note of how many rows are safe.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.errors import InputError
from kit.core.files import read_json, write_json
from kit.core.held import Held, hold_lock
from kit.core.terminal import note as tell_user
from kit.core.terminal import warn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

HEADER_BYTES = 256  # no header of an array of ours is longer
ZEROS_BYTES = 2**24  # written at a time
_patience: ContextVar[bool] = ContextVar("patience", default=True)


class BeingMade(InputError):
    """Another process makes an array now, and this one does not wait for it."""


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Raise BeingMade in this block where an array that is wanted is being made by another process."""
    token = _patience.set(False)
    try:
        yield
    finally:
        _patience.reset(token)


def is_patient() -> bool:
    """Return whether this block may wait for another process, and make what that one makes."""
    return _patience.get()


def fill_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    fill: Callable[[np.ndarray, int, int], None],
    block: int = 256,
    after_block: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return the memory-mapped array at `path`, computing the rows that are not there yet; a damaged one is remade.

    Rows are computed in blocks into a ``.part`` file beside `path`, with a note of how many are safe on the disk, so
    that a killed run goes on where it stopped. The disk space is reserved first: a full disk is an OSError here, not a
    bus error in the middle of a write. Of several processes that want the same array one fills it and the others wait;
    where the one is killed, the next goes on.

    Parameters
    ----------
    path
        The ``.npy`` file; its name holds the key of its content.
    fill
        ``fill(rows, start, stop)`` writes the rows start..stop into `rows`, an array of (stop - start, ...).
    block
        Rows per block.
    after_block
        Called between blocks. What it raises stops the filling; a later call goes on at the next block.
    """
    import numpy as np

    if (array := read_array(path, shape, dtype)) is None:
        lock = path.with_suffix(".lock")
        try:
            with hold_lock(lock, path.with_suffix(".holder"), path, tell_user if _patience.get() else None):
                if not path.exists():  # else another process made it while this one waited
                    _fill_part(path, shape, dtype, fill, block, after_block)
        except Held as error:
            raise BeingMade(f"{path}: being made now by {error}; call again when it is done") from error
        with contextlib.suppress(OSError):  # whoever waits for this lock file, or makes a new one, finds `path` made
            lock.unlink()
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def read_array(path: Path, shape: tuple[int | None, ...], dtype: DTypeLike) -> np.ndarray | None:
    """Return the memory-mapped array at `path`, or None where there is none; a damaged one is named and deleted.

    In `shape` None stands for the length of an axis that is not known beforehand.
    """
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.dtype != np.dtype(dtype) or len(array.shape) != len(shape):
            raise ValueError(path)
        if any(wanted not in (None, length) for wanted, length in zip(shape, array.shape, strict=True)):
            raise ValueError(path)
    except FileNotFoundError:
        return None
    except (EOFError, ValueError, OverflowError):  # numpy's words, of pickles, would not help
        warn(f"{path}: damaged, and made again")
        path.unlink(missing_ok=True)
        return None
    return array


def _fill_part(
    path: Path,
    shape: tuple[int, ...],
    dtype: DTypeLike,
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


def _open_part(part: Path, note: Path, shape: tuple[int, ...], dtype: DTypeLike) -> tuple[np.memmap, int]:
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
