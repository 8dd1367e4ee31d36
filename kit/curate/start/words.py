"""Which file tells what the codes of the classes mean: ``{"0": "healthy"}``, a table of codes and names, categories.

Reads text and JSON files beside the images, and the tables of a survey; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kit.config.data import ClassNames, Listing
from kit.core.errors import InputError
from kit.curate.start.columns import named_columns, plain_name, read_cells, say_the_same
from kit.curate.start.survey import Survey
from kit.data.class_names import are_codes, read_class_names

NAMES = ("name", "classname", "labelname", "categoryname", "attributename", "scientificname", "commonname", "species")
TEXTS = (".json", ".txt", ".csv", ".tsv")
MAX_BYTES = 2**24  # of a file of names
MIN_SHARE = 0.9  # of the classes must be named


@dataclass(frozen=True)
class Words:
    """Hold what the classes are called in words, and which file says so."""

    source: str | ClassNames | None = None
    of_class: Mapping[str, str] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()


def find_words(survey: Survey, labeled: str | Listing | None, classes: Collection[str]) -> Words:
    """Return the words of the classes: those that a file gives to codes, if any gives them all."""
    found = []
    for source in _candidates(survey, labeled, classes):
        try:
            names = read_class_names(survey.root, source)
        except InputError:
            continue
        words = {name: names[name] for name in classes if name in names}
        if len(words) >= MIN_SHARE * len(classes) and len(set(words.values())) == len(words) and _say_more(words):
            found.append(Words(source, words))
    if not found:
        return Words()
    return Words(found[0].source, found[0].of_class, tuple(_show(words.source) for words in found[1:]))


def _say_more(words: Mapping[str, str]) -> bool:
    """Tell whether words differ from codes and are words."""
    return any(re.search("[^\\W\\d_]{2}", word) and word != code for code, word in words.items()) and not are_codes(
        words.values()
    )


def _candidates(survey: Survey, labeled: str | Listing | None, classes: Collection[str]) -> list[str | ClassNames]:
    """Return the files that may name the classes, the likeliest first."""
    sources: list[str | ClassNames] = []
    own = labeled.csv if isinstance(labeled, Listing) else None
    for file, rows in survey.tables.items():
        if file != own and not file.lower().endswith(".json"):
            sources += _columns_of(file, rows, set(classes))
    for file in survey.files:
        path = survey.root / file
        if file.lower().endswith((".json", ".txt")) and file.count("/") < 2 and path.stat().st_size <= MAX_BYTES:
            sources.append(file)
    if own and own not in sources:
        if own.lower().endswith(".json"):
            sources.append(own)
        elif isinstance(labeled, Listing) and isinstance(labeled.label, str):
            sources += _columns_of(own, survey.tables[own], set(classes), code=labeled.label)
    return sources


def _columns_of(file: str, rows: pd.DataFrame, classes: set[str], code: str | None = None) -> list[str | ClassNames]:
    """Return the pairs of columns of a table that map codes to names one to one, the best called first."""
    pairs = []
    for column in [code] if code else named_columns(rows):
        cells = read_cells(rows, column)
        if len(classes & set(cells)) < MIN_SHARE * len(classes):
            continue
        for other in named_columns(rows):
            if other != column and say_the_same(rows, column, other):
                pairs.append(ClassNames(csv=file, code=column, name=other))
    return sorted(pairs, key=lambda pair: isinstance(pair, ClassNames) and plain_name(pair.name or "") not in NAMES)


def _show(source: str | ClassNames | None) -> str:
    """Return a source of names as a message names it."""
    return f"{source.csv}:{source.name}" if isinstance(source, ClassNames) else Path(source or "").name
