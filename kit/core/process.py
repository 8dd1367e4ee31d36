"""How this process uses memory and threads: as run.sh sets it, where the kit is called in another way."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # the parameters' numbers in glibc's malloc.h
JOBLIB_CORES = "LOKY_MAX_CPU_COUNT"  # what joblib takes for all cores, where a library asks for all
KEPT_BYTES = 2**31 - 1  # of freed memory that is not handed back
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES)}  # the same, for child processes

_n_threads: int | None = None  # of the block that `with_threads` is in


def set_up_process() -> None:
    """Keep freed memory, and let threads that wait sleep; what the environment says already is obeyed.

    Handing every activation back to the system made encoding on two CPU cores three times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if not sys.platform.startswith("linux") or any(name in os.environ for name in MALLOC):
        return
    import ctypes

    os.environ.update(MALLOC)
    with contextlib.suppress(AttributeError):  # another C library than glibc has no such parameters
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)


def count_threads() -> int:
    """Return how many threads a task computes with: as the task at hand was told, else OMP_NUM_THREADS, else the cores.

    Sums are rounded otherwise by another number, so that it is the same wherever a task runs.
    """
    return _n_threads or _default_threads()


@functools.cache
def _default_threads() -> int:
    """Return the number that OMP_NUM_THREADS says, or that of the cores, two threads of one counted once."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if said.isdecimal() and int(said):
        return int(said)
    from joblib import cpu_count

    return cpu_count(only_physical_cores=True)


@contextlib.contextmanager
def with_threads(n: int) -> Iterator[None]:
    """Let torch and every library of linear algebra compute with `n` threads in this block."""
    import torch
    from threadpoolctl import threadpool_limits

    global _n_threads
    outside, before = _n_threads, torch.get_num_threads()
    cores = os.environ.get(JOBLIB_CORES)
    _n_threads, os.environ[JOBLIB_CORES] = n, str(n)
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        _n_threads = outside
        torch.set_num_threads(before)
        if cores is None:
            del os.environ[JOBLIB_CORES]
        else:
            os.environ[JOBLIB_CORES] = cores


@contextlib.contextmanager
def open_threads(n: int) -> Iterator[ThreadPoolExecutor]:
    """Open `n` threads in which torch computes alone: many small tensors side by side cost less than each in threads.

    What is not begun when the block ends is given up.
    """
    import torch

    before = torch.get_num_threads()
    threads = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
