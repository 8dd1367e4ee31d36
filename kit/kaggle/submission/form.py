"""Tell from a sample submission alone how it writes a prediction: which column is what, and in which of eight forms.

Works on the rows of a CSV and the names of the classes; reads and writes nothing. What the metric adds to it, see
`kit.kaggle.submission.suit`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from kit.core.errors import InputError, some
from kit.core.names import MULTILABEL
from kit.data.table.labels import split_list
from kit.kaggle.submission.cells import (
    find_lists,
    is_fraction,
    is_number,
    is_on,
    is_switch,
    is_whole,
    plain_lists,
    spell_classes,
    spell_switch,
)
from kit.kaggle.submission.identity import meant_ids
from kit.scoring.metrics import positive_of

Kind = Literal["label", "labels", "ranked", "probability", "probabilities", "zero_one", "rows", "confidence"]
CELL_SEPARATORS = (" ", ",", ";", "|")  # looked for between the labels of a cell, Kaggle's commonest first
ROW_SEPARATORS = ("_", "-", " ", "/", "|", ":", ".")  # between image and class in the id of a row
INDEX_NAMES = ("", "index", "unnamed: 0")  # of a column that counts rows, lower case
CONFIDENCE_WORDS = {"confidence", "conf", "score", "prob", "probability", "proba", "certainty"}
ID_WORDS = {"id", "image", "img", "file", "filename", "path", "name", "uuid"}


@dataclass(frozen=True)
class Form:
    """Say how a submission writes the predictions.

    Parameters
    ----------
    kind
        ``"label"``: one class in one column; ``"labels"``: any number of classes in one cell; ``"ranked"``: guesses in
        one cell, the most probable first; ``"probability"``: one number per image, of the `positive` class;
        ``"probabilities"``: a number in a column per class; ``"zero_one"``: 0 or 1 there; ``"rows"``: a row per image
        and class, with a number; ``"confidence"``: a class, and its probability in a column beside it or after it in
        the cell.
    id_column, values
        Positions of the column of ids, and of those that are filled in; other columns stay as they are.
    classes
        Of each of `values` the class whose number it holds, None for what is no class; in the order of `values`.
    class_column
        Of ``"rows"`` the position of the column that names the class; None where ids end with the class.
    separator
        What stands between ``"labels"`` or ``"ranked"`` guesses, "" where no cell shows it; or between image and class
        in ids of ``"rows"``, or between class and ``"confidence"`` in one cell.
    n_ranked
        How many guesses stand in a cell.
    positive
        Of ``"probability"``, and of labels written as 0 and 1.
    spelling
        How the sample writes classes, (class, text), where that is not their names; of yes and no (0, 1).
    guess
        What was taken for granted and no file says; "" where nothing was.
    listed
        Of cells that are lists in brackets, such as ``['cat', 'dog']``: the quote around a name ("" for none), and what
        stands between two; None of other cells.
    """

    kind: Kind
    id_column: int = 0
    values: tuple[int, ...] = (1,)
    classes: tuple[str | None, ...] = ()
    class_column: int | None = None
    separator: str = ""
    n_ranked: int = 0
    positive: str | None = None
    spelling: tuple[tuple[str, str], ...] = ()
    guess: str = ""
    listed: tuple[str, str] | None = None

    def join(self, names: Iterable[str]) -> str:
        """Return several names as one cell."""
        if self.listed is None:
            return self.separator.join(names)
        quote, between = self.listed
        written = [quote + name.replace(quote, f"\\{quote}") + quote if quote else name for name in names]
        return f"[{between.join(written)}]"

    def split(self, cell: str) -> list[str]:
        """Return the names in a cell; InputError where it should be a list and is none."""
        if self.listed is not None:
            return split_list(cell, "submission")
        return cell.split(self.separator) if cell else []

    @property
    def has_numbers(self) -> bool:
        """Return whether it can hold probabilities of every class."""
        return self.kind in ("probability", "probabilities", "rows")


def read_form(
    sample: pd.DataFrame,
    classes: tuple[str, ...],
    task: str,
    ids: Collection[str] = (),
    positive: str | None = None,
) -> Form:
    """Return the form that a sample submission shows.

    Parameters
    ----------
    sample
        Its rows as text, as `kit.data.table.scan.read_csv` gives them.
    classes
        Names of the classes, with that of none of them where it has one.
    task
        ``"multiclass"`` or ``"multilabel"``.
    ids
        The test images' ids, which tell the column of ids; without them its name and place do.
    positive
        Of two classes the one whose probability is wanted, where it is known.

    Raises
    ------
    InputError
        When there is no column to fill in, or columns or cells fit neither labels nor classes.
    """
    if listed := find_lists(sample):
        return replace(read_form(plain_lists(sample), classes, task, ids, positive), listed=listed)
    id_column = find_id_column(sample, classes, ids)
    names = list(sample.columns)
    values = [at for at in range(len(names)) if at != id_column and not _is_index(sample, at)]
    if not values:
        raise InputError("only one column; expected an id and a label column, or an id and the classes")
    cells = [sample.iloc[:, at] for at in values]
    base = Form("label", id_column, tuple(values))
    if rows := _read_rows(sample, base, cells, classes, ids):
        return rows
    by_column = match_columns([names[at] for at in values], classes)
    n_matched = sum(name is not None for name in by_column)
    if len(values) > 1 and (n_matched > 1 or n_matched == len(values)):
        return _read_columns(base, cells, by_column, task)
    if len(values) > 1:
        return _read_confidence(sample, base, cells, classes)
    cell = cells[0].map(str.strip)
    if task == MULTILABEL:
        if by_column[0] is not None and all(map(is_number, cell)):
            return _read_columns(base, cells, by_column, task)
        return replace(base, kind="labels", separator=_find_separator(list(cell), classes))
    return _read_cells(base, names[values[0]], list(cell), classes, positive)


def find_id_column(sample: pd.DataFrame, classes: tuple[str, ...], ids: Collection[str] = ()) -> int:
    """Return the position of the column of ids: that which means most test images, or by name and place."""
    columns = [sample.iloc[:, at].tolist() for at in range(sample.shape[1])]
    names = [_words(name) for name in sample.columns]
    if ids:
        known = set(ids)
        n_meant = [_count_meant(cells, classes, known) for cells in columns]
        best = max(range(len(columns)), key=lambda at: (n_meant[at], bool(names[at]), -at))
        if n_meant[best]:
            return best
    candidates = [at for at in range(len(columns)) if not _is_index(sample, at)] or [0]
    first = candidates[0]
    if names[first] & ID_WORDS or len(set(columns[first])) == len(sample):
        return first
    named = [at for at in candidates if names[at] & ID_WORDS and len(set(columns[at])) == len(sample)]
    return named[0] if named else first


def match_columns(names: list[str], classes: tuple[str, ...]) -> list[str | None]:
    """Return the class that each column is of, or None: by its name, also with a prefix or suffix that all share."""
    plain = {_plain(name): name for name in classes}
    exact = {name.strip(): name for name in classes}
    by_name = [exact.get(name.strip()) or plain.get(_plain(name)) for name in names]
    if len(names) < 2 or any(by_name):
        return by_name
    spread = [_plain(name).split() for name in names]
    before, after = _n_common(spread), _n_common([words[::-1] for words in spread])
    cut = [plain.get(" ".join(words[before : len(words) - after])) for words in spread]
    return cut if None not in cut and len(set(cut)) == len(cut) else by_name


def _n_common(spread: list[list[str]]) -> int:
    """Return how many words all of some names begin with."""
    n_words = min(map(len, spread))
    return next((at for at in range(n_words) if len({words[at] for words in spread}) > 1), n_words)


def choose_positive(column: str, classes: tuple[str, ...], positive: str | None) -> tuple[str, str]:
    """Return the positive one of two classes, and why where that is a guess.

    It is the one that is said, that the column names, or that is a yes; else the last.
    """
    if positive is not None:
        return positive, ""
    named = [name for name in classes if _words(name) and _words(name) <= _words(column)]
    if len(named) == 1:
        return named[0], ""
    name, is_known = positive_of(classes)
    other = next((each for each in classes if each != name), "")
    remedy = f'[submission] positive = "{other}" if it is of the other'
    return name, "" if is_known else f"column {column!r} is taken to be of class {name!r}, the last one; {remedy}"


def _read_rows(
    sample: pd.DataFrame, base: Form, cells: list[pd.Series], classes: tuple[str, ...], ids: Collection[str]
) -> Form | None:
    """Return the form of a row per image and class, or None where it is not that."""
    id_cells = sample.iloc[:, base.id_column].tolist()
    if len(cells) == 2 and len(set(id_cells)) < len(id_cells):
        for named, other in ((0, 1), (1, 0)):
            pairs = set(zip(id_cells, cells[named], strict=True))
            is_class = {cell.strip() for cell in cells[named]} <= {name.strip() for name in classes}
            if is_class and len(pairs) == len(sample):
                at = base.values[named], base.values[other]
                return replace(base, kind="rows", class_column=at[0], values=(at[1],))
    if len(cells) > 1 or (ids and set(meant_ids(id_cells, ids)) & set(ids)):
        return None
    for separator in ROW_SEPARATORS:
        parts = [split_row_id(image_id, separator, classes) for image_id in id_cells]
        if any(part is None for part in parts):
            continue
        heads, named = ({part[place] for part in parts if part} for place in (0, 1))
        if len(named) > 1 and len(heads) > 1 and len(heads) * len(named) == len(set(id_cells)) == len(parts):
            return replace(base, kind="rows", separator=separator)
    return None


def split_row_id(row_id: str, separator: str, classes: tuple[str, ...]) -> tuple[str, str] | None:
    """Return image and class of the id of a row that ends with a class; None where it does not."""
    ends = [name for name in classes if row_id.strip().endswith(separator + name.strip())]
    if not ends:
        return None
    name = max(ends, key=len)
    return row_id.strip()[: -len(separator + name.strip())], name


def _read_columns(base: Form, cells: list[pd.Series], by_column: list[str | None], task: str) -> Form:
    """Return the form of a column per class: probabilities, or 0 and 1 where the cells show what is decided."""
    shown = [cell for column in cells for cell in column]
    is_decided = all(map(is_switch, shown))
    if is_decided and task == MULTILABEL:
        is_decided = not any("." in cell for cell in shown)
    elif is_decided:
        is_decided = all(sum(map(is_on, row)) == 1 for row in zip(*cells, strict=True))
    kind, spelling = ("zero_one", tuple(zip("01", spell_switch(shown), strict=True))) if is_decided else (None, ())
    return replace(base, kind=kind or "probabilities", classes=tuple(by_column), spelling=spelling)


def _read_confidence(sample: pd.DataFrame, base: Form, cells: list[pd.Series], classes: tuple[str, ...]) -> Form:
    """Return the form of a class and its probability beside it, or refuse columns that are neither."""
    names = [sample.columns[at] for at in base.values]
    numeric = [at for at, column in enumerate(cells) if all(is_number(cell) for cell in column if cell.strip())]
    told = [at for at in numeric if _words(names[at]) & CONFIDENCE_WORDS]
    if len(cells) == 2 and len(told or numeric) == 1:
        at = (told or numeric)[0]
        spelling = spell_classes(cells[1 - at].tolist(), classes)
        return replace(base, kind="confidence", values=(base.values[1 - at], base.values[at]), spelling=spelling)
    odd = sorted(set(names) ^ set(classes))
    raise InputError(f"columns are neither one label nor the {len(classes)} classes: {some(odd)} differ")


def _read_cells(base: Form, column: str, cells: list[str], classes: tuple[str, ...], positive: str | None) -> Form:
    """Return the form of a single column, with one label per image."""
    filled, names = [cell for cell in cells if cell], {name.strip() for name in classes}
    if joined := _read_joined(base, [cell for cell in filled if cell not in names], names):
        return joined
    label = replace(base, spelling=spell_classes(filled, classes))
    are_numbers, are_switches = all(map(is_number, filled)), all(map(is_switch, filled))
    if set(filled) <= names or not (are_numbers or are_switches):
        return label
    is_fractional = any(is_fraction(cell) for cell in filled if cell not in names)
    if len(classes) == 2 and are_numbers and (is_fractional or not all(map(is_whole, filled))):
        name, guess = choose_positive(column, classes, positive)
        return replace(base, kind="probability", positive=name, guess=guess)
    if not is_fractional and (label.spelling or all(map(is_number, classes)) or set(filled) & names):
        return label
    if len(classes) == 2 and are_switches:
        return spell_two(base, column, filled, classes, positive)
    shown = f"column {column!r} holds {some(dict.fromkeys(filled), 3)}, which no class is like ({some(classes, 3)})"
    if len(set(filled)) == 1 and is_whole(filled[0]):
        return replace(base, guess=f"{shown}; taken for a place-holder: class names are written")
    raise InputError(
        f"{shown}; one column of probabilities is of two classes, and here are {len(classes)}. If the numbers stand "
        "for the classes, name the classes so; if they are place-holders, empty the column"
    )


def spell_two(base: Form, column: str, cells: list[str], classes: tuple[str, ...], positive: str | None) -> Form:
    """Return the form of labels of two classes that are written as no and yes."""
    name, guess = choose_positive(column, classes, positive)
    no, yes = spell_switch(cells)
    spelling = tuple((each, yes if each == name else no) for each in classes)
    return replace(base, kind="label", positive=name, spelling=spelling, guess=guess)


def _read_joined(base: Form, cells: list[str], names: set[str]) -> Form | None:
    """Return the form of cells that hold several guesses, or a class and its probability; None where they do not."""
    for separator in CELL_SEPARATORS:
        several = [[part.strip() for part in cell.split(separator)] for cell in cells if separator in cell]
        if not several or len(several) < len(cells):
            continue
        if all(len(parts) == 2 and is_number(parts[1]) and "." in parts[1] for parts in several):
            return replace(base, kind="confidence", separator=separator)
        parts = {part for each in several for part in each} - {""}
        if parts <= names or all(map(is_number, parts)):
            return replace(base, kind="ranked", separator=separator, n_ranked=max(map(len, several)))
    return None


def _find_separator(cells: list[str], classes: tuple[str, ...]) -> str:
    """Return what stands between the labels of the cells; "" where none shows it."""
    names = {name.strip() for name in classes}
    for separator in CELL_SEPARATORS:
        several = [cell.split(separator) for cell in cells if separator in cell and cell not in names]
        parts = {part.strip() for each in several for part in each} - {""}
        if several and (parts <= names or all(map(is_number, parts))):
            return separator
    return ""


def _count_meant(cells: list[str], classes: tuple[str, ...], known: set[str]) -> int:
    """Return how many test images the cells of a column mean, with or without a class at their end."""
    if n_meant := len(set(meant_ids(cells, known)) & known):
        return n_meant
    for separator in ROW_SEPARATORS:
        if (part := split_row_id(cells[0], separator, classes) if cells else None) and part[0] in known:
            heads = [split_row_id(cell, separator, classes) for cell in cells]
            return len({head[0] for head in heads if head} & known)
    return 0


def _is_index(sample: pd.DataFrame, at: int) -> bool:
    """Return whether a column only counts the rows, as pandas writes it."""
    cells, n_rows = sample.iloc[:, at].tolist(), len(sample)
    if sample.columns[at].strip().lower() not in INDEX_NAMES or sample.shape[1] < 3:
        return False
    return any(cells == [str(number) for number in range(first, first + n_rows)] for first in (0, 1))


def _words(name: str) -> set[str]:
    """Return the words of a name, lower case: isDog and is_dog are "is" and "dog"."""
    return set(_plain(re.sub("(?<=[a-z])(?=[A-Z])", " ", name)).split())


def _plain(name: str) -> str:
    """Return a name in lower case with single spaces in place of all that is neither letter nor digit."""
    return " ".join(re.sub(r"[\W_]+", " ", name.lower()).split())
