"""Recognise several labels per image: which form of `kit.data.table.labels` a CSV has, where there is no doubt.

Works on the rows of a CSV; reads and writes nothing.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from kit.curate.start.hints import guess_columns, read_cells, unique_columns
from kit.data.table.labels import JOINER, SWITCHES, TAG

ALWAYS = (JOINER, ";")  # separators that no name holds
PLURALS = {"labels", "tags", "classes", "categories", "attributes", "attribute_ids", "targets"}
IN_PLURALS = (",", " ")  # separators where the name of the column is a plural
PATH = "/"


def guess_label_sets(table: pd.DataFrame, image_id: str) -> tuple[dict[str, Any], set[str]] | None:
    """Return the keys of a listing that tell how a CSV writes several labels per image, and the labels.

    None where every image has one label, or where it is in doubt.
    """
    columns = {name: read_cells(table, name) for name in unique_columns(table) if name != image_id}
    switches = [name for name, cells in columns.items() if set(cells) <= set(SWITCHES)]
    if len(switches) > 1 and len(switches) == sum(bool(name) for name in table.columns) - 1:
        is_on = {name: [SWITCHES[cell] for cell in columns[name]] for name in switches}
        most = max(map(sum, zip(*is_on.values(), strict=True)), default=0)  # labels of an image
        return ({"form": "columns"}, {name for name, on in is_on.items() if any(on)}) if most > 1 else None
    if len(columns) > 1 and all(map(TAG.fullmatch, columns)):
        return {"form": "tags"}, {cell for cells in columns.values() for cell in cells if cell.strip()}
    ids = read_cells(table, image_id)
    for label in [label for column, label in guess_columns(table) if column == image_id]:
        cells = columns[label]
        if len(set(zip(ids, cells, strict=True))) > len(set(ids)):
            return {"label": label, "form": "rows"}, {cell for cell in cells if cell.strip()}
        for separator in (*ALWAYS, *(IN_PLURALS if label.lower() in PLURALS else ())):
            parts = {part.strip() for cell in cells for part in cell.split(separator)} - {""}
            if _is_separator(cells, separator) and 1 < len(parts) < len(set(cells)):
                return {"label": label, "form": "cell", "separator": separator}, parts
    return None


def _is_separator(cells: list[str], separator: str) -> bool:
    """Tell whether some label stands alone in a cell and beside others in another one, so that it is one label."""
    alone = {cell for cell in cells if separator not in cell}
    return any(part.strip() in alone for cell in cells if separator in cell for part in cell.split(separator))


def are_paths(labels: set[str]) -> bool:
    """Tell whether labels are paths: most have parts, and some share their first."""
    long = [label for label in labels if PATH in label]
    if any(not part.strip() for label in labels for part in label.split(PATH)):
        return False
    return len(long) > len(labels) / 2 and len({label.partition(PATH)[0] for label in long}) < len(long)
