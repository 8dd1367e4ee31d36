"""Guess from names: which folder holds which images, which column of a CSV names images and which classes.

Works on paths alone, relative and with slashes; ``"."`` is the folder of all. Reads and writes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

import pandas as pd

from kit.data.table.scan import strip_archive, strip_suffix

LABELED, UNLABELED, TEST, VALIDATION = "labeled", "unlabeled", "test", "validation"
ROLES = {  # words of a folder's or CSV's name; "train_unlabeled" is unlabelled: the first role wins
    UNLABELED: {"unlabeled", "unlabelled", "unsup", "unsupervised", "extra"},
    TEST: {"test", "testing", "tests", "testset"},
    VALIDATION: {"val", "valid", "validation", "valset", "dev"},
    LABELED: {"train", "training", "trainset", "labeled", "labelled"},
}
FILLERS = {"image", "images", "img", "imgs", "photos", "pictures", "set", "data", "dataset", "files", "csv"}
ID_COLUMNS = (
    "image_id id filename file_name file image image_name imagename image_path path img img_id img_name name uuid"
).split()
LABEL_COLUMNS = "label labels class class_name classname target category category_name species breed y".split()
N_VOTES = 200  # ids of a CSV that choose its folder of images
MIN_ID_SHARE = 0.5  # of a CSV's ids must be images; the image table then names those that are not


def role_of(path: str) -> str | None:
    """Return the role that a name tells: "test_images" or "stage1_test" of test images, none of class "test_tube"."""
    name = strip_archive(path.rpartition("/")[2])
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())
    telling = [word for word in words if word not in FILLERS]
    if not set(telling) <= set().union(*ROLES.values()):
        telling = telling[-1:]
    return next((role for role, known in ROLES.items() if known.intersection(telling)), None)


def find_roles(names: list[str], folder: str = ".") -> dict[str, list[str]]:
    """Return the folders below one by role, also inside a folder that holds everything, and train/unlabeled.

    `names` are the paths of all images.
    """
    folders: dict[str, list[str]] = {role: [] for role in ROLES}
    inside = subfolders(names, folder)
    for child in inside:
        role = role_of(child)
        if role == LABELED and (deeper := subfolders(names, child)) and all(map(role_of, deeper)):
            for inner, paths in find_roles(names, child).items():
                folders[inner] += paths
        elif role:
            folders[role].append(child)
    if len(inside) == 1 and not any(folders.values()):
        return find_roles(names, inside[0])
    return folders


def guess_columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of columns that may hold image names and classes, likeliest first."""
    pairs = []
    for image_id in guess_ids(table):
        others = [name for name in unique_columns(table) if name != image_id]
        known = [name for wanted in LABEL_COLUMNS for name in others if name.lower() == wanted]
        pairs += [(image_id, label) for label in known or (others if len(others) == 1 else [])]
    return pairs


def guess_ids(table: pd.DataFrame) -> list[str]:
    """Return the columns that may hold image names, likeliest first."""
    columns = unique_columns(table)
    known = [name for wanted in ID_COLUMNS for name in columns if name.lower() == wanted]
    return list(dict.fromkeys([*known, *columns[:1]]))


def match_ids(
    ids: Sequence[str], names: list[str], avoid: Collection[str] = (), prefer: Collection[str] = ()
) -> tuple[str, set[str]] | None:
    """Return the folder that most ids are images of, and those images; None where fewer than half are.

    Suffixes of ids are optional. Images in the folders of `avoid` do not count; a folder of `prefer` wins a tie.
    """
    asked, votes = set(map(strip_suffix, ids[:N_VOTES])), Counter[str]()
    for name in names:
        *above, last = strip_suffix(name).split("/")
        for depth in range(len(above) + 1):
            if "/".join([*above[depth:], last]) in asked:
                votes["/".join(above[:depth]) or "."] += 1
    for folder in [path for path in votes if any(is_in(path, avoided) for avoided in avoid)]:
        del votes[folder]
    if not votes:
        return None
    folder = max(votes, key=lambda path: (votes[path], any(is_in(path, preferred) for preferred in prefer), path))
    above = "" if folder == "." else f"{folder}/"
    wanted = {above + strip_suffix(image_id) for image_id in ids}
    images = {name for name in names if strip_suffix(name) in wanted}
    return (folder, images) if len(images) >= MIN_ID_SHARE * len(ids) else None


def subfolders(names: list[str], folder: str) -> list[str]:
    """Return the paths of the folders right inside a folder that hold images, sorted."""
    depth = 1 if folder == "." else folder.count("/") + 2
    parts = [name.split("/") for name in names if is_in(name, folder)]
    return sorted({"/".join(path[:depth]) for path in parts if len(path) > depth})


def images_in(names: list[str], folders: Collection[str]) -> set[str]:
    """Return the images below any of the folders."""
    return {name for folder in folders for name in names if is_in(name, folder)}


def is_in(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or below it."""
    return folder == "." or path == folder or path.startswith(f"{folder}/")


def unique_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that have a name, which no other column has."""
    return [name for name in table.columns if name and list(table.columns).count(name) == 1]


def read_cells(table: pd.DataFrame, column: str) -> list[str]:
    """Return the cells of a column, text."""
    return table[column].to_numpy().tolist()
