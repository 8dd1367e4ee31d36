"""Labelled images by a table: which of its columns names images, which their classes, and why.

Evidence, strongest first: the answer, the sample's columns, its cells, the column's name, that nothing else is there.
Where several columns are as likely, nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, nearest, some
from kit.core.names import MULTICLASS
from kit.curate.start.cells import Written, find_shares, find_switches, find_tags, read_label_column, read_switches
from kit.curate.start.choices import Answers, split_answer
from kit.curate.start.columns import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    count_values,
    known_columns,
    named_columns,
    plain_name,
    rank_group,
    rank_label,
    read_cells,
    say_the_same,
)
from kit.curate.start.match import Match
from kit.curate.start.roles import LABELED, TEST, UNLABELED, VALIDATION, role_of
from kit.curate.start.samples import SAMPLE, SOLUTION, Sample
from kit.curate.start.survey import Survey

ENOUGH = 0.5  # of the sample's classes must be in a table
OF_PIXELS = 10  # worse


@dataclass(frozen=True)
class Labeled:
    """Hold the labelled images that were found in one way.

    Parameters
    ----------
    source
        What competition.toml names; None where no label was found.
    labels
        By image, or by row where images are rows, its labels.
    evidence
        Why these are the labels; the smaller `rank`, the surer.
    rejected
        Other columns that might hold them.
    """

    source: str | Listing | None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    task: str = MULTICLASS
    evidence: str = ""
    rank: int = 9
    rejected: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """Return the images."""
        return set(self.labels)

    @property
    def classes(self) -> set[str]:
        """Return the classes."""
        return {label for of_image in self.labels.values() for label in of_image}


@dataclass(frozen=True)
class _Column:
    """Hold how a table writes labels, and why that is believed."""

    written: Written
    evidence: str
    rank: int
    rejected: tuple[str, ...] = ()


def find_listed(
    survey: Survey, roles: Mapping[str, list[str]], sample: Sample | None, answers: Answers
) -> list[Labeled]:
    """Return the labelled images of every table that has some, the surest first.

    Raises
    ------
    InputError
        When several columns are as likely, or no table has the column that an answer names.
    """
    found, doubts = [], []
    for file in _candidates(survey, answers):
        try:
            if labeled := _read_listed(survey, file, roles, sample, answers):
                found.append(labeled)
        except InputError as error:
            doubts.append(error)
    if not found and doubts:
        raise doubts[0]
    _check_answers(survey, answers)
    return sorted(found, key=lambda each: (each.rank, -len(each.labels)))


def _candidates(survey: Survey, answers: Answers) -> list[str]:
    """Return the tables that may hold labels."""
    files = survey.tables
    if answers.label and (file := split_answer(answers.label, files)[0]):
        return [file]
    named = [file for file in files if not SAMPLE.search(PurePosixPath(file).name) and not SOLUTION.search(file)]
    return [file for file in named if role_of(file) in (LABELED, None)]


def _check_answers(survey: Survey, answers: Answers) -> None:
    """Refuse a column that no table has."""
    columns = {name for rows in survey.tables.values() for name in rows.columns}
    for option, answer in (("--label", answers.label), ("--id", answers.id), ("--group", answers.group)):
        name = split_answer(answer, survey.tables)[1] if answer else ""
        if name and name not in columns and not (option == "--group" and name == "none"):
            raise InputError(f"{option} {answer}: no table in {survey.root} has that column; {nearest(name, columns)}")


def _read_listed(
    survey: Survey, file: str, roles: Mapping[str, list[str]], sample: Sample | None, answers: Answers
) -> Labeled | None:
    """Return the labelled images of a table; None where it has none."""
    rows = survey.tables[file]
    if file in survey.pixels:
        return _read_pixel_rows(survey, file, sample, answers)
    avoid = [*roles[TEST], *roles[VALIDATION], *roles[UNLABELED]]
    asked = split_answer(answers.id or "", survey.tables)[1]
    chosen = find_ids(survey, rows, avoid, roles[LABELED], asked)
    chosen = chosen or find_ids(survey, rows, roles[TEST], roles[LABELED], asked)
    if chosen is None:
        return None
    image_id, match = chosen
    column = _choose_label(file, rows, image_id, sample, answers)
    if column is None:
        return None
    images = [match.images.get(cell) for cell in read_cells(rows, image_id)]
    labels: dict[str, tuple[str, ...]] = {}
    for image, of_row in zip(images, column.written.labels, strict=True):
        if image is not None:
            labels[image] = (*labels.get(image, ()), *of_row)
    if column.written.task == MULTICLASS:
        labels = {image: of_image for image, of_image in labels.items() if of_image}
    if not len(column.written.classes) > 1:
        return None
    folders = list(match.folders)
    keys: dict[str, Any] = {"csv": file, "images": folders[0] if len(folders) == 1 else folders, "id": image_id}
    source = Listing(**keys, **column.written.keys)
    return Labeled(source, labels, column.written.task, column.evidence, column.rank, column.rejected)


def _read_pixel_rows(survey: Survey, file: str, sample: Sample | None, answers: Answers) -> Labeled | None:
    """Return the labelled images of a table whose rows are images."""
    rows = survey.tables[file]
    image_id = find_pixel_id(rows)
    column = _choose_label(file, rows, image_id, sample, answers)
    if column is None or column.written.task != MULTICLASS or "form" in column.written.keys:
        return None
    rank = column.rank + (OF_PIXELS if survey.names else 0)  # beside image files, rows are most often copies of them
    names = read_cells(rows, image_id) if image_id else [str(row) for row in range(len(rows))]
    labels = dict(zip((f"{file}:{name}" for name in names), column.written.labels, strict=True))
    source = Listing(csv=file, id=image_id, label=column.written.keys["label"], form="pixels")
    return Labeled(source, labels, MULTICLASS, column.evidence, rank, column.rejected)


def find_pixel_id(rows: pd.DataFrame) -> str | None:
    """Return the column that names the images of a table of pixels; None where they are counted."""
    known = known_columns(named_columns(rows), ID_COLUMNS)
    return next((name for name in known if not rows[name].duplicated().any()), None)


def find_ids(
    survey: Survey, rows: pd.DataFrame, avoid: Collection[str], prefer: Collection[str], asked: str = ""
) -> tuple[str, Match] | None:
    """Return the column that names most images, and which; None where none does.

    Raises
    ------
    InputError
        When two columns name as many images, but others.
    """
    matches: dict[str, Match] = {}
    columns = named_columns(rows)
    for name in [asked] if asked in columns else columns:
        if match := survey.index.match(read_cells(rows, name), avoid, prefer):
            matches[name] = match
    if not matches:
        return None
    most = max(len(match.names) for match in matches.values())
    equal = [name for name, match in matches.items() if len(match.names) == most]
    best = next(iter([*known_columns(equal, ID_COLUMNS), *equal]))
    for other in equal:
        if not matches[other].names & matches[best].names:
            cause = f"columns {best!r} and {other!r} both name {most} images, not the same"
            raise InputError(f"{cause}; say which are meant: --id {best} or --id {other}")
    return best, matches[best]


def _choose_label(
    file: str, rows: pd.DataFrame, image_id: str | None, sample: Sample | None, answers: Answers
) -> _Column | None:
    """Return the labels of a table by the strongest evidence there is; None where it has none."""
    spare = {image_id}
    others = [name for name in named_columns(rows) if name not in spare]
    if answers.label:
        name = split_answer(answers.label, [file])[1]
        return _Column(read_label_column(rows, image_id, name), f"--label {name}", 0) if name in others else None
    telling = [name for name in others if count_values(rows, name) > 1]
    if (by_sample := _by_sample(rows, image_id, others, telling, sample)) is not None:
        return by_sample
    by_rank = [
        _leave_out_same(rows, [name for name in telling if rank_label(name) == rank], sample) for rank in range(3)
    ]
    if len(by_rank[0]) == 1:
        return _column(rows, image_id, by_rank[0][0], "its name", 3, by_rank[1])
    if written := find_switches(rows, spare) or find_tags(rows, spare):
        return _Column(written, f"{len(written.classes)} columns that hold one label each", 5)
    if not any(by_rank) and (written := find_shares(rows, others)):
        return _Column(written, f"{len(others)} columns of shares: the largest is taken for the class", 5)
    known = next((names for names in by_rank if names), [])
    if len(known) == 1:
        return _column(rows, image_id, known[0], "its name", 4, [])
    repeated = [name for name in telling if count_values(rows, name) < len(rows)]
    candidates = known or (repeated if len(others) > 1 else telling)
    candidates = [name for name in candidates if rank_group(name) is None] or candidates
    candidates = _leave_out_same(rows, candidates, sample)
    if len(candidates) > 1:
        cause = f"{file}: which column holds the classes is in doubt: {some(map(repr, candidates))} may all do so"
        raise InputError(f"{cause}, and no sample submission tells; say which: --label {candidates[0]!r}")
    return _column(rows, image_id, candidates[0], "no other column can", 6, []) if candidates else None


def _by_sample(
    rows: pd.DataFrame, image_id: str | None, others: Sequence[str], telling: Sequence[str], sample: Sample | None
) -> _Column | None:
    """Return the labels that the sample submission points to, by its columns' names or by its cells."""
    if sample is None:
        return None
    known = known_columns(telling, LABEL_COLUMNS)
    if len(sample.columns) > 1:
        shared = [name for name in others if name in sample.columns]
        if len(shared) >= ENOUGH * len(sample.columns) and (
            written := read_switches(rows, shared) or find_shares(rows, shared)
        ):
            return _Column(written, f"the columns of {sample.file}", 1)
        wanted = set(sample.columns)
        holding = [name for name in telling if len(wanted & set(rows[name])) >= ENOUGH * len(wanted)]
        if holding:
            return _column(rows, image_id, holding[0], f"its cells are the columns of {sample.file}", 1, known)
        return None
    same = [name for name in telling if plain_name(name) == plain_name(sample.label or "")]
    if same:
        return _column(rows, image_id, same[0], f"the column of {sample.file}", 1, known)
    if tokens := sample.tokens:
        holding = [name for name in telling if tokens & set(read_label_column(rows, image_id, name).classes)]
        holding = _leave_out_same(rows, holding, sample)
        if len(holding) == 1:
            return _column(rows, image_id, holding[0], f"the cells of {sample.file} stand in it", 2, known)
    return None


def _column(
    rows: pd.DataFrame, image_id: str | None, name: str, evidence: str, rank: int, known: Sequence[str]
) -> _Column:
    """Return the labels of one column, the others of known names rejected."""
    rejected = tuple(other for other in known if other != name)
    return _Column(read_label_column(rows, image_id, name), evidence, rank, rejected)


def _leave_out_same(rows: pd.DataFrame, columns: Sequence[str], sample: Sample | None) -> list[str]:
    """Return the columns that say different things: of two with one name for each of the other's, one.

    It is the one written as the sample's cells are, in numbers or in words; else the first.
    """
    kept: list[str] = []
    in_numbers = sample is not None and not sample.tokens and bool(sample.cells - {""})
    for name in sorted(columns, key=lambda name: in_numbers and not all(map(str.isdecimal, set(rows[name])))):
        if not any(say_the_same(rows, name, other) for other in kept):
            kept.append(name)
    return kept
