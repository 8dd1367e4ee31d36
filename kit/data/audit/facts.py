"""The facts of all files, each read once: what it is, what is wrong with it, what it looks like in small.

Reads every image once; writes ``audit.parquet`` into the cache, keyed by path, size and time of change, so that the
next call only asks the file system what changed. Broken images are left out of everything that follows.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.core import terminal
from kit.core.arrays import BeingMade, is_patient
from kit.core.errors import InputError
from kit.core.files import write_atomic
from kit.core.held import Held, hold_lock
from kit.core.process import open_threads
from kit.core.shapes import Pixels
from kit.data.audit.image_file import SMALL_SIDE, measure_file, read_stamp

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FILE = "audit.parquet"
PARTS = "audit.part-*.parquet"  # what a killed audit leaves, and the next one goes on from
THUMBNAIL = "thumbnail"  # the one heavy column, read apart and only for the images that are compared
VERSION = "4"  # of what is measured; another one in the cache is measured anew
SAVE_EVERY = 1024  # files: what a killed audit loses at most
N_STAT_THREADS = 8
ROW_GROUP = 8192  # images that are unpacked at a time: 300,000 thumbnails are 240 MB, and as much again packed
STAT_BLOCK = 4096  # files one thread asks the file system about at a time


def audit_files(table: pd.DataFrame, cache: Path) -> pd.DataFrame:
    """Read every file of the image table once and return what it is.

    Parameters
    ----------
    cache
        Folder of ``audit.parquet``; a file that stands in it and has not changed is not measured again.

    Returns
    -------
    DataFrame
        (n_images,) facts on the table's index, with the columns of `kit.data.audit.image_file.measure_file` but for
        `path`, `mtime_ns` and `thumbnail`, which `read_thumbnails` reads. An image without a `problem` can be used.

    Raises
    ------
    InputError
        When no image, or none of a class, can be read.
    BeingMade
        When another process reads the files now, or is about to, and this one does not wait (`kit.core.arrays`).
    """
    import pyarrow as pa

    paths, light = list(dict.fromkeys(table["path"])), [name for name in _schema().names if name != THUMBNAIL]
    known = _read_known(cache, light)
    if _list_changed(paths, known) or any(cache.glob(PARTS)):
        with _reading_alone(cache):  # of what another process measured meanwhile nothing is measured again
            known = _measure_changed(paths, cache).select(light)
    row_of = _find_rows(known)
    rows = pa.array([row_of[path] for path in table["path"]], pa.int64())
    facts = known.drop_columns(["path", "mtime_ns"]).take(rows).to_pandas(self_destruct=True).set_axis(table.index)
    _refuse_hopeless(table, facts)
    return facts


def read_thumbnails(cache: Path, paths: Collection[str]) -> Pixels:
    """Return small pictures of images, as `audit_files` kept them in the folder; black for broken files.

    They are (n_images, SMALL_SIDE, SMALL_SIDE, 3); the memory goes with their number, not with the competition's.
    InputError where a file was not measured, or the cache was changed by another hand since.
    """
    import pyarrow.parquet as pq

    row_of = {path: row for row, path in enumerate(dict.fromkeys(paths))}
    pixels, n_read = np.zeros((len(row_of), SMALL_SIDE, SMALL_SIDE, 3), dtype=np.uint8), 0
    if row_of:
        with pq.ParquetFile(cache / FILE, pre_buffer=False) as file:
            for block in file.iter_batches(ROW_GROUP, columns=["path", THUMBNAIL]):
                rows = np.array([row_of.get(path, -1) for path in block.column("path").to_pylist()], dtype=np.int64)
                wanted = np.flatnonzero(rows >= 0)
                packed = b"".join(block.column(THUMBNAIL).take(wanted).to_pylist())
                pixels[rows[wanted]] = np.frombuffer(packed, dtype=np.uint8).reshape(-1, SMALL_SIDE, SMALL_SIDE, 3)
                n_read += len(wanted)
    if n_read != len(row_of):
        raise InputError(f"{cache / FILE}: was changed while it was read; call again")
    return pixels[[row_of[path] for path in paths]] if len(row_of) < len(paths) else pixels


@contextlib.contextmanager
def _reading_alone(cache: Path) -> Iterator[None]:
    """Let one process read the files at a time; the others wait, or are told by whom they are read and how far."""
    file, lock = cache / FILE, (cache / FILE).with_suffix(".lock")
    if not (is_patient() or file.exists() or lock.exists()):
        raise BeingMade("the images are not read yet: a command that runs now begins with it; call again when it has")
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with hold_lock(lock, file.with_suffix(".holder"), file, terminal.note if is_patient() else None):
            yield
    except Held as error:
        raise BeingMade(f"the images are being read now by {error}; call again when they are") from error
    with contextlib.suppress(OSError):  # whoever waits for this lock file, or makes a new one, finds the files measured
        lock.unlink()


def _schema() -> pa.Schema:
    """Return the columns of audit.parquet."""
    import pyarrow as pa

    columns = {
        "path": pa.string(),
        "mtime_ns": pa.int64(),
        "n_bytes": pa.int64(),
        "digest": pa.string(),
        "format": pa.string(),
        "mode": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "n_frames": pa.int32(),
        "lowest": pa.float64(),
        "highest": pa.float64(),
        "is_whole": pa.bool_(),
        "mean": pa.float64(),
        "problem": pa.string(),
        "remark": pa.string(),
        "dhash": pa.uint64(),
        THUMBNAIL: pa.binary(SMALL_SIDE * SMALL_SIDE * 3),
    }
    return pa.schema(list(columns.items()), metadata={"version": VERSION})


def _find_rows(known: pa.Table) -> dict[str, int]:
    """Return the row of each path: its last, for a changed file has an older one before it."""
    return {path: row for row, path in enumerate(known.column("path").to_pylist())}


def _list_changed(paths: list[str], known: pa.Table) -> list[str]:
    """Return the paths of which nothing is known, or that changed since."""
    columns = (known.column(name).to_pylist() for name in ("path", "n_bytes", "mtime_ns"))
    stamps = {path: (n_bytes, mtime_ns) for path, n_bytes, mtime_ns in zip(*columns, strict=True)}
    return [path for path, stamp in zip(paths, _read_stamps(paths), strict=True) if stamps.get(path) != stamp]


def _read_stamps(paths: list[str]) -> list[tuple[int, int]]:
    """Return (bytes, time of change) of each file, asked in threads: a cold disk answers slowly."""
    blocks = (paths[start : start + STAT_BLOCK] for start in range(0, len(paths), STAT_BLOCK))
    with ThreadPoolExecutor(N_STAT_THREADS) as threads:
        stamps = threads.map(lambda block: [read_stamp(path) for path in block], blocks)
        return list(itertools.chain.from_iterable(stamps))


def _measure_changed(paths: list[str], cache: Path) -> pa.Table:
    """Measure the files of which nothing is known yet, write the whole audit, and return it."""
    import pyarrow as pa

    known = _read_known(cache, _schema().names)
    todo = _list_changed(paths, known)
    whole = pa.concat_tables([known, *(_measure_files(todo, cache) if todo else ())])
    whole = whole.combine_chunks().take(sorted(_find_rows(whole).values()))
    _write_known(whole, cache)
    return whole


def _measure_files(paths: list[str], cache: Path) -> list[pa.Table]:
    """Measure files, saving every few as a part."""
    import pyarrow as pa

    n_parts, tables = len(list(cache.glob(PARTS))), []
    with _decoding_threads() as threads, terminal.Progress("audit", len(paths)) as progress:
        for start in range(0, len(paths), SAVE_EVERY):
            part = []
            for fact in threads.map(measure_file, paths[start : start + SAVE_EVERY]):
                part.append(fact)
                progress.advance()
            tables.append(pa.Table.from_pylist(part, schema=_schema()))
            _write_parquet(tables[-1], cache / PARTS.replace("*", f"{n_parts + len(tables):05d}"))
    terminal.stage("audit", progress.summary("files read"))
    return tables


@contextlib.contextmanager
def _decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """Open a thread per core (decoding and hashing release the GIL), within which torch shall not open more."""
    from PIL import Image

    Image.init()  # registers all formats, which threads must not do at once
    with open_threads(os.cpu_count() or 1) as threads, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what the report says
        yield threads


def _read_known(cache: Path, columns: list[str]) -> pa.Table:
    """Read columns of what earlier audits measured, killed ones included; files of another version are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for file in [cache / FILE, *sorted(cache.glob(PARTS))]:
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            if pq.read_schema(file).equals(_schema(), check_metadata=True):
                tables.append(pq.read_table(file, columns=columns, pre_buffer=False))
    return pa.concat_tables([_schema().empty_table().select(columns), *tables]).combine_chunks()


def _write_known(known: pa.Table, cache: Path) -> None:
    """Write the whole audit; the parts of it are then superfluous."""
    parts = sorted(cache.glob(PARTS))
    _write_parquet(known, cache / FILE)
    for part in parts:
        part.unlink(missing_ok=True)


def _write_parquet(rows: pa.Table, file: Path) -> None:
    """Write a table atomically."""
    import pyarrow.parquet as pq

    with write_atomic(file) as out:
        pq.write_table(rows, out, compression="zstd", row_group_size=ROW_GROUP)


def _refuse_hopeless(table: pd.DataFrame, facts: pd.DataFrame) -> None:
    """Refuse images of which none, or none of a class, can be used."""
    broken = facts["problem"].notna()
    if len(table) and all(broken):
        first = f"{table['path'].iloc[0]}: {facts['problem'].iloc[0]}"
        raise InputError(f"none of the {len(table)} images can be read (first: {first}); fetch the data again")
    labels = table.loc[table["split"] == "labeled", "label"]
    for label in sorted(set(labels) - set(labels.loc[~broken.loc[labels.index]])):
        first = labels.index[labels == label][0]
        raise InputError(
            f"class {label!r}: none of its images can be read (first: {table['path'][first]}: "
            f"{facts['problem'][first]}); fetch them again or take the class out"
        )
