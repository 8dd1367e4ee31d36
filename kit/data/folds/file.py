"""The fold file: the folds, assigned once, written to folds/NAME.csv, obeyed by everybody.

Reads and writes ``folds/NAME.csv`` (`id,label,fold`, sorted by id); verifies it against the image table every time.
``folds/NAME.groups.csv`` (`id,group`), where `kit.curate.look_alikes` has written it, names labelled images that stay
together; so does ``folds/NAME.copies.csv`` (`first,second,change`), pairs that `kit.features.altered` has found.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.config.competition import Competition
from kit.core import terminal
from kit.core.errors import InputError, some
from kit.core.files import csv_text, write_atomic
from kit.core.names import MULTILABEL
from kit.core.pairs import join_pairs
from kit.core.shapes import Folds, Groups, Ids, Mask, Texts
from kit.data.folds import (
    NO_FOLD,
    assign_folds,
    assign_label_set_folds,
    count_groups,
    find_absent,
    find_kept,
    fold_groups,
    scored_folds,
)
from kit.data.table.labels import read_multi_hot, split_labels

if TYPE_CHECKING:
    import pandas as pd

FOLD_COLUMNS = ["id", "label", "fold"]
GROUP_COLUMNS = ["id", "group"]
COPY_COLUMNS = ["first", "second", "change"]
GROUPS = ".groups.csv"  # the end of the file that has them
COPIES = ".copies.csv"
FOLD_NUMBER = re.compile(r"[0-9]+|-1")  # -1: in no fold, never held out
INCOMPARABLE = "delete the file to assign new folds, with which no earlier CV can be compared"


def read_folds(
    competition: Competition,
    table: pd.DataFrame,
    clusters: Groups,
    committed: Path | None = None,
    broken: Collection[str] = (),
    keep: bool = True,
) -> Folds:
    """Read the fold of every labelled image; assign and write the folds where there is no file yet.

    Parameters
    ----------
    table
        The image table without the images that cannot be used.
    clusters
        Images of one cluster never straddle folds.
    committed
        A fold file to begin with where the workspace has none.
    broken
        Ids of labelled images that cannot be read now: their rows in the file are left alone.
    keep
        Whether folds that are assigned are written.

    Returns
    -------
    Folds
        -1 for images that are not labelled. With ``[folds] use``, too, all labelled images have a fold;
        `kit.data.folds.scored_folds` returns which folds are scored.

    Raises
    ------
    InputError
        When the file cannot be read or does not fit the images; names the file, the row or the ids, and the remedy.
    """
    labeled = np.flatnonzero(table["split"] == "labeled")
    known = _Labeled(
        table["id"].to_numpy(dtype=object)[labeled],
        table["label"].to_numpy(dtype=object)[labeled],
        fold_groups(table, clusters)[labeled],
    )
    file = competition.workspace.folds(competition.name)
    if file.is_symlink() and not file.exists():
        raise InputError(f"{file}: a link to {file.readlink()}, which is not there; bring it back, or {INCOMPARABLE}")
    source = next((path for path in (file, committed) if path is not None and path.exists()), None)
    folds = np.full(len(table), NO_FOLD, dtype=np.int64)
    if source is None:
        folds[labeled] = _assign(competition, known)
        if keep:
            _write(file, _format(known, folds[labeled]), f"{folds.max() + 1} folds written to")
    else:
        folds[labeled] = _verify(competition, source, known, broken)
        if source != file:
            _write(file, source.read_bytes(), f"{folds.max() + 1} folds of {source} taken over into")
        else:
            terminal.stage("folds", f"{folds.max() + 1} folds read from {file}")
    return folds


def group_file(competition: Competition) -> Path:
    """Return where the groups of look-alikes lie."""
    return competition.workspace.folds(competition.name).with_suffix(GROUPS)


def refuse_to_regroup(competition: Competition, committed: Path | None) -> None:
    """Refuse to group images anew where folds were assigned already: earlier CVs would be of other folds.

    `committed` came with the kit. InputError that names the fold file or the group file that exists.
    """
    if committed is not None and committed.exists():
        raise InputError(f"{committed}: the folds came with the kit, and all that is known of them is of these")
    for path in (competition.workspace.folds(competition.name), group_file(competition)):
        if path.exists():
            raise InputError(f"{path}: is there already; {INCOMPARABLE}")


def write_groups(competition: Competition, ids: Ids, groups: Texts) -> Path:
    """Write which labelled images stay together, sorted by id; return the file."""
    file, rows = group_file(competition), sorted(zip(ids.tolist(), groups.tolist(), strict=True))
    _write(file, csv_text(GROUP_COLUMNS, rows), f"{len(np.unique(groups))} groups of look-alikes written to")
    return file


def read_groups(
    competition: Competition, table: pd.DataFrame, committed: Path | None = None, given: dict[str, str] | None = None
) -> Texts | None:
    """Return the group of each labelled image, None for other images; None in all where no groups were written.

    The table is without the images that cannot be used. The groups beside `committed`, a fold file that came with the
    kit, count where the workspace has none; `given`, groups by id, are tried in place of the file's.

    Raises
    ------
    InputError
        When the file cannot be read, or a labelled image has no group.
    """
    file, is_labeled = group_file(competition), (table["split"] == "labeled").to_numpy()
    ids = table["id"].to_numpy(dtype=object)
    if given is not None:
        return _look_up(given, ids, is_labeled)
    source = committed.with_suffix(GROUPS) if committed and not file.exists() else file
    if not source.exists():
        return None
    header, *rows = _read_csv(source)
    if header != GROUP_COLUMNS or any(len(row) != len(GROUP_COLUMNS) for row in rows):
        raise InputError(f"{source}: the lines must be {','.join(GROUP_COLUMNS)}; {INCOMPARABLE}")
    if source != file:
        _write(file, source.read_bytes(), f"groups of look-alikes of {source} taken over into")
    group_of = {row[0]: row[1] for row in rows}
    if missing := [image_id for image_id in ids[is_labeled] if image_id not in group_of]:
        cause = f"{len(missing)} labelled images have no group: {some(missing)}; give each a line"
        raise InputError(f"{file}: {cause}, or delete it and the fold file, with which no CV can be compared then")
    return _look_up(group_of, ids, is_labeled)


def copy_file(competition: Competition) -> Path:
    """Return where the pairs of altered copies lie that are kept in one fold."""
    return competition.workspace.folds(competition.name).with_suffix(COPIES)


def write_copies(competition: Competition, pairs: Sequence[tuple[str, str, str]]) -> None:
    """Write which pairs of labelled images, by id, are one picture, and what was done to it; no pairs, no file."""
    file = copy_file(competition)
    if pairs:
        _write(
            file,
            csv_text(COPY_COLUMNS, sorted(pairs)),
            f"{terminal.count(len(pairs), 'pair')} of altered copies written to",
        )
    else:
        file.unlink(missing_ok=True)


def join_copies(competition: Competition, table: pd.DataFrame, clusters: Groups) -> Groups:
    """Join the clusters of labelled images that the file of altered copies names; of images that are gone nothing.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    file = copy_file(competition)
    if not file.exists():
        return clusters
    header, *rows = _read_csv(file)
    if header != COPY_COLUMNS or any(len(row) != len(COPY_COLUMNS) for row in rows):
        raise InputError(f"{file}: the lines must be {','.join(COPY_COLUMNS)}; {INCOMPARABLE}")
    labeled = np.flatnonzero(table["split"] == "labeled")
    row_of = dict(zip(table["id"].to_numpy(dtype=object)[labeled].tolist(), labeled.tolist(), strict=True))
    pairs = [(row_of[a], row_of[b]) for a, b, _ in rows if a in row_of and b in row_of]
    _, clusters = np.unique(clusters, return_inverse=True)
    first, second = clusters[np.array(pairs, dtype=np.int64).reshape(-1, 2)].T
    return join_pairs(len(clusters), first, second)[clusters]


@dataclass(frozen=True)
class _Labeled:
    """Hold what the fold file must fit: ids, labels and groups of the usable labelled images."""

    ids: Ids
    labels: Texts
    groups: Groups


def _look_up(group_of: Mapping[str, str], ids: Ids, is_labeled: Mask) -> Texts:
    """Return the group of each labelled image, None for the others."""
    pairs = zip(ids, is_labeled, strict=True)
    return np.array([group_of.get(image_id) if labeled else None for image_id, labeled in pairs], dtype=object)


def _assign(competition: Competition, known: _Labeled) -> Folds:
    """Assign the folds of the labelled images."""
    plan = competition.folds
    if competition.facts.task != MULTILABEL:
        return assign_folds(known.ids, known.labels, known.groups, plan.n, plan.seed)
    classes = sorted({name for cell in known.labels for name in split_labels(cell)})
    hot = read_multi_hot(known.labels, tuple(classes))
    folds = assign_label_set_folds(known.ids, hot, known.groups, plan.n, plan.seed)
    n_folds = folds.max() + 1
    n_with = np.sum([hot[folds == fold].any(axis=0) for fold in range(n_folds)], axis=0)  # (n_classes,) folds
    if rare := [f"{name!r} ({n} of {n_folds})" for name, n in zip(classes, n_with, strict=True) if n < n_folds]:
        terminal.warn(f"too few images to be in every fold: {some(rare)}; folds without a class cannot score it")
    return folds


def _write(file: Path, text: bytes, what: str) -> None:
    """Write the fold file and print what was written."""
    with write_atomic(file) as out:
        out.write(text)
    terminal.stage("folds", f"{what} {file}")


def _format(known: _Labeled, folds: Folds) -> bytes:
    """Return the fold file's text, sorted by id."""
    return csv_text(FOLD_COLUMNS, sorted(zip(known.ids.tolist(), known.labels.tolist(), folds.tolist(), strict=True)))


def _read_rows(file: Path) -> dict[str, tuple[str, int]]:
    """Return label and fold of each id in a fold file."""
    header, *rows = _read_csv(file)
    if header != FOLD_COLUMNS:
        raise InputError(
            f"{file}: the first line must be {','.join(FOLD_COLUMNS)}, not {','.join(header)!r}; {INCOMPARABLE}"
        )
    label_and_fold: dict[str, tuple[str, int]] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(FOLD_COLUMNS) or not FOLD_NUMBER.fullmatch(row[2]):
            raise InputError(
                f"{file}, row {number}: {','.join(row)!r} is not id,label,fold; correct it, or {INCOMPARABLE}"
            )
        if row[0] in label_and_fold:
            raise InputError(f"{file}, row {number}: id {row[0]!r} is there twice; take one out, or {INCOMPARABLE}")
        label_and_fold[row[0]] = (row[1], int(row[2]))
    return label_and_fold


def _read_csv(file: Path) -> list[list[str]]:
    """Return the lines of a CSV file, the header first; an empty one where there is none."""
    try:
        return list(csv.reader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""))) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not a CSV file in UTF-8 ({error}); {INCOMPARABLE}") from error


def _verify(competition: Competition, file: Path, known: _Labeled, broken: Collection[str]) -> Folds:
    """Return the folds of the labelled images, or refuse a file that does not fit them."""
    rows, ids = _read_rows(file), set(known.ids)
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


def _verify_numbers(competition: Competition, file: Path, numbers: set[int], known: _Labeled) -> None:
    """Refuse gaps in the folds, and another number of folds than the competition asks for."""
    n_folds, wanted = max(numbers, default=-1) + 1, competition.folds.n
    if absent := sorted(set(range(n_folds)) - numbers):
        raise InputError(f"{file}: folds go up to {n_folds - 1}, but fold {some(absent)} is empty; {INCOMPARABLE}")
    held_out = ~find_kept(known.labels, known.groups)
    sizes = count_groups(known.labels[held_out], known.groups[held_out]).values()
    possible = len(np.unique(known.groups)) if competition.facts.task == MULTILABEL else min(sizes, default=0)
    if n_folds < 2 or n_folds > wanted or n_folds < min(wanted, possible):
        raise InputError(f"{file}: has {n_folds} folds, [folds] n is {wanted}; set n = {n_folds}, or {INCOMPARABLE}")


def _verify_split(competition: Competition, file: Path, known: _Labeled, folds: Folds) -> None:
    """Refuse groups that straddle folds, and classes that no training part has."""
    order = np.lexsort((folds, known.groups))
    same = known.groups[order][1:] == known.groups[order][:-1]
    straddle = np.flatnonzero(same & (folds[order][1:] != folds[order][:-1]))
    if len(straddle):
        group = known.groups == known.groups[order[straddle[0]]]
        names = [f"{image} (fold {fold})" for image, fold in sorted(zip(known.ids[group], folds[group], strict=True))]
        cause = f"{len(straddle)} group(s) or near-duplicates straddle folds, which scores memory: {some(names)}"
        raise InputError(f"{file}: {cause}; put them into one fold, or {INCOMPARABLE}")
    scored = scored_folds(competition, folds)
    if competition.facts.task == MULTILABEL:
        _warn_of_absent(file, known, folds, scored)
        return
    for fold, classes in find_absent(folds, known.labels, scored).items():
        cause = (
            f"every image of class {some(map(repr, classes))} is in fold {fold}, so its model could not know the class"
        )
        raise InputError(f"{file}: {cause}; {INCOMPARABLE}")


def _warn_of_absent(file: Path, known: _Labeled, folds: Folds, scored: tuple[int, ...]) -> None:
    """Warn of classes that only one scored fold has: with several labels per image the others can still be learned."""
    pairs = [(name, fold) for cell, fold in zip(known.labels, folds, strict=True) for name in split_labels(cell)]
    names, folds_of_names = np.array([name for name, _ in pairs], object), np.array([fold for _, fold in pairs])
    for fold, classes in find_absent(folds_of_names, names, scored).items():
        terminal.warn(
            f"{file}: every image of class {some(map(repr, classes))} is in fold {fold}: its model cannot know the "
            "class and gives it no probability"
        )
