"""Predictions as others write them: which column holds what, found by what the columns say; a guess is said to be one.

Reads CSV, parquet and npy; writes nothing. An id column is known by its values, class columns by the classes' names,
or by numbers (``pred_0``, ``pred_1``) whose meaning a column of labels tells; without one their order is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from kit.core.errors import InputError, some
from kit.core.shapes import Ids
from kit.core.terminal import count
from kit.data.prepared import Prepared
from kit.data.table.scan import read_csv

FOLD_NAMES = {"fold", "folds", "kfold", "fold_id", "fold_idx", "cv_fold"}
TARGET_NAMES = {"target", "targets", "label", "labels", "y", "y_true", "true", "truth", "class", "category"}
PREFIX = "class|prediction|preds|pred|probability|probs|proba|prob|p|scores|score|logits|logit"  # the longest first
OF_CLASS = re.compile(rf"(?:oof[_ -]?)?(?:{PREFIX})?[:_ .-]*(.*)", re.IGNORECASE)
NUMBER = re.compile(r"\d+")
LEAST_AGREEMENT = 0.9  # of the labels of a class, for a number to stand for it
LEAST_PREDICTED = 0.99  # of a column's labels that the file itself predicts, for it to hold no truth
MAJORITY = 0.6  # the same where it is only asked which labels are others


@dataclass(frozen=True)
class Reading:
    """Hold what the user says of the files; None where the kit is to find out.

    Parameters
    ----------
    id
        The column of ids.
    classes
        The classes in the order of numbered columns, or of the columns of an array.
    oof_ids, test_ids
        Files of ids, one per row of an array.
    """

    id: str | None = None
    classes: tuple[str, ...] | None = None
    oof_ids: Path | None = None
    test_ids: Path | None = None


@dataclass
class Foreign:
    """Hold a table as it was understood.

    Parameters
    ----------
    table
        A column ``id``, then one per class by its name, or one of labels.
    folds
        By id, as the file names them; None where it does not.
    order
        The classes in the order of numbered columns, where a column of labels told it.
    facts, guesses
        Sentences on what was found, and on what was only guessed.
    other_labels
        Labels of a class that the file names and our labels contradict, by id, each as words for a person.
    """

    table: pd.DataFrame
    folds: dict[str, str] | None = None
    order: tuple[str, ...] | None = None
    facts: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    other_labels: dict[str, str] = field(default_factory=dict)


def read_foreign(path: Path, prepared: Prepared, wanted: Ids, spare: Collection[str], reading: Reading) -> Foreign:
    """Read predictions of the images `wanted`; those of `spare` images are left out.

    Raises
    ------
    InputError
        When the file cannot be read, or its columns cannot be told from one another.
    """
    found = Foreign(pd.DataFrame())
    table = _read_table(path, prepared, wanted, reading, found)
    if table.columns.empty:
        raise InputError(f"{path}: no columns; expected an id column, then one column per class")
    table.columns = [str(name).strip() for name in table.columns]
    id_column = _find_ids(path, table, wanted, reading, found)
    ids = _match_ids(list(map(str, table[id_column])), wanted, spare, found)
    ours = set(prepared.pool.ids[prepared.labeled]) - set(wanted)  # labelled images that are never scored
    is_kept = [each not in ours and each not in spare for each in ids]
    table, ids = table.loc[is_kept], [each for each, stays in zip(ids, is_kept, strict=True) if stays]
    rest = [name for name in table.columns if name != id_column]
    columns = _find_classes(path, table, ids, rest, prepared, reading, found)
    found.table = pd.DataFrame({"id": ids} | {name: table[column].to_list() for name, column in columns.items()})
    used = set(columns.values())
    folds = [name for name in rest if name.lower() in FOLD_NAMES and name not in used]
    if folds:
        found.folds = dict(zip(ids, table[folds[0]].astype(str), strict=True))
    targets = [name for name in rest if name.lower() in TARGET_NAMES and name not in used]
    predicted = _predicted(table, columns) if targets else []
    for name in targets:
        others, is_predicted = _contradict(table[name].to_list(), ids, predicted, prepared, found)
        if not is_predicted:
            found.other_labels |= others
        elif others:
            found.facts.append(
                f"column {name} is what the file predicts, and on {count(len(others), 'image')} not our label: "
                "mistakes, or it learned from other labels"
            )
        else:
            found.facts.append(f"column {name} is what the file predicts")
    if extra := [name for name in rest if name not in used and name not in folds]:
        found.facts.append(f"left out: {some(extra)}")
    return found


def _read_table(path: Path, prepared: Prepared, wanted: Ids, reading: Reading, found: Foreign) -> pd.DataFrame:
    """Read a file as a table; name it in whatever goes wrong."""
    import pyarrow as pa

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".npy":
            return _read_array(path, prepared, wanted, reading, found)
        return pd.read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as a table of predictions ({error})") from error


def _read_array(path: Path, prepared: Prepared, wanted: Ids, reading: Reading, found: Foreign) -> pd.DataFrame:
    """Read an array of probabilities (n_images, n_classes), its rows named by a file of ids or by a known order."""
    values = np.load(path, allow_pickle=False)
    if values.ndim != 2 or values.shape[1] != len(prepared.classes):
        raise InputError(f"{path}: has shape {values.shape}, not (n_images, {len(prepared.classes)} classes)")
    is_oof = set(wanted) == set(prepared.pool.ids[prepared.labeled[prepared.scored_rows]])
    option, file = ("--ids", reading.oof_ids) if is_oof else ("--test-ids", reading.test_ids)
    if file is not None:
        ids, where = _read_ids(file), str(file)
    else:
        ids, where = _known_order(prepared, wanted, is_oof)
        found.guesses.append(f"its rows are taken in the order of {where}; {option} FILE names them")
    if len(ids) != len(values):
        raise InputError(f"{path}: {len(values)} rows, but {where} has {len(ids)}; {option} FILE gives an id per row")
    return pd.DataFrame(values, columns=[f"pred_{i}" for i in range(values.shape[1])]).assign(id=list(ids))


def _read_ids(file: Path) -> list[str]:
    """Return the ids of a file: an array of texts, the first column of a CSV, or a line per id."""
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    if file.suffix.lower() == ".npy":
        return [str(each) for each in np.load(file, allow_pickle=False)]
    if file.suffix.lower() == ".csv":
        table = read_csv(file)
        return list(table["id"] if "id" in table else table.iloc[:, 0])
    return file.read_text(encoding="utf-8").split()


def _known_order(prepared: Prepared, wanted: Ids, is_oof: bool) -> tuple[list[str], str]:
    """Return ids in the order of the file that everybody has, and its name: the folds, or the sample submission."""
    competition = prepared.competition
    sample = competition.data.sample_submission
    file = competition.workspace.folds(competition.name) if is_oof else competition.root / str(sample)
    if (sample is None and not is_oof) or not file.is_file():
        return sorted(wanted), "the ids, sorted"
    known = set(wanted) | set(prepared.broken_test)
    return [image_id for image_id in _read_ids(file) if image_id in known], file.name


def _find_ids(path: Path, table: pd.DataFrame, wanted: Ids, reading: Reading, found: Foreign) -> str:
    """Return the column that holds the ids: the one that was named, is called so, or has most of them."""
    if reading.id is not None:
        if reading.id not in table.columns:
            raise InputError(f"{path}: --id {reading.id}: no such column; there are {some(table.columns)}")
        return reading.id
    known = set(wanted)
    hits = {name: len({_bare(each) for each in table[name].astype(str)} & known) for name in table.columns[:50]}
    best = max(hits, key=lambda name: (hits[name], name == "id"))
    first = "id" if "id" in table.columns else str(table.columns[0])
    chosen = best if hits[best] > hits.get(first, 0) else first
    if chosen != "id":
        found.facts.append(f"ids: column {chosen}")
    return chosen


def _bare(name: str) -> str:
    """Return a file's name without folders and suffix."""
    return PurePosixPath(name.strip()).stem if "." in name or "/" in name else name.strip()


def _match_ids(ids: list[str], wanted: Ids, spare: Collection[str], found: Foreign) -> list[str]:
    """Return ids as the competition writes them: without folders and suffixes, with the zeros that a number lost."""
    known = {*wanted, *spare}
    if set(ids) & known:
        return ids
    bare = list(map(_bare, ids))
    if set(bare) & known:
        found.facts.append("ids: folders and suffixes are left out")
        return bare
    by_number = {int(each): each for each in known if each.isdecimal()}
    if len(by_number) == len(known) and all(map(str.isdecimal, bare)):
        found.guesses.append("ids: zeros that the file has lost in front are put back")
        return [by_number.get(int(each), each) for each in bare]
    return ids


def _find_classes(
    path: Path,
    table: pd.DataFrame,
    ids: Sequence[str],
    rest: Sequence[str],
    prepared: Prepared,
    reading: Reading,
    found: Foreign,
) -> dict[str, str]:
    """Return the column of each class; of a file of labels the one column that holds them."""
    classes = prepared.classes
    named = {name.removeprefix("class:"): name for name in rest}
    prefixed = {OF_CLASS.sub(r"\1", name): name for name in rest}
    for by_name in (named, prefixed):
        if set(classes) <= by_name.keys():
            columns = {name: by_name[name] for name in classes}
            return _recode(columns, table, ids, rest, prepared, found)
    numbered = {int(key): name for key, name in prefixed.items() if NUMBER.fullmatch(key)}
    first = 0 if 0 in numbered else 1
    if len(classes) > 1 and all(first + i in numbered for i in range(len(classes))):
        order = _order_of(path, table, ids, rest, prepared, reading, found, first)
        return {name: numbered[first + i] for i, name in enumerate(order)}
    plain = [name for name in rest if name.lower() not in FOLD_NAMES]
    if reading.classes is not None and len(plain) == len(classes):
        return dict(zip(_check_order(path, reading.classes, classes), plain, strict=True))
    labels = [name for name in plain if set(table[name].astype(str)) & set(classes)]
    if len(labels) == 1 and (len(plain) == 1 or labels[0].lower() in TARGET_NAMES) and not prepared.pool.is_multilabel:
        return {labels[0]: labels[0]}
    apart = sorted(set(named) ^ set(classes))
    raise InputError(
        f"{path}: columns are not the classes: {some(apart)}; name them by class, or by number (pred_0, pred_1, ...) "
        "with --classes a,b,c for their order"
    )


def _recode(
    columns: dict[str, str], table: pd.DataFrame, ids: Sequence[str], rest: Sequence[str], prepared: Prepared,
    found: Foreign,
) -> dict[str, str]:  # fmt: skip
    """Return the column of each class; classes called by numbers may stand for others in the file.

    A column of labels tells for which, and the file is right more often so.
    """
    by_number = {int(name): column for name, column in columns.items() if NUMBER.fullmatch(name)}
    first = min(by_number, default=-1)
    if sorted(by_number) != list(range(first, first + len(columns))):
        return columns
    labels = np.array(prepared.classes, dtype=object)[prepared.labels] if not prepared.pool.is_multilabel else ()
    ours = dict(zip(prepared.pool.ids[prepared.labeled], labels, strict=False))
    for name in (name for name in rest if name.lower() in TARGET_NAMES):
        order = _learn_order(table[name].to_list(), ids, prepared, first) or ()
        recoded = {each: by_number[first + i] for i, each in enumerate(order)}
        ways = [] if not order or recoded == columns else [_predicted(table, each) for each in (columns, recoded)]
        rights = [sum(ours.get(image) == each for image, each in zip(ids, way, strict=True)) for way in ways]
        if rights and rights[1] > rights[0]:
            _tell_order(order, first, name, found)
            return {each: recoded[each] for each in prepared.classes}
    return columns


def _tell_order(order: tuple[str, ...], first: int, column: str, found: Foreign) -> None:
    """Note what the numbers of classes stand for, as a column of labels tells it."""
    shown = ", ".join(f"{first + i} is {each}" for i, each in enumerate(order[:3]))
    found.order = order
    found.facts.append(f"classes by number, told by its column {column}: {shown}{', ...' if order[3:] else ''}")


def _order_of(
    path: Path,
    table: pd.DataFrame,
    ids: Sequence[str],
    rest: Sequence[str],
    prepared: Prepared,
    reading: Reading,
    found: Foreign,
    first: int,
) -> tuple[str, ...]:
    """Return the classes in the order of numbered columns: as given, as a column of labels tells, else the kit's."""
    classes = prepared.classes
    if reading.classes is not None:
        return _check_order(path, reading.classes, classes)
    targets = [name for name in rest if name.lower() in TARGET_NAMES]
    for name in targets:
        if order := _learn_order(table[name].to_list(), ids, prepared, first):
            _tell_order(order, first, name, found)
            return order
    shown = ", ".join(f"{first + i} is {each}" for i, each in enumerate(classes[:3]))
    found.guesses.append(
        f"classes by number, in the kit's order: {shown}{', ...' if classes[3:] else ''}; --classes a,b,c gives another"
    )
    return classes


def _learn_order(
    targets: Iterable[object], ids: Sequence[str], prepared: Prepared, first: int, least: float = LEAST_AGREEMENT
) -> tuple[str, ...] | None:
    """Return which class each number stands for, by the labels that the competition's images have; None if unclear."""
    if prepared.pool.is_multilabel:
        return None
    label_of = dict(zip(prepared.pool.ids[prepared.labeled], prepared.labels.tolist(), strict=True))
    numbers = np.array([_to_number(each) for each in targets])
    labels = np.array([label_of.get(each, -1) for each in ids])
    order = []
    for number in range(first, first + len(prepared.classes)):
        named = labels[(numbers == number) & (labels >= 0)]
        counts = np.bincount(named, minlength=len(prepared.classes))
        if counts.max() < least * max(len(named), 1):
            return None
        order.append(prepared.classes[int(counts.argmax())])
    return tuple(order) if len(set(order)) == len(order) else None


def _contradict(
    targets: Sequence[object], ids: Sequence[str], predicted: Sequence[str], prepared: Prepared, found: Foreign
) -> tuple[dict[str, str], bool]:
    """Return by id which labels of a column are others than ours, and whether the file itself predicts the column.

    Of numbers only where it is known what they mean.
    """
    if prepared.pool.is_multilabel:
        return {}, False
    ours = prepared.labels[prepared.scored_rows].tolist()
    label_of = dict(zip(prepared.pool.ids[prepared.labeled[prepared.scored_rows]], ours, strict=True))
    told, is_predicted = [], False
    for reading in _read_targets(targets, ids, prepared, found):
        agreement = np.mean([theirs == each for theirs, each in zip(reading, predicted, strict=True)])
        is_predicted |= bool(agreement >= LEAST_PREDICTED)
        pairs = [(each, prepared.classes[label_of[each]], theirs)
                 for each, theirs in zip(ids, reading, strict=True) if each in label_of]  # fmt: skip
        others = {each: f"{theirs}, ours {name}" for each, name, theirs in pairs if theirs not in (None, name)}
        if others not in told:
            told.append(others)
    if not any(name in prepared.classes and not NUMBER.fullmatch(name) for name in set(map(str, targets))):
        told = [others for others in told if len(others) <= (1 - MAJORITY) * len(label_of)]
    told.sort(key=len)
    is_clear = len(told) == 1 or (len(told) > 1 and len(told[0]) < len(told[1]))
    return told[0] if is_clear else {}, is_predicted


def _read_targets(
    targets: Sequence[object], ids: Sequence[str], prepared: Prepared, found: Foreign
) -> list[list[str | None]]:
    """Return what a column of labels may say, the class of each row; numbers may be names, or count from 0 or 1."""
    classes, texts = prepared.classes, list(map(str, targets))
    of_name = {float(name): name for name in classes if NUMBER.fullmatch(name)}
    if set(texts) & set(classes) - set(of_name.values()):
        return [[text if text in classes else None for text in texts]]
    orders = [(first, _learn_order(targets, ids, prepared, first, MAJORITY)) for first in (0, 1)]
    known = [dict(enumerate(order, first)) for first, order in orders if order]
    meanings = [of_name, *(known or [dict(enumerate(found.order or ()))])]
    readings = [[meaning.get(_to_number(text)) for text in texts] for meaning in meanings]
    return [reading for reading in readings if reading.count(None) < len(reading) / 2]


def _predicted(table: pd.DataFrame, columns: dict[str, str]) -> list[str]:
    """Return the class that each row of a file says most probably; of a file of labels these."""
    if len(columns) == 1:
        return table[next(iter(columns.values()))].astype(str).to_list()
    values = table[list(columns.values())].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return [list(columns)[best] for best in np.nan_to_num(values, nan=-np.inf).argmax(axis=1)]


def _to_number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return -1.0


def _check_order(path: Path, given: Iterable[str], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return an order of classes that the user gave; one that is not of the competition's classes is refused."""
    order = tuple(given)
    if sorted(order) != sorted(classes):
        odd = sorted(set(order) ^ set(classes)) or [f"{len(order)} names for {len(classes)} classes"]
        raise InputError(f"{path}: --classes does not name every class once: {some(odd)}")
    return order
