"""What decides how this process rounds sums: threads, versions, and the kernels that are chosen by the processor.

The same code, data and versions give the same bytes where these are the same, and else differ in the last digits.
What decodes images and what finds neighbours differ by more than that: pixels by a level, neighbours by a row.
"""

from __future__ import annotations

import functools
import importlib.metadata

from kit.core.installed import is_lacking
from kit.core.process import count_threads

PACKAGES = ("torch", "timm", "scikit-learn", "numpy", "scipy")
DECODERS = ("torchvision", "pillow", "pillow-heif", "pydicom")
FAISS = "faiss"
FAISS_PACKAGES = ("faiss-cpu", "faiss-gpu", "faiss")  # that bring it, by pip or conda
ABSENT = "none"
OPENBLAS = "openblas"


def describe_rounding() -> dict[str, str]:
    """Return the number of threads, the kernels that compute here, and the versions of those who call them."""
    kernels = {f"{name} kernels": chosen for name, chosen in list_kernels().items()}
    return {"threads": str(count_threads()), **kernels, **list_versions()}


@functools.cache
def list_versions() -> dict[str, str]:
    """Return the versions of the packages that decide how numbers are rounded; they are looked up once."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@functools.cache
def list_decoders() -> dict[str, str]:
    """Return the versions of what decodes images, Pillow's libjpeg among them; ``"none"`` of what is not installed."""
    from PIL import features

    versions = {name: _version_of(name) for name in DECODERS}
    is_turbo = features.check_feature("libjpeg_turbo")
    libjpeg = features.version_feature("libjpeg_turbo") if is_turbo else features.version_codec("jpg")
    return versions | {"libjpeg-turbo" if is_turbo else "libjpeg": libjpeg or ABSENT}


@functools.cache
def find_faiss() -> str:
    """Return the version of faiss, which finds the neighbours in a large pool; ``"none"`` where it is not installed."""
    if is_lacking(FAISS):
        return ABSENT
    versions = (_version_of(name) for name in FAISS_PACKAGES)
    return next((version for version in versions if version != ABSENT), "of unknown version")


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


@functools.cache
def list_kernels() -> dict[str, str]:
    """Return for which processor linear algebra (``blas``) and torch compute, as chosen when they were loaded.

    The linear algebra is numpy's and scipy's; faiss brings one of its own, which may be loaded or not.
    """
    import torch
    from threadpoolctl import threadpool_info

    importlib.import_module("scipy.linalg")  # has a BLAS of its own
    found = [info for info in threadpool_info() if info["user_api"] == "blas" and FAISS not in info["filepath"]]
    blas = {f"{info['internal_api']} {info.get('architecture') or info['version']}" for info in found}
    return {"blas": ", ".join(sorted(blas)), "torch": torch.backends.cpu.get_cpu_capability()}


def find_openblas() -> str:
    """Return for which processor OpenBLAS computes, as OPENBLAS_CORETYPE names it; empty for another BLAS."""
    library, _, core = list_kernels()["blas"].partition(" ")
    return core if library == OPENBLAS and core.isalnum() else ""
