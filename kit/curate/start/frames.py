"""A table of image files and labels, as Python holds it, becomes the data of a competition.

Writes ``train.csv``, and where there are such images ``unlabeled.csv`` and ``test.csv``; images stay where they are.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, nearest
from kit.core.files import csv_text, write_atomic
from kit.core.names import MULTICLASS
from kit.curate.start.choices import Answers
from kit.curate.start.columns import LABEL_COLUMNS
from kit.curate.start.layout import Layout
from kit.data.table.scan import is_image

LOOKED_AT = 20  # rows that tell whether a column names files


def lay_out_frame(
    frame: pd.DataFrame, folder: Path, answers: Answers, test: pd.DataFrame | str | Path | None = None
) -> Layout:
    """Write a table as lists of images; return their layout.

    Parameters
    ----------
    frame
        A row per image: a column of paths, which is found, one of labels, which may be missing, and more.
    folder
        Where the lists are written.
    answers
        The columns of labels, ids and groups, where they are not to be found; metric, task.
    test
        A table of test images, or their folder.

    Raises
    ------
    InputError
        When a column is not there or in doubt, no column holds paths of files, or a file is missing.
    """
    label = answers.label or _find_label(frame)
    _check_column(frame, "label", label)
    for what, column in (("id", answers.id), ("group", answers.group)):
        if column is not None:
            _check_column(frame, what, column)
    known = frame[label].notna() & (frame[label].astype(str).str.strip() != "")
    if not known.any():
        raise InputError(f"column {label!r}: no row has a label")
    labeled = _write(frame.loc[known], folder / "train.csv", answers.id, label, answers.group)
    parts = {"labeled": labeled, "unlabeled": None, "test": None}
    if not known.all():
        parts["unlabeled"] = _write(frame.loc[~known], folder / "unlabeled.csv", answers.id)
    counts = {"labeled": int(known.sum()), "unlabeled": int((~known).sum()), "test": 0, "validation": 0}
    source: str | Listing | None = None
    if isinstance(test, pd.DataFrame):
        source = _write(test, folder / "test.csv", answers.id if answers.id in test.columns else None)
        counts["test"] = len(test)
    elif test is not None:
        source = str(Path(test).expanduser().resolve())
        counts["test"] = sum(is_image(path.name) for path in Path(source).rglob("*"))
    return Layout(
        root=folder.resolve(),
        labeled=labeled,
        classes=tuple(sorted(set(frame.loc[known, label].astype(str)))),
        counts=counts,
        unlabeled=parts["unlabeled"],
        test=source,
        task=answers.task or MULTICLASS,
        metric=answers.metric or "accuracy",
        group=answers.group,
        positive=answers.positive,
        slug=answers.slug,
    )


def _write(
    frame: pd.DataFrame, file: Path, identity: str | None, label: str | None = None, group: str | None = None
) -> Listing:
    """Write one list of images; return how competition.toml names it."""
    column = _find_paths(frame)
    paths = [Path(str(path)).expanduser().resolve() for path in frame[column]]
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(f"column {column!r}: {missing[0]} is not there, nor {len(missing) - 1} more")
    home = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(home).as_posix() for path in paths]
    columns = {"id": frame[identity].astype(str).tolist()} if identity else {}
    columns |= {"image": names}
    columns |= {"label": frame[label].astype(str).tolist()} if label else {}
    columns |= {"group": frame[group].astype(str).tolist()} if group else {}
    with write_atomic(file) as opened:
        opened.write(csv_text(list(columns), zip(*columns.values(), strict=True)))
    return Listing(
        csv=file.name,
        images=str(home),
        id="id" if identity else "image",
        file="image" if identity else None,
        label="label" if label else None,
        group="group" if group else None,
    )


def _find_paths(frame: pd.DataFrame) -> str:
    """Return the column whose cells are image files."""
    for column in frame.columns:
        cells = frame[column].dropna().head(LOOKED_AT)
        if len(cells) and all(is_image(str(cell)) and Path(str(cell)).expanduser().is_file() for cell in cells):
            return str(column)
    raise InputError(f"no column holds paths of image files that are there; the columns are {list(frame.columns)}")


def _find_label(frame: pd.DataFrame) -> str:
    """Return the column of labels, by its name."""
    named = [str(column) for column in frame.columns if str(column).casefold() in LABEL_COLUMNS]
    if len(named) == 1:
        return named[0]
    cause = f"{named} could each be the labels" if named else "no column is called as labels are"
    raise InputError(f'{cause}; label="..." names one of {list(frame.columns)}')


def _check_column(frame: pd.DataFrame, what: str, column: str) -> None:
    if column not in frame.columns:
        raise InputError(f"{what}={column!r}: no such column; {nearest(column, map(str, frame.columns))}")
