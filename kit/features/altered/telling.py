"""What follows of altered copies: they are kept in one fold where folds are not assigned yet, and told of else.

Writes ``folds/NAME.copies.csv`` through `kit.data.folds.file`, before the folds and never after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kit.core import terminal
from kit.core.errors import MissingWeights, some
from kit.core.pairs import join_pairs
from kit.core.shapes import Groups
from kit.data.audit.duplicates import MAX_CHAIN_SHARE, MAX_CLUSTER
from kit.data.folds.file import write_copies
from kit.data.prepared import Prepared
from kit.features.altered import AlteredCopy, find_altered, find_encoded, list_encoders, read_altered

KINDS = "mirrored, turned, cropped, framed, written on, recoloured"


def keep_together(prepared: Prepared) -> None:
    """Find altered copies, and write which labelled images the folds, not assigned yet, shall keep together.

    The images are encoded by the first encoder whose weights can be had; without one nothing is done. TimeIsUp where
    the time limit is reached before.
    """
    for encoder, args in list_encoders(prepared):
        try:
            copies = find_altered(prepared, encoder, args)
        except MissingWeights:
            continue
        write_copies(prepared.competition, [_name_pair(prepared, copy) for copy in _believe(prepared, copies)])
        return


def look_for_copies(prepared: Prepared) -> list[AlteredCopy] | None:
    """Return the altered copies that an encoder's features tell; None where no encoder has encoded the images yet."""
    encoded = find_encoded(prepared)
    return None if encoded is None else find_altered(prepared, *encoded)


def recall_copies(prepared: Prepared) -> list[AlteredCopy] | None:
    """Return the altered copies that were found already; None where nobody has looked for them."""
    encoded = find_encoded(prepared)
    return None if encoded is None else read_altered(prepared, *encoded)


def warn_of_copies(prepared: Prepared, copies: Sequence[AlteredCopy]) -> None:
    """Say which copies of labelled images are test images, and which straddle the folds that there are."""
    pool = prepared.pool
    across = [copy for copy in copies if "test" in pool.splits[[copy.first, copy.second]]]
    if across:
        told = f"{terminal.count(len(across), 'test image')} of labelled ones altered"
        terminal.warn(f"{told}: {some(describe_pair(prepared, copy) for copy in across)}; their labels are known")
    if straddling := list_straddling(prepared, copies):
        file = prepared.competition.workspace.folds(prepared.competition.name)
        told = f"{terminal.count(len(straddling), 'pair')} of altered copies in different folds, which scores memory"
        terminal.warn(
            f"{told}: {some(describe_pair(prepared, copy) for copy in straddling)}; to keep them together delete "
            f"{file} and call {prepared.competition.command('all')}: earlier CVs cannot be compared with the new ones"
        )


def list_straddling(prepared: Prepared, copies: Sequence[AlteredCopy]) -> list[AlteredCopy]:
    """Return the pairs of labelled images that are in different folds."""
    fold_of = dict(zip(prepared.labeled.tolist(), prepared.folds.tolist(), strict=True))
    labeled = [copy for copy in copies if copy.first in fold_of and copy.second in fold_of]
    return [copy for copy in labeled if fold_of[copy.first] != fold_of[copy.second]]


def describe_pair(prepared: Prepared, copy: AlteredCopy) -> str:
    """Return in words which images are one picture, and what was done to it."""
    first, second = (f"{prepared.pool.splits[row]} {prepared.pool.ids[row]}" for row in (copy.first, copy.second))
    return f"{second} is {first} ({copy.change})"


def list_pairs(prepared: Prepared, copies: Sequence[AlteredCopy]) -> list[dict[str, Any]]:
    """Return the pairs as JSON-like values: split and id of both images, the change, the agreement."""
    pool = prepared.pool
    return [
        {
            "first": {"split": pool.splits[copy.first], "id": pool.ids[copy.first]},
            "second": {"split": pool.splits[copy.second], "id": pool.ids[copy.second]},
            "change": copy.change,
            "agreement": copy.agreement,
        }
        for copy in copies
    ]


def _name_pair(prepared: Prepared, copy: AlteredCopy) -> tuple[str, str, str]:
    return str(prepared.pool.ids[copy.first]), str(prepared.pool.ids[copy.second]), copy.change


def _believe(prepared: Prepared, copies: Sequence[AlteredCopy]) -> list[AlteredCopy]:
    """Return the pairs of labelled images, but for those that would chain too many into one group."""
    is_labeled = prepared.pool.splits == "labeled"
    pairs = [copy for copy in copies if is_labeled[copy.first] and is_labeled[copy.second]]
    groups = _chain(prepared.pool.groups, pairs)
    sizes = np.bincount(groups[is_labeled], minlength=int(groups.max(initial=0)) + 1)
    most = max(MAX_CLUSTER, MAX_CHAIN_SHARE * is_labeled.sum() / len(prepared.classes))
    believed = [copy for copy in pairs if sizes[groups[copy.first]] <= most]
    if len(believed) < len(pairs):
        first = next(copy for copy in pairs if copy not in believed)
        told = f"{len(pairs) - len(believed)} pairs look like altered copies, too many to be grouped"
        terminal.warn(f"{told}: {describe_pair(prepared, first)}; if they belong together, give them a group")
    return believed


def _chain(groups: Groups, pairs: Sequence[AlteredCopy]) -> Groups:
    """Return the groups of all images, those of a pair joined."""
    _, groups = np.unique(groups, return_inverse=True)
    first, second = groups[np.array([(copy.first, copy.second) for copy in pairs], dtype=np.int64).reshape(-1, 2)].T
    return join_pairs(len(groups), first, second)[groups]
