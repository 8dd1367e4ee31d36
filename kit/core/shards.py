"""Large arrays in several files, so that of three million images none is larger than a gigabyte.

An array of at most `SHARD_BYTES` is one file, ``KEY.npy``. A larger one is ``KEY-0000-of-0007.npy`` and so on, each
filled and healed by itself, so that several processes can fill different ones; `Sharded` reads them as one array.
Ranges of rows that processes elsewhere have made lie in ``KEY.START-STOP.npy`` until the array is put together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kit.core.arrays import fill_array, read_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

SHARD_BYTES = 2**30  # of a file at most
NUMBERED = "-????-of-????"  # what stands behind the key in a shard's name
UNFINISHED = (".part", ".rows")

Fill = Callable[["np.ndarray", int, int], None]


class Sharded:
    """Read the arrays of several files, one after the other along the first axis, as one: by slice, row or rows.

    A file is mapped for as long as it is read: what was read before takes no memory.
    """

    def __init__(self, files: Sequence[Path], lengths: Sequence[int], first: np.ndarray) -> None:
        import numpy as np

        self._files, self._starts = tuple(files), np.concatenate([[0], np.cumsum(lengths)])
        self.shape, self.dtype, self.ndim = (int(self._starts[-1]), *first.shape[1:]), first.dtype, first.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        import numpy as np

        if isinstance(key, tuple):
            first, *others = key
            return self[first][(*([] if isinstance(first, int | np.integer) else [slice(None)]), *others)]
        if isinstance(key, int | np.integer):
            return self[np.array([key])][0]
        rows = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all in an array of {len(self)}")
        rows = np.where(rows < 0, rows + len(self), rows)
        values = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        home = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(home):
            here = np.flatnonzero(home == number)
            values[here] = np.load(self._files[number], mmap_mode="r")[rows[here] - self._starts[number]]
        return values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


def fill_shards(
    path: Path,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    fill: Fill,
    block: int = 256,
    after_block: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return the array at `path` as `kit.core.arrays.fill_array` does; where it is large, a `Sharded` one."""
    if (known := read_shards(path, shape, dtype)) is not None:
        return known
    n_shards = len(shard_ranges(shape, dtype, block))
    for number in range(n_shards):
        filled = fill_shard(path, shape, dtype, fill, number, block, after_block)
        if n_shards == 1:
            return filled
        after_block()
    whole = read_shards(path, shape, dtype)
    return fill_shards(path, shape, dtype, fill, block, after_block) if whole is None else whole


def fill_shard(
    path: Path,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    fill: Fill,
    number: int,
    block: int = 256,
    after_block: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return one shard of an array, filled where it is not there; `shape` and `fill` are those of the whole array."""
    ranges = shard_ranges(shape, dtype, block)
    first, last = ranges[number]
    file = path if len(ranges) == 1 else path.with_name(f"{path.stem}-{number:04d}-of-{len(ranges):04d}.npy")

    def fill_rows(rows: np.ndarray, start: int, stop: int) -> None:
        fill(rows, first + start, first + stop)

    return fill_array(file, (last - first, *shape[1:]), dtype, fill_rows, block, after_block)


def shard_ranges(shape: tuple[int, ...], dtype: DTypeLike, block: int = 256) -> list[tuple[int, int]]:
    """Return the first row of each shard and the one after its last: whole blocks, one shard of a small array."""
    import numpy as np

    of_block = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize * block
    n_rows = max(1, SHARD_BYTES // max(of_block, 1)) * block
    return [(start, min(start + n_rows, shape[0])) for start in range(0, max(shape[0], 1), n_rows)]


def read_shards(path: Path, shape: tuple[int | None, ...], dtype: DTypeLike) -> np.ndarray | None:
    """Return the array at `path`, memory-mapped, or None where it, or one of its shards, is not there.

    A damaged file is named and deleted. In `shape` None stands for the length of an axis that is not known beforehand.
    """

    files = list_shards(path)
    if not files or files == [path]:
        return read_array(path, shape, dtype)
    parts = [read_array(file, (None, *shape[1:]), dtype) for file in files]
    if any(part is None for part in parts):
        return None
    whole = Sharded(files, [len(part) for part in parts if part is not None], cast("np.ndarray", parts[0]))
    return cast("np.ndarray", whole) if shape[0] in (None, len(whole)) else None


def list_shards(path: Path) -> list[Path]:
    """Return the files of a finished array: `path`, or all its shards in order; none where it is not finished."""
    if path.exists():
        return [path]
    files = sorted(path.parent.glob(f"{path.stem}{NUMBERED}.npy"))
    return files if files and len(files) == int(files[0].stem.rpartition("-")[2]) else []


def range_at(path: Path, start: int, stop: int) -> Path:
    """Return the file of the rows `start` to `stop` of an array that `path` shall hold."""
    return path.with_name(f"{path.stem}.{start}-{stop}.npy")


def list_ranges(path: Path) -> list[tuple[int, int, Path]]:
    """Return the first row, the one after the last, and the file of each range that was made elsewhere, in order."""
    ranges = [(file.stem.rpartition(".")[2].partition("-"), file) for file in path.parent.glob(f"{path.stem}.*-*.npy")]
    return sorted((int(first), int(last), file) for (first, _, last), file in ranges)


def take_rows(
    ranges: Sequence[tuple[int, int, Path]], start: int, stop: int, shape: tuple[int, ...], dtype: DTypeLike
) -> np.ndarray | None:
    """Return rows of an array of a `shape` that lie in one of the `ranges`; None where none holds them all."""
    for first, last, file in ranges:
        if first <= start and stop <= last:
            values = read_array(file, (last - first, *shape[1:]), dtype)
            return None if values is None else values[start - first : stop - first]
    return None


def remove_ranges(path: Path) -> None:
    """Delete the ranges of an array that was put together, or is given up."""
    for _, _, file in list_ranges(path):
        file.unlink(missing_ok=True)


def remove_array(path: Path) -> None:
    """Delete an array, finished or not."""
    remove_ranges(path)
    for suffix in (".npy", *UNFINISHED):
        path.with_suffix(suffix).unlink(missing_ok=True)
        for file in path.parent.glob(f"{path.stem}{NUMBERED}{suffix}"):
            file.unlink(missing_ok=True)


def is_begun(path: Path) -> bool:
    """Return whether any part of an array was made."""
    is_there = path.exists() or path.with_suffix(".part").exists() or any(path.parent.glob(f"{path.stem}{NUMBERED}.*"))
    return is_there or bool(list_ranges(path))
