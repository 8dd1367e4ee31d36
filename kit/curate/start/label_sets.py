"""Several labels per image: which of the forms of `kit.data.table.labels` a CSV has, where that is beyond doubt.

Works on the rows of a CSV; reads and writes nothing.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from kit.curate.start.hints import guess_columns
from kit.data.table.labels import JOINER, SWITCHES, TAG

ALWAYS = (JOINER, ";")  # separators that are in no name
PLURALS = {"labels", "tags", "classes", "categories", "attributes", "attribute_ids", "targets"}
IN_PLURALS = (",", " ")  # separators where the column's own name says that there are several
PATH = "/"


def guess_label_sets(table: pd.DataFrame, image_id: str) -> tuple[dict[str, Any], set[str]] | None:
    """Return the keys of a listing that say how a CSV writes several labels per image, and the labels.

    Parameters
    ----------
    table
        Rows of text.
    image_id
        The column of image names.

    Returns
    -------
    tuple or None
        None where every image has one label, or where it is in doubt.
    """
    switches = [name for name in table.columns if name and name != image_id and table[name].isin(list(SWITCHES)).all()]
    if len(switches) > 1 and len(switches) == sum(bool(name) for name in table.columns) - 1:
        n_on = sum(table[name].map(SWITCHES).astype(int) for name in switches)
        there = {name for name in switches if table[name].map(SWITCHES).any()}
        return ({"form": "columns"}, there) if n_on.max() > 1 else None
    tags = [name for name in table.columns if name and name != image_id]
    if len(tags) > 1 and all(map(TAG.fullmatch, tags)):
        return {"form": "tags"}, {cell for name in tags for cell in table[name] if cell.strip()}
    for label in [label for own, label in guess_columns(table) if own == image_id]:
        cells = table[label]
        if (table.groupby(image_id)[label].nunique() > 1).any():
            return {"label": label, "form": "rows"}, set(cells[cells.str.strip() != ""])
        for separator in (*ALWAYS, *(IN_PLURALS if label.lower() in PLURALS else ())):
            parts = set(cells.str.split(separator).explode().str.strip()) - {""}
            if _is_separator(cells, separator) and 1 < len(parts) < cells.nunique():
                return {"label": label, "form": "cell", "separator": separator}, parts
    return None


def _is_separator(cells: pd.Series, separator: str) -> bool:
    """Tell whether some label stands in a cell of its own and beside others too, so that it is one."""
    holds = cells.str.contains(separator, regex=False)
    return bool(set(cells[~holds]) & set(cells[holds].str.split(separator).explode().str.strip()))


def are_paths(labels: set[str]) -> bool:
    """Tell whether labels are paths: most have parts, and some share their first."""
    long = [label for label in labels if PATH in label]
    if any(not part.strip() for label in labels for part in label.split(PATH)):
        return False
    return len(long) > len(labels) / 2 and len({label.partition(PATH)[0] for label in long}) < len(long)
