"""What decides how this process rounds sums: threads, versions, and the kernels that are chosen by the processor.

The same code, data and versions give the same bytes where these are the same, and else differ in the last digits.
"""

from __future__ import annotations

import functools
import importlib.metadata

from kit.core.process import count_threads

PACKAGES = ("torch", "timm", "scikit-learn", "numpy", "scipy")
OPENBLAS = "openblas"


def describe_rounding() -> dict[str, str]:
    """Return the number of threads, the kernels that compute here, and the versions of those who call them."""
    return {"threads": str(count_threads()), **list_kernels(), **list_versions()}


@functools.cache
def list_versions() -> dict[str, str]:
    """Return the versions of the packages that decide how numbers are rounded; they are looked up once."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@functools.cache
def list_kernels() -> dict[str, str]:
    """Return for which processor linear algebra (``blas``) and torch compute, as chosen when they were loaded."""
    import torch
    from threadpoolctl import threadpool_info

    importlib.import_module("scipy.linalg")  # has a BLAS of its own
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    blas = {f"{info['internal_api']} {info.get('architecture') or info['version']}" for info in found}
    return {"blas": ", ".join(sorted(blas)), "torch": torch.backends.cpu.get_cpu_capability()}


def find_openblas() -> str:
    """Return for which processor OpenBLAS computes, as OPENBLAS_CORETYPE names it; empty for another BLAS."""
    library, _, core = list_kernels()["blas"].partition(" ")
    return core if library == OPENBLAS and core.isalnum() else ""
