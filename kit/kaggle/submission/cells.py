"""How a sample submission writes numbers, yes and no, and classes: 0, 0.0, False, or a name.

Works on the text of cells; reads and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from kit.data.table.labels import JOINER, are_lists, split_list

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
WHOLE = re.compile(r"[+-]?\d+")
SWITCHES = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}  # in lower case
Spelling = tuple[tuple[str, str], ...]  # of each class its text


def find_lists(sample: pd.DataFrame) -> tuple[str, str] | None:
    """Return the quote, and what stands between two names, of a column whose cells are lists in brackets.

    None where no column has such cells. Where no cell holds two names, a comma and a space stand between.
    """
    for at in range(sample.shape[1]):
        cells = sample.iloc[:, at]
        if not are_lists(cells):
            continue
        insides = [cell.strip()[1:-1].strip() for cell in cells if cell.strip()]
        quote = next((inside[0] for inside in insides if inside and inside[0] in "'\""), "")
        pairs = [inside for inside in insides if len(split_list(f"[{inside}]", "sample")) > 1]
        return quote, "," if pairs and not any(", " in inside for inside in pairs) else ", "
    return None


def plain_lists(sample: pd.DataFrame) -> pd.DataFrame:
    """Return a sample whose lists in brackets are names with `JOINER` between them, which no name holds."""
    plain = sample.copy()
    for at in range(sample.shape[1]):
        if are_lists(sample.iloc[:, at]):
            plain.isetitem(at, [JOINER.join(split_list(cell, "sample")) for cell in sample.iloc[:, at]])
    return plain


def is_number(cell: str) -> bool:
    """Return whether a cell is a number, whole or not."""
    return NUMBER.fullmatch(cell.strip()) is not None


def is_whole(cell: str) -> bool:
    """Return whether a cell is a whole number, written without a point."""
    return WHOLE.fullmatch(cell.strip()) is not None


def is_fraction(cell: str) -> bool:
    """Return whether a cell is a number that is not whole, such as 0.5 or 1e-3."""
    return is_number(cell) and not float(cell).is_integer()


def is_switch(cell: str) -> bool:
    """Return whether a cell is a yes or a no: 0 or 1, 0.0 or 1.0, True or False."""
    return cell.strip().lower() in SWITCHES


def is_on(cell: str) -> bool:
    """Return whether a cell of `is_switch` is a yes."""
    return SWITCHES[cell.strip().lower()]


def spell_switch(cells: Sequence[str]) -> tuple[str, str]:
    """Return how cells of `is_switch` write no and yes."""
    shown = next((cell.strip() for cell in cells if cell.strip()), "0")
    if shown.lower() in ("false", "true"):
        case = str.upper if shown.isupper() else str.lower if shown.islower() else str.title
        return case("false"), case("true")
    return ("0.0", "1.0") if "." in shown else ("0", "1")


def spell_classes(cells: Sequence[str], classes: tuple[str, ...]) -> Spelling:
    """Return how cells write classes where that is not their names: numbers as 3 or 3.0, yes and no; () else.

    Cells that hold a class's name leave no doubt. What would make two classes one, or lose a half, is not taken.
    """
    cells = [cell.strip() for cell in cells if cell.strip()]
    if not cells or {*cells} & {name.strip() for name in classes}:
        return ()
    if len(classes) == 2 and all(map(is_switch, cells)) and all(map(is_switch, classes)):
        switch = spell_switch(cells)
        spelled = [(name, switch[is_on(name)]) for name in classes]
    elif all(map(is_number, cells)) and all(map(is_number, classes)):
        n_decimals = max(len(cell.partition(".")[2]) if "e" not in cell.lower() else 0 for cell in cells)
        spelled = [(name, f"{float(name):.{n_decimals}f}") for name in classes]
        if any(float(text) != float(name) for name, text in spelled):
            return ()
    else:
        return ()
    is_other = any(name != text for name, text in spelled) and len({text for _, text in spelled}) == len(classes)
    return tuple(spelled) if is_other else ()
