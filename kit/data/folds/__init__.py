"""The folds: which labelled images are scored together. Nothing else in the kit splits data.

Reads and writes nothing; `kit.data.folds.file` keeps what is assigned here. Given groups and near-duplicates never
straddle folds, or CV would score memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.config.competition import Competition
from kit.core import terminal
from kit.core.errors import InputError, some
from kit.core.pairs import join_pairs
from kit.core.shapes import Folds, Groups, Ids, Labels, Mask, Rows, Texts, Weights

if TYPE_CHECKING:
    import pandas as pd

NO_FOLD = -1  # of images that are not labelled, and of labelled ones that are never held out
MIN_GROUPS = 2  # of a class that is held out, in different folds; and classes that are scored
MAX_SEEDS = 100  # seeds tried until every class is in two folds; the first nearly always does


def assign_folds(ids: Ids, labels: Texts, groups: Groups, n_folds: int, seed: int) -> Folds:
    """Assign labelled images to folds: classes spread evenly, groups kept whole.

    Images of a class in one group alone, as of a class with one image, are in no fold, NO_FOLD: every model learns from
    them and none is scored on them; so are the images that share their group. The order of the rows does not matter:
    they are sorted by id first. `n_folds`, at least 2, is lowered, with a note, to the number of groups in the smallest
    class that can be held out.

    Raises
    ------
    InputError
        When fewer than two classes have two groups; names one that has not.
    """
    kept = find_kept(labels, groups)
    if kept.any():
        _tell_kept(np.asarray(labels), kept)
        folds = np.full(len(labels), NO_FOLD, dtype=np.int64)
        rest = ~kept
        folds[rest] = assign_folds(
            np.asarray(ids)[rest], np.asarray(labels)[rest], np.asarray(groups)[rest], n_folds, seed
        )
        return folds
    order = np.argsort(np.asarray(ids, dtype=str))
    _, codes = np.unique(np.asarray(labels, dtype=str)[order], return_inverse=True)
    _, first, groups = np.unique(np.asarray(groups)[order], return_index=True, return_inverse=True)
    groups = np.argsort(np.argsort(first))[groups]  # numbered as they appear: the numbers given must not matter
    n_folds = _lower_n_folds(np.asarray(labels)[order], groups, n_folds)
    folds = np.empty(len(order), dtype=np.int64)
    for attempt in range(MAX_SEEDS):
        folds[order] = split_rows(codes, groups, n_folds, seed + attempt)
        if not find_absent(folds[order], codes, range(n_folds)) and len(np.unique(folds)) == n_folds:
            return folds
    raise InputError(f"the groups leave no way to have every class in two of {n_folds} folds; lower [folds] n")


def assign_label_set_folds(ids: Ids, labels: Labels, groups: Groups, n_folds: int, seed: int) -> Folds:
    """Assign images of several labels each to folds: every class spread evenly, groups kept whole.

    The rarest class is dealt out first, each of its groups to the fold that lacks it most; images without a label come
    last. The order of the rows does not matter. `n_folds`, at least 2, is lowered, with a note, to the number of
    groups.

    Raises
    ------
    InputError
        When there are fewer than two groups.

    References
    ----------
    Sechidis, Tsoumakas and Vlahavas 2011, On the stratification of multi-label data, figure 1; here its examples are
    groups, whose labels are counted.
    """
    order = np.argsort(np.asarray(ids, dtype=str))
    _, first, groups = np.unique(np.asarray(groups)[order], return_index=True, return_inverse=True)
    groups = np.argsort(np.argsort(first))[groups]  # numbered as they appear: the numbers given must not matter
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < 2:
        raise InputError("the labelled images are fewer than two that can be told apart: nothing to split into folds")
    if n_groups < n_folds:
        terminal.note(f"{n_groups} folds instead of {n_folds}: there are no more groups of images to spread")
    n_folds = min(n_folds, n_groups)
    counts = np.zeros((n_groups, labels.shape[1] + 1))  # the last column counts all images
    np.add.at(counts, groups, np.column_stack([labels[order], np.ones(len(order))]))
    folds = np.empty(len(order), dtype=np.int64)
    folds[order] = _deal(counts, n_folds, np.random.default_rng(seed))[groups]
    return folds


def fold_groups(table: pd.DataFrame, clusters: Groups) -> Groups:
    """Join given groups and clusters of near-duplicates: what touches is one group.

    `clusters` are from `kit.data.audit.duplicates`; the table's column `group` is read.
    """
    import pandas as pd

    _, clusters = np.unique(clusters, return_inverse=True)
    given, _ = pd.factorize(table["group"])  # -1 where there is none
    grouped = given >= 0
    n_clusters = int(clusters.max(initial=-1)) + 1
    n_nodes = n_clusters + int(given.max(initial=-1)) + 1
    component = join_pairs(n_nodes, clusters[grouped], n_clusters + given[grouped])
    return np.unique(component[clusters], return_inverse=True)[1].astype(np.int64)


def scored_folds(competition: Competition, folds: Folds) -> tuple[int, ...]:
    """Return the folds that are scored, ``[folds] use`` or all; InputError where one of them does not exist."""
    existing = tuple(int(fold) for fold in np.unique(folds) if fold != NO_FOLD)
    use = existing if competition.folds.use is None else tuple(competition.folds.use)
    if missing := sorted(set(use) - set(existing)):
        file = competition.workspace.folds(competition.name)
        remedy = f"choose among {some(existing)}"
        raise InputError(f"[folds] use = {list(use)}: {file} has no fold {some(missing)}; {remedy}")
    return use


def inner(
    labels: Labels, groups: Groups, seed: int, share: float = 0.2, weights: Weights | None = None
) -> tuple[Rows, Rows]:
    """Split a training fold once more, for early stopping: classes spread evenly, groups kept whole.

    Parameters
    ----------
    share
        Share of each class to hold out, 0..1, as nearly as its groups allow.
    weights
        Above 0: the share is one of weight; all 1 by default.

    Returns
    -------
    tuple
        Positions of the images to train on and of those held out, ascending. Every class keeps at least one image to
        train on; nothing is held out where no class can spare one.
    """
    labels = np.asarray(labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float)
    _, groups = np.unique(groups, return_inverse=True)
    n_groups = int(groups.max(initial=-1)) + 1
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups, minlength=n_groups))[:-1])
    spare, total = _count(labels, weights)
    spare, wanted = spare - 1, share * total  # images that a class can do without; weight still to hold out
    held_out = np.zeros(len(labels), dtype=bool)
    for group in np.random.default_rng(seed).permutation(n_groups):
        counts, gains = _count(labels[members[group]], weights[members[group]])
        present = np.flatnonzero(counts)  # the classes of the group
        counts, gains = counts[present], gains[present]
        nearer = np.abs(wanted[present] - gains).sum() < np.abs(wanted[present]).sum()
        if nearer and (spare[present] >= counts).all():
            held_out[members[group]] = True
            spare[present] -= counts
            wanted[present] -= gains
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def find_kept(labels: Texts, groups: Groups) -> Mask:
    """Return which images are never held out: those of classes in one group alone, and all of such groups.

    A class that loses a group so may be left with one, and is kept then too.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    kept = np.zeros(len(labels), dtype=bool)
    while not kept.all():
        n_groups = count_groups(labels[~kept], groups[~kept])
        alone = {name for name, n in n_groups.items() if n < MIN_GROUPS}
        if not alone:
            break
        fixed = np.array([name in alone for name in labels.tolist()], dtype=bool) & ~kept
        kept |= np.isin(groups, groups[fixed])
    return kept


def count_groups(labels: Texts, groups: Groups) -> Counter[str]:
    """Count the groups that each class is in."""
    return Counter(label for label, _ in set(zip(labels.tolist(), groups.tolist(), strict=True)))


def find_absent(folds: Folds, labels: NDArray[Any], scored: Iterable[int]) -> dict[int, list[Any]]:
    """Return of each scored fold the classes, names or codes, that no other fold has."""
    absent = {fold: sorted(set(labels.tolist()) - set(labels[folds != fold].tolist())) for fold in scored}
    return {fold: missing for fold, missing in absent.items() if missing}


def _count(labels: Labels, weights: Weights) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the number of images of each class, and their weight."""
    if labels.ndim == 2:
        return labels.sum(axis=0, dtype=np.int64), weights @ labels
    return np.bincount(labels), np.bincount(labels, weights)


def _deal(counts: NDArray[np.float64], n_folds: int, draw: np.random.Generator) -> Folds:
    """Return a fold for every group by iterative stratification; counts (n_groups, n_columns), all images in the last.

    Where several folds lack a class alike, the one that lacks most images gets the group; then chance decides.
    """
    lacking = np.tile(counts.sum(axis=0) / n_folds, (n_folds, 1))  # (n_folds, n_columns)
    folds = np.full(len(counts), NO_FOLD)
    order = draw.permutation(len(counts))
    while len(left := order[folds[order] == NO_FOLD]):
        remaining = (counts[left] > 0).sum(axis=0)
        column = int(np.where(remaining > 0, remaining, len(counts) + 1).argmin())
        for group in left[counts[left, column] > 0]:
            chance = draw.permutation(n_folds)
            fold = max(chance, key=lambda fold: (lacking[fold, column].round(9), lacking[fold, -1].round(9)))
            folds[group] = fold
            lacking[fold] -= counts[group]
    return folds


def split_rows(codes: Labels, groups: Groups, n_folds: int, seed: int) -> Folds:
    """Return each row's fold, its classes as even as they can be and no group in two: by scikit-learn, in this order.

    Groups are drawn here as its version 1.8 does: earlier ones shuffle their counts of classes, not the groups, and
    leave folds uneven.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    from sklearn.utils import check_random_state

    groups = np.unique(groups, return_inverse=True)[1]
    n_groups = int(groups.max()) + 1
    if n_groups == len(groups):
        parts = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(codes, codes)
    else:
        drawn = np.argsort(check_random_state(seed).permutation(n_groups))[groups]
        parts = StratifiedGroupKFold(n_folds).split(codes, codes, drawn)
    folds = np.empty(len(codes), dtype=np.int64)
    for fold, (_, rows) in enumerate(parts):
        folds[rows] = fold
    return folds


def _tell_kept(labels: Texts, kept: Mask) -> None:
    """Say which images are never held out; refuse where too few classes are left to score."""
    n_images, n_scored = Counter(labels[kept].tolist()), len(set(labels[~kept].tolist()))
    alone = sorted(set(n_images) - set(labels[~kept].tolist()))
    first = alone[0] if alone else next(iter(n_images))
    what = "1 image" if n_images[first] == 1 else f"{n_images[first]} images, all of one group or near-duplicates"
    if n_scored < MIN_GROUPS:
        raise InputError(
            f"class {first!r} has {what}: folds need two classes of two images that can be told apart; add one"
        )
    named = some(f"{name!r} ({n_images[name]})" for name in alone)
    more = int(kept.sum()) - sum(n_images[name] for name in alone)
    beside = f", and {more} more that share their groups" if more else ""
    terminal.warn(
        f"{len(alone)} classes have one image, or one group of images, and are never held out: {named}{beside}; "
        "every model learns from them, and the CV says nothing of them"
    )


def _lower_n_folds(labels: Texts, groups: Groups, n_folds: int) -> int:
    """Return a number of folds that the smallest class can fill."""
    sizes = count_groups(labels, groups)
    if not sizes:
        raise InputError("no labelled image can be read: there is nothing to split into folds")
    smallest = min(sizes, key=lambda label: (sizes[label], label))
    size = sizes[smallest]
    if size < n_folds:
        terminal.note(f"{size} folds instead of {n_folds}: class {smallest!r} has no more to spread")
    return min(size, n_folds)
