"""The folds: assigned once, written to folds/NAME.csv, obeyed by everybody. Nothing else splits data.

Reads and writes ``folds/NAME.csv`` (`id,label,fold`, sorted by id); checks it against the image table every time.
Given groups and near-duplicates never straddle folds, or CV would score memory.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit import terminal
from kit.competition import Competition
from kit.errors import InputError, some
from kit.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

NO_FOLD = -1  # of images that are not labelled
COLUMNS = ["id", "label", "fold"]
MAX_TRIES = 100  # seeds tried until every class is in two folds; the first nearly always does
INCOMPARABLE = "delete it to assign new folds, with which no earlier CV can be compared"


def assign_folds(ids: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Assign every labelled image to a fold: classes spread evenly, groups kept whole.

    The order of the rows does not matter: they are sorted by id first.

    Parameters
    ----------
    ids
        (n_images,) text, each once.
    labels
        (n_images,) class names.
    groups
        (n_images,) whole numbers; images of one group land in one fold.
    n_folds
        Number of folds, at least 2; lowered, with a note, to the number of groups in the smallest class.
    seed
        Seed of the split.

    Returns
    -------
    ndarray
        (n_images,) int64 folds, 0..n_folds - 1.

    Raises
    ------
    InputError
        When a class has fewer than two groups; names it.
    """
    order = np.argsort(np.asarray(ids, dtype=str))
    _, codes = np.unique(np.asarray(labels, dtype=str)[order], return_inverse=True)
    _, first, groups = np.unique(np.asarray(groups)[order], return_index=True, return_inverse=True)
    groups = np.argsort(np.argsort(first))[groups]  # numbered as they appear: a group's number is no one's choice
    n_folds = _lower_n_folds(np.asarray(labels)[order], groups, n_folds)
    folds = np.empty(len(order), dtype=np.int64)
    for attempt in range(MAX_TRIES):
        folds[order] = _split(codes, groups, n_folds, seed + attempt)
        if not _find_absent(folds[order], codes, range(n_folds)) and len(np.unique(folds)) == n_folds:
            return folds
    raise InputError(f"the groups leave no way to have every class in two of {n_folds} folds; lower [folds] n")


def fold_groups(table: pd.DataFrame, clusters: np.ndarray) -> np.ndarray:
    """Join given groups and clusters of near-duplicates: what touches is one group.

    Parameters
    ----------
    table
        The image table, (n_images,) rows with `group`.
    clusters
        (n_images,) whole numbers, from `kit.check.near_duplicates`.

    Returns
    -------
    ndarray
        (n_images,) int64 groups, 0..n_groups - 1.
    """
    import pandas as pd
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, clusters = np.unique(clusters, return_inverse=True)
    given, _ = pd.factorize(table["group"])  # -1 where there is none
    grouped = given >= 0
    n_clusters, n_nodes = int(clusters.max(initial=-1)) + 1, int(clusters.max(initial=-1) + given.max(initial=-1)) + 2
    edges = (np.ones(int(grouped.sum())), (clusters[grouped], n_clusters + given[grouped]))
    _, component = connected_components(coo_array(edges, shape=(n_nodes, n_nodes)), directed=False)
    return np.unique(component[clusters], return_inverse=True)[1].astype(np.int64)


def read_folds(
    competition: Competition,
    table: pd.DataFrame,
    clusters: np.ndarray,
    committed: Path | None = None,
    broken: Collection[str] = frozenset(),
) -> np.ndarray:
    """Read the fold of every labelled image; assign and write the folds where there is no file yet.

    Parameters
    ----------
    competition
        The competition; its workspace holds the file.
    table
        Usable images, (n_images,) rows with `id`, `label`, `split` and `group`.
    clusters
        (n_images,) whole numbers: images of equal number never straddle folds.
    committed
        A fold file to begin with where the workspace has none.
    broken
        Ids of labelled images that cannot be read now: their rows in the file are left alone.

    Returns
    -------
    ndarray
        (n_images,) int64 folds; -1 for images that are not labelled. With ``[folds] use``, too, all labelled images
        have one; `scored_folds` says which are scored.

    Raises
    ------
    InputError
        When the file cannot be read or does not fit the images; names the file, the row or the ids, and the remedy.
    """
    labeled = np.flatnonzero(table["split"] == "labeled")
    known = Labeled(
        table["id"].to_numpy(dtype=object)[labeled],
        table["label"].to_numpy(dtype=object)[labeled],
        fold_groups(table, clusters)[labeled],
    )
    file = competition.workspace.folds(competition.name)
    folds = np.full(len(table), NO_FOLD, dtype=np.int64)
    source = file if file.exists() or committed is None or not committed.exists() else committed
    if source.exists():
        folds[labeled] = _verify(competition, source, _read_rows(source), known, broken)
    else:
        folds[labeled] = assign_folds(
            known.ids, known.labels, known.groups, competition.folds.n, competition.folds.seed
        )
    if not file.exists():
        text = source.read_bytes() if source.exists() else _format(known, folds[labeled])
        with write_atomic(file) as out:
            out.write(text)
        terminal.note(
            terminal.escape(f"folds {'taken from ' + str(source) if source != file else 'written to'} {file}")
        )
    return folds


def scored_folds(competition: Competition, folds: np.ndarray) -> tuple[int, ...]:
    """Return the folds that are scored: ``[folds] use``, or all.

    Raises
    ------
    InputError
        When a fold to be scored is not there.
    """
    there = tuple(int(fold) for fold in np.unique(folds) if fold != NO_FOLD)
    use = there if competition.folds.use is None else tuple(competition.folds.use)
    if missing := sorted(set(use) - set(there)):
        file = competition.workspace.folds(competition.name)
        raise InputError(f"[folds] use = {list(use)}: {file} has no fold {some(missing)}; it has {some(there)}")
    return use


def inner(
    labels: np.ndarray, groups: np.ndarray, seed: int, share: float = 0.2, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split a training fold once more, for early stopping: classes spread evenly, groups kept whole.

    Parameters
    ----------
    labels
        (n_images,) class codes.
    groups
        (n_images,) whole numbers; images of one group stay together.
    seed
        Seed of the split.
    share
        Share of each class to hold out, 0..1, as nearly as its groups allow.
    weights
        (n_images,) above 0: the share is one of weight; all 1 by default.

    Returns
    -------
    tuple
        Positions of the images to train on and of those held out, ascending. Every class keeps at least one image to
        train on; nothing is held out where no class can spare one.
    """
    labels, weights = np.asarray(labels), np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float)
    _, groups = np.unique(groups, return_inverse=True)
    n_groups = int(groups.max(initial=-1)) + 1
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups, minlength=n_groups))[:-1])
    spare = np.bincount(labels) - 1  # images that a class can do without
    wanted = share * np.bincount(labels, weights)  # weight still to hold out
    held_out = np.zeros(len(labels), dtype=bool)
    for group in np.random.default_rng(seed).permutation(n_groups):
        mine, counts = np.unique(labels[members[group]], return_counts=True)
        gains = np.bincount(labels[members[group]], weights[members[group]])[mine]
        nearer = np.abs(wanted[mine] - gains).sum() < np.abs(wanted[mine]).sum()
        if nearer and (spare[mine] >= counts).all():
            held_out[members[group]] = True
            spare[mine] -= counts
            wanted[mine] -= gains
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


@dataclass(frozen=True)
class Labeled:
    """Hold what the fold file must fit: ids, labels and groups of the usable labelled images."""

    ids: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def _split(codes: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Let scikit-learn split rows that are in order."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    alone = len(np.unique(groups)) == len(groups)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(n_folds, shuffle=True, random_state=seed)
    folds = np.empty(len(codes), dtype=np.int64)
    for fold, (_, rows) in enumerate(splitter.split(codes, codes, None if alone else groups)):
        folds[rows] = fold
    return folds


def _count_groups(labels: np.ndarray, groups: np.ndarray) -> Counter[str]:
    """Count the groups that each class is in."""
    return Counter(label for label, _ in set(zip(labels.tolist(), groups.tolist(), strict=True)))


def _lower_n_folds(labels: np.ndarray, groups: np.ndarray, n_folds: int) -> int:
    """Return a number of folds that the smallest class can fill."""
    sizes = _count_groups(labels, groups)
    if not sizes:
        raise InputError("no labelled image can be read: there is nothing to split into folds")
    smallest = min(sizes, key=lambda label: (sizes[label], label))
    size = sizes[smallest]
    if size < 2:
        n_images = int((labels == smallest).sum())
        what = "1 image" if n_images == 1 else f"{n_images} images, all of one group or near-duplicates"
        raise InputError(
            f"class {smallest!r} has {what}: folds need two that can be told apart; add one or leave the class out"
        )
    if size < n_folds:
        terminal.note(terminal.escape(f"{size} folds instead of {n_folds}: class {smallest!r} has no more to spread"))
    return min(size, n_folds)


def _find_absent(folds: np.ndarray, labels: np.ndarray, scored: Iterable[int]) -> dict[int, list]:
    """Return the classes that no other fold has, of each scored fold."""
    absent = {fold: sorted(set(labels.tolist()) - set(labels[folds != fold].tolist())) for fold in scored}
    return {fold: missing for fold, missing in absent.items() if missing}


def _format(known: Labeled, folds: np.ndarray) -> bytes:
    """Return the fold file's text, sorted by id."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(zip(known.ids.tolist(), known.labels.tolist(), folds.tolist(), strict=True)))
    return text.getvalue().encode()


def _read_rows(file: Path) -> dict[str, tuple[str, int]]:
    """Return label and fold of each id in a fold file."""
    try:
        lines = csv.reader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""))
        header, *rows = list(lines) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not a CSV file in UTF-8 ({error}); {INCOMPARABLE}") from error
    if header != COLUMNS:
        raise InputError(
            f"{file}: the first line must be {','.join(COLUMNS)}, not {','.join(header)!r}; {INCOMPARABLE}"
        )
    found: dict[str, tuple[str, int]] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(COLUMNS) or not (row[2].isascii() and row[2].isdigit()):
            raise InputError(
                f"{file}, row {number}: {','.join(row)!r} is not id,label,fold; correct it, or {INCOMPARABLE}"
            )
        if row[0] in found:
            raise InputError(f"{file}, row {number}: id {row[0]!r} is there twice; take one out, or {INCOMPARABLE}")
        found[row[0]] = (row[1], int(row[2]))
    return found


def _verify(
    competition: Competition, file: Path, rows: dict[str, tuple[str, int]], known: Labeled, broken: Collection[str]
) -> np.ndarray:
    """Return the folds of the labelled images, or refuse a file that does not fit them."""
    ids = set(known.ids)
    missing, extra = sorted(ids - set(rows)), sorted(set(rows) - ids - set(broken))
    if missing:
        raise InputError(f"{file}: {len(missing)} labelled images have no row: {some(missing)}; {INCOMPARABLE}")
    if extra:
        cause = f"{len(extra)} rows are no labelled images: {some(extra)}"
        raise InputError(f"{file}: {cause}; bring the images back, or {INCOMPARABLE}")
    labels = np.array([rows[image][0] for image in known.ids], dtype=object)
    folds = np.array([rows[image][1] for image in known.ids], dtype=np.int64)
    changes = zip(known.ids, labels, known.labels, strict=True)
    if changed := [f"{image} ({old!r}, now {new!r})" for image, old, new in changes if old != new]:
        raise InputError(f"{file}: labels have changed since: {some(changed)}; {INCOMPARABLE}")
    _verify_numbers(competition, file, {fold for _, fold in rows.values()}, known)
    _verify_split(competition, file, known, folds)
    return folds


def _verify_numbers(competition: Competition, file: Path, there: set[int], known: Labeled) -> None:
    """Refuse gaps in the folds, and another number of folds than the competition asks for."""
    n_folds, wanted = max(there, default=-1) + 1, competition.folds.n
    if absent := sorted(set(range(n_folds)) - there):
        raise InputError(f"{file}: folds go up to {n_folds - 1}, but fold {some(absent)} is empty; {INCOMPARABLE}")
    possible = min(_count_groups(known.labels, known.groups).values(), default=0)
    if n_folds < 2 or n_folds > wanted or n_folds < min(wanted, possible):
        raise InputError(f"{file}: has {n_folds} folds, [folds] n is {wanted}; set n = {n_folds}, or {INCOMPARABLE}")


def _verify_split(competition: Competition, file: Path, known: Labeled, folds: np.ndarray) -> None:
    """Refuse groups that straddle folds, and classes that no training part has."""
    order = np.lexsort((folds, known.groups))
    same = known.groups[order][1:] == known.groups[order][:-1]
    straddle = np.flatnonzero(same & (folds[order][1:] != folds[order][:-1]))
    if len(straddle):
        group = known.groups == known.groups[order[straddle[0]]]
        names = [f"{image} (fold {fold})" for image, fold in sorted(zip(known.ids[group], folds[group], strict=True))]
        cause = f"{len(straddle)} group(s) or near-duplicates straddle folds, which scores memory: {some(names)}"
        raise InputError(f"{file}: {cause}; put them into one fold, or {INCOMPARABLE}")
    for fold, classes in _find_absent(folds, known.labels, scored_folds(competition, folds)).items():
        cause = (
            f"every image of class {some(map(repr, classes))} is in fold {fold}, so its model could not know the class"
        )
        raise InputError(f"{file}: {cause}; {INCOMPARABLE}")
