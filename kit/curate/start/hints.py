"""Say why the ids of a table name no image: several images of an id, or an image and a class in one.

Works on a survey; reads and writes nothing.
"""

from __future__ import annotations

from kit.curate.start.columns import named_columns, read_cells
from kit.curate.start.survey import Survey
from kit.data.table.matching import describe_views, views_of

N_LOOKED_AT = 20  # cells of a column


def explain_ids(survey: Survey) -> str:
    """Return what most cells of a column are in place of image names, with the remedy; empty where nothing is seen."""
    for file, rows in survey.tables.items():
        for name in named_columns(rows):
            cells = list(dict.fromkeys(read_cells(rows, name)))[:N_LOOKED_AT]
            views = {cell: found for cell in cells if (found := views_of(cell, survey.names))}
            if len(views) > len(cells) / 2:
                cell = next(iter(views))
                return f"; {file}, column {name!r}: {describe_views(cell, views[cell])}"
            heads = {cell: split for cell in cells if (split := _split_class(survey, cell))}
            if len(heads) > len(cells) / 2:
                cell, (image, label) = next(iter(heads.items()))
                remedy = f"write columns id ({image!r}), label ({label!r}) and value (0 or 1) in its place"
                return f"; {file}, column {name!r}: {cell!r} is an image and a class in one: {remedy}"
    return ""


def _split_class(survey: Survey, cell: str) -> tuple[str, str] | None:
    """Return the image and the class that a cell names together; None where it does not."""
    for at in (at for at, mark in enumerate(cell) if mark in "_-"):
        head, tail = cell[:at], cell[at + 1 :]
        if tail and not tail[0].isdigit() and survey.index.find(head):
            return head, tail
    return None
