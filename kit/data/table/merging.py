"""Make one of what the files hold apart: classes that ``[data] merge`` names, labelled images of several sources.

Reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from kit.config.competition import Competition
from kit.config.data import Listing
from kit.core.errors import InputError, nearest, some
from kit.data.table.archives import strip_archive
from kit.data.table.sources import name_key

NameOrNames = str | list[str]  # of one image: a name, or with several labels per image a list of names


def as_list(label: NameOrNames) -> list[str]:
    """Return the names of a label; class folders give a single one also where an image may have several."""
    return [label] if isinstance(label, str) else label


def merge_classes(competition: Competition, sources: Sequence[list[NameOrNames]]) -> list[list[NameOrNames]]:
    """Return the labels of each source with the classes renamed that ``[data] merge`` makes one.

    Raises
    ------
    InputError
        When a class is in no source, or the new name is a class already that is not among those merged.
    """
    merge, renamed, key = competition.data.merge, competition.data.renamed, name_key(competition, "merge")
    if not merge:
        return list(sources)
    known = {name for labels in sources for label in labels for name in as_list(label)}
    for name in renamed:
        if name not in known:
            raise InputError(f"{key}: no image has the label {name!r}; {nearest(name, known)}")
    for new, olds in merge.items():
        if new in known and new not in olds:
            raise InputError(f"{key}: {new!r} is a class already; if it shall be one with {some(olds)}, list it too")

    def rename(label: NameOrNames) -> NameOrNames:
        return renamed.get(label, label) if isinstance(label, str) else [renamed.get(name, name) for name in label]

    return [[rename(label) for label in labels] for labels in sources]


def join_sources(
    competition: Competition, parts: Sequence[pd.DataFrame], sources: Sequence[str | Listing]
) -> pd.DataFrame:
    """Return the labelled images of all sources; where an id repeats, all ids begin with their source's name.

    InputError where an image is in two sources.
    """
    if len(parts) == 1:
        return parts[0]
    key, together = name_key(competition, "labeled"), pd.concat(parts, ignore_index=True)
    if twice := [path for path, n in Counter(together["path"]).items() if n > 1]:
        raise InputError(f"{key}: {some(sorted(twice), 1)} is in two of its sources; name every image once")
    if together["id"].duplicated().any():
        names = [
            source.title if isinstance(source, Listing) else strip_archive(source.strip("/")) for source in sources
        ]
        named = [part["id"].map(f"{name}/{{}}".format) for part, name in zip(parts, names, strict=True)]
        together["id"] = pd.concat(named, ignore_index=True)
    if repeated := together.loc[together["id"].duplicated(), "id"].tolist():
        raise InputError(f"{key}: id {repeated[0]!r} is in two of its sources; name each source differently")
    return together
