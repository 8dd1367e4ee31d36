"""Ids of images that no file lists: taken from the names of their files.

Reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from kit.core.errors import InputError, some
from kit.data.table.scan import strip_suffix


def name_images(names: list[str], folder: Path) -> list[str]:
    """Return an id per file: the stem where all differ, else the path without suffix.

    InputError where two files have the same id; `folder` holds them, for the message.
    """
    whole = [strip_suffix(name) for name in names]
    stems = [name.rpartition("/")[2] for name in whole]
    if len(set(stems)) == len(stems):
        return stems
    if len(set(whole)) < len(whole):
        repeated = next(name for name, n in Counter(whole).items() if n > 1)
        pair = sorted(name for name in names if strip_suffix(name) == repeated)
        raise InputError(f"{folder}: {some(pair)} have the same id {repeated!r}; rename or remove one")
    return whole
