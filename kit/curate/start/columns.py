"""Guess from the names of columns what they hold: image names, classes, individuals. Reads and writes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

ID_COLUMNS = (
    "image_id id filename file_name file image image_name imagename image_path path filepath img img_id img_name "
    "name uuid"
).split()
LABEL_COLUMNS = (
    "label labels class class_name classname target category category_name category_id species breed y tag tags "
    "attribute_ids diagnosis disease dx level grade emotion cultivar"
).split()
LABEL_WORDS = {*"label labels class classes category categories target species breed diagnosis disease tags".split()}
SURE_LABELS = {"label", "labels"}
GROUPS = (  # words of a column that names an individual: of several such columns the first kind wins
    {"patient", "patientid", "subject", "subjectid", "individual", "individualid", "person", "personid", "driver"},
    {"lesion", "lesionid", "study", "studyid", "case", "caseid", "animal", "specimen", "slide", "wsi", "tile"},
    {"session", "sessionid", "seq", "sequence", "sequenceid", "seqid", "burst", "series", "video", "clip", "scene"},
    {"site", "siteid", "location", "locationid", "camera", "cameraid", "photographer", "observer", "owner", "user"},
    {"group", "groupid", "cluster"},
)
FOLD_COLUMNS = ("fold", "folds", "kfold", "cv_fold", "fold_id")
ENDINGS = {"id", "ids", "num", "no", "number", "name", "code", "key", "uid"}


def plain_name(name: str) -> str:
    """Return a column's name as it is compared: no capitals, letters and digits alone."""
    return re.sub(r"[^0-9a-z]", "", name.casefold())


def words_of(name: str) -> list[str]:
    """Return the words of a name: ``"patientId"`` and ``"patient_id"`` have the same two."""
    return re.findall(r"[a-z]+|\d+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())


def named_columns(rows: pd.DataFrame) -> list[str]:
    """Return the columns that have a name, which no other column has; an index that pandas wrote has none."""
    columns = list(rows.columns)
    return [name for name in columns if name and columns.count(name) == 1 and not name.startswith("Unnamed: ")]


def read_cells(rows: pd.DataFrame, column: str) -> list[str]:
    """Return the cells of a column, text."""
    return rows[column].to_numpy().tolist()


def say_the_same(rows: pd.DataFrame, one: str, other: str) -> bool:
    """Tell whether two columns are names for each other: each value of one stands beside one of the other."""
    n_pairs = len(set(zip(rows[one], rows[other], strict=True)))
    return count_values(rows, one) == count_values(rows, other) == n_pairs


def count_values(rows: pd.DataFrame, column: str) -> int:
    """Return how many different cells a column has."""
    return len(set(read_cells(rows, column)))


def rank_label(column: str) -> int | None:
    """Return how surely a column's name is that of classes, 0 the surest; None where it is not."""
    if plain_name(column) in SURE_LABELS:
        return 0
    if plain_name(column) in map(plain_name, LABEL_COLUMNS):
        return 1
    return 2 if LABEL_WORDS.intersection(words_of(column)) else None


def known_columns(columns: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the columns that have a known name, in the order of the known names."""
    plain = {name: plain_name(name) for name in columns}
    return [name for wanted in dict.fromkeys(map(plain_name, known)) for name in plain if plain[name] == wanted]


def rank_group(column: str) -> int | None:
    """Return how surely a column's name is that of an individual, 0 the surest; None where it is none."""
    words = words_of(column) or [""]
    core = [word for word in words if word not in ENDINGS] or words
    whole = "".join(words)
    for rank, known in enumerate(GROUPS):
        if whole in known or core[-1] in known:
            return rank
    return None
