"""Read a new competition as `check` and `train` will read it, so that what they refuse is told at once.

Reads the files that competition.toml names; unpacks archives as those commands do.
"""

from __future__ import annotations

import pandas as pd

from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.core.held import hold
from kit.core.terminal import warn
from kit.data.prepared import describe_classes
from kit.data.table import read_classes, read_table
from kit.data.table.scan import read_csv
from kit.data.table.sources import find_file
from kit.kaggle.submission import read_form, suit_form


def check_readable(name: str, workspace: Workspace) -> pd.DataFrame:
    """Return the image table of a competition just written; refuse what cannot be read. No image is opened.

    Raises
    ------
    InputError
        What `check` or `all` would refuse, in their words: a row without an image, an empty class folder, a metric
        of other classes, or one that needs probabilities where the sample submission has room for labels alone.
    """
    competition = read_competition(name, workspace)
    try:
        with hold(workspace.runs(name), warn):
            table = read_table(competition)
            _check_form(competition, table)
    except InputError as error:
        remedy = f"put that right there or in {competition.file}, which is written; then "
        remedy += competition.command("check")
        raise InputError(f"{error}; {remedy}") from error
    return table


def _check_form(competition: Competition, table: pd.DataFrame) -> None:
    """Refuse a metric that is not of these classes, or that the sample submission has no room for."""
    facts, positive = competition.facts, competition.submission.positive
    classes = read_classes(table, facts.task)
    metric = competition.metric.for_classes(describe_classes(competition, classes))
    if competition.data.sample_submission is None:
        return
    path = find_file(competition, "sample_submission", competition.data.sample_submission)
    rows, ids = read_csv(path), table.loc[table["split"] == "test", "id"].tolist()
    try:
        suit_form(read_form(rows, classes, facts.task, ids, positive), metric, rows, classes, positive)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
