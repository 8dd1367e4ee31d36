"""How this process uses memory and threads: as run.sh sets it, where the kit is called in another way."""

from __future__ import annotations

import contextlib
import os
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # the parameters' numbers in glibc's malloc.h
KEPT_BYTES = 2**31 - 1  # of freed memory that is not handed back
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES)}  # the same, for child processes


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
