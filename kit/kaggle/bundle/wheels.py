"""Wheels of what Kaggle's image lacks, or has in another version than the one that made the runs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kit.core.errors import InputError, nearest

OF_OPEN_CLIP = ("open_clip_torch", "ftfy")
PINNED = {"open_clip": OF_OPEN_CLIP, "timm": ("timm",)}  # assumed: Kaggle's image has not open_clip, and timm unpinned
KAGGLE_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")


def pin(names: Sequence[str]) -> list[str]:
    """Return packages with the versions that made the runs; refuse those that are not installed, which no run needs."""
    names = [name for name in names if name.strip()]
    versions = versions_of(names)
    if missing := [name for name in names if name not in versions]:
        near = nearest(missing[0], [package.name for package in importlib.metadata.distributions()])
        raise InputError(f"--lacks {missing[0]}: is not installed here, so no run needs it; {near}")
    return [f"{name}=={version}" for name, version in versions.items()]


def versions_of(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of packages; those that are not installed are left out."""
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def fetch_wheels(folder: Path, requirements: Path, without: str) -> None:
    """Fetch pinned wheels from PyPI for Kaggle's platform into a folder, themselves alone: its image has their needs.

    `without` says in the InputError how to go without them.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    pip += [part for name in KAGGLE_PLATFORMS for part in ("--platform", name)]
    pip += ["--disable-pip-version-check", "-d", str(folder), "-r", str(requirements)]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        lines = requirements.read_text(encoding="utf-8").splitlines()
        names = ", ".join(line for line in lines if not line.startswith("#"))
        cause = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise InputError(f"pip could not fetch the wheels of {names} ({cause}); connect, or {without}")
