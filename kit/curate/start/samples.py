"""What the sample submission tells: which images are tested, what the label is called, which classes there are.

Reads the tables of a survey; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from kit.curate.start.columns import named_columns, read_cells
from kit.curate.start.match import Match
from kit.curate.start.survey import Survey

SAMPLE = re.compile(r"submi|^sample(_?v?\d+)?\.|sample.?sub|benchmark", re.IGNORECASE)
SOLUTION = re.compile(r"solution", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
MANY = 3  # guesses in a cell, at least


@dataclass(frozen=True)
class Sample:
    """Hold the sample submission.

    Parameters
    ----------
    id
        Its column of ids; None where it has no named column.
    columns
        Its other columns.
    cells
        The different cells of its second column.
    match
        The images that its ids name; None where they name none.
    others
        Other files that might be the sample.
    """

    file: str
    id: str | None
    columns: tuple[str, ...]
    cells: frozenset[str]
    ids: tuple[str, ...]
    match: Match | None
    others: tuple[str, ...] = ()

    @property
    def label(self) -> str | None:
        """Return the column of the label, where there is one."""
        return self.columns[0] if len(self.columns) == 1 else None

    @property
    def tokens(self) -> set[str]:
        """Return the words of its label's cells that are no numbers: classes, where they are no place-holders."""
        words = {word for cell in self.cells for word in (cell, *cell.split())}
        return {word for word in words if word.strip() and not NUMBER.fullmatch(word)}

    @property
    def is_decimal(self) -> bool:
        """Tell whether its label's cells are numbers with a decimal point: probabilities."""
        cells = [cell for cell in self.cells if cell.strip()]
        return bool(cells) and all(map(NUMBER.fullmatch, cells)) and any("." in cell for cell in cells)

    @property
    def has_confidence(self) -> bool:
        """Tell whether every filled cell of its label is a class and a decimal number: how sure it is."""
        cells = [cell.split() for cell in self.cells if cell.strip()]
        return bool(cells) and all(
            len(words) == 2 and "." in words[1] and NUMBER.fullmatch(words[1]) is not None for words in cells
        )

    @property
    def n_guesses(self) -> int:
        """Return how many words its label's cells hold, all the same number; 1 where they differ."""
        counts = {len(cell.split()) for cell in self.cells}
        return counts.pop() if len(counts) == 1 else 1


def find_sample(survey: Survey) -> Sample | None:
    """Return the sample submission; of several, the one whose ids name most images, the last by name of equal ones."""
    named = [file for file in survey.tables if SAMPLE.search(PurePosixPath(file).name)]
    samples = [_read_sample(survey, file, survey.tables[file]) for file in named]
    samples = [sample for sample in samples if sample.id is not None and sample.columns]
    if not samples:
        return None
    best = max(samples, key=_preference)
    others = tuple(sample.file for sample in samples if sample is not best)
    return Sample(**{**vars(best), "others": others})


def _preference(sample: Sample) -> tuple[int, int, list[int], str]:
    """Return what the best of several samples has most of."""
    n_images = len(sample.match.images) if sample.match else 0
    return n_images, -sample.file.count("/"), [int(n) for n in re.findall(r"\d+", sample.file)], sample.file


def _read_sample(survey: Survey, file: str, rows: pd.DataFrame) -> Sample:
    """Return what a table says if it is the sample submission."""
    columns = named_columns(rows)
    image_id = next((name for name in columns if survey.index.share(read_cells(rows, name)) > 0.5), None)
    image_id = image_id or next(iter(columns), None)
    others = tuple(name for name in columns if name != image_id)
    ids = read_cells(rows, image_id) if image_id else []
    cells = frozenset(read_cells(rows, others[0])) if others else frozenset()
    return Sample(file, image_id, others, cells, tuple(ids), survey.index.match(ids) if ids else None)


def find_solution(tables: Mapping[str, pd.DataFrame]) -> str | None:
    """Return the table of hidden labels by its name, the one highest up."""
    named = [file for file in tables if SOLUTION.search(PurePosixPath(file).name) and not SAMPLE.search(file)]
    return min(named, key=lambda file: (file.count("/"), file), default=None)


@dataclass(frozen=True)
class Guess:
    """Hold the likeliest metric: no file says it."""

    metric: str
    evidence: str


def guess_metric(sample: Sample | None, is_multilabel: bool, classes: Collection[str]) -> Guess:
    """Return the likeliest metric by the form of the sample submission."""
    if sample is None:
        return Guess("samples_f1" if is_multilabel else "accuracy", "there is no sample submission")
    if len(sample.columns) > 1 and set(sample.columns) & set(classes):
        return Guess("log_loss", f"{sample.file} has a column per class, for probabilities")
    if sample.is_decimal and len(classes) == 2:
        return Guess("roc_auc", f"{sample.file} has one number per image, {min(sample.cells)}")
    if sample.has_confidence and not is_multilabel:
        return Guess("gap", f"{sample.file} has a class and a confidence per image")
    if is_multilabel:
        return Guess("samples_f1", f"{sample.file} has one cell per image, for several labels")
    if sample.n_guesses >= MANY and not any(" " in name for name in classes):
        return Guess(f"map@{sample.n_guesses}", f"{sample.file} has {sample.n_guesses} guesses per image")
    return Guess("accuracy", f"{sample.file} has a label per image")
