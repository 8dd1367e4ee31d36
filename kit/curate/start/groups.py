"""Which column of the labelled images names an individual, so that its images must not straddle folds.

Works on the rows of a table; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from kit.core.errors import InputError, nearest
from kit.curate.start.choices import Answers, Choice, split_answer
from kit.curate.start.columns import (
    FOLD_COLUMNS,
    count_values,
    known_columns,
    named_columns,
    rank_group,
    read_cells,
    say_the_same,
)

OPTION = "--group COLUMN, or none"
MIN_GROUPS, MOST_FOLDS = 2, 20


def choose_group(rows: pd.DataFrame | None, spare: Collection[str], answers: Answers) -> Choice:
    """Return the column that groups images.

    Parameters
    ----------
    rows
        Of the labelled images' table; None where no table lists them.
    spare
        Its columns of ids and labels.

    Raises
    ------
    InputError
        When the answer is no column of this table.
    """
    asked = split_answer(answers.group, ())[1] if answers.group else None
    columns = [] if rows is None else [name for name in named_columns(rows) if name not in spare]
    if asked in columns:
        return Choice("group", asked, "--group", option=OPTION)
    if asked and asked != "none":
        raise InputError(f"--group {asked}: not a column beside the labels; {nearest(asked, columns)}")
    ranked = [] if rows is None or asked else [name for name in columns if rank_group(name) is not None]
    if rows is None or not (repeated := [name for name in ranked if _repeats(rows, name, spare)]):
        evidence = "--group none" if asked else "no column names an individual of several images"
        return Choice("group", "", evidence, tuple(ranked), OPTION)
    best = min(repeated, key=lambda name: (rank_group(name) or 0, columns.index(name)))
    n_groups = count_values(rows, best)
    evidence = f"{n_groups:,} of them in {len(rows):,} rows: images of one must not straddle folds"
    return Choice("group", best, evidence, tuple(name for name in ranked if name != best), OPTION)


def _repeats(rows: pd.DataFrame, name: str, spare: Collection[str]) -> bool:
    """Tell whether a column's values repeat, are several, and are no other name for the label."""
    cells = read_cells(rows, name)
    n_groups = len(set(cells))
    if not MIN_GROUPS <= n_groups < len(cells):
        return False
    return not any(say_the_same(rows, name, other) for other in spare)


def offer_folds(rows: pd.DataFrame | None, spare: Collection[str]) -> tuple[str, int] | None:
    """Return the organisers' column of folds and how many it has; None where there is none."""
    columns = [] if rows is None else [name for name in named_columns(rows) if name not in spare]
    for name in known_columns(columns, FOLD_COLUMNS):
        if rows is not None and 1 < count_values(rows, name) <= MOST_FOLDS:
            return name, count_values(rows, name)
    return None
