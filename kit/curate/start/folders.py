"""Labelled images by where they lie: class folders, or a class as the beginning of the file's name.

Works on names; reads and writes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

from kit.config.data import Listing
from kit.curate.start.listed import Labeled
from kit.curate.start.match import common_folder, size_of
from kit.curate.start.roles import LABELED, TEST, UNLABELED, VALIDATION, FolderTree, images_in, is_container
from kit.curate.start.survey import Survey
from kit.data.table.archives import is_archive

STARTS = (  # how a file's name begins with its class: cat.0.jpg, great_dane_12.jpg, cat12.jpg
    r"(?P<label>[^/]*[^/\d\W_])[ ._-]+\d+\.[^/.]+",
    r"(?P<label>[^/]*[^/\d\W_])\d+\.[^/.]+",
)
MIN_PER_CLASS = 2
MIN_SHARE = 0.95  # of the images must be called so


def find_class_folders(survey: Survey, roles: Mapping[str, list[str]], classes: Collection[str] = ()) -> Labeled:
    """Return the images in class folders: below the labelled folder with most images, else wherever there are any.

    Where the sample submission names `classes` and folders further down are called so, these are the class folders.
    """
    tree = survey.tree
    taken = {*roles[UNLABELED], *roles[TEST], *roles[VALIDATION]}
    for scope in _scopes(tree, roles):
        folder, inside = _enter(tree, scope, taken)
        if not inside or (all(map(is_container, inside)) and not _names(inside) & set(classes)):
            continue
        if _deeper(tree, inside, set(classes)):
            return _by_pattern(survey, folder)
        start = 0 if folder == "." else len(folder) + 1
        known = _names(inside)
        names = images_in(survey.names, [folder])
        labels = {name: (top,) for name in names if (top := name[start:].partition("/")[0]) in known}
        return Labeled(folder, labels, evidence=f"class folders in {folder!r}", rank=4)
    return Labeled(None)


def _scopes(tree: FolderTree, roles: Mapping[str, list[str]]) -> list[str]:
    """Return the folders in which class folders may lie."""
    return sorted(roles[LABELED], key=lambda path: (-tree.n_below[path], -size_of(path))) or ["."]


def _enter(tree: FolderTree, folder: str, taken: Collection[str]) -> tuple[str, list[str]]:
    """Step into a folder as long as it is the only one that is not taken; return it and the folders inside."""
    while True:
        inside = [path for path in tree.inside(folder) if path not in taken]
        if len(inside) == 1:
            folder = inside[0]
            continue
        return folder, [path for path in inside if not is_archive(path)]


def _names(paths: Collection[str]) -> set[str]:
    """Return the last parts of paths."""
    return {path.rpartition("/")[2] for path in paths}


def _deeper(tree: FolderTree, inside: Collection[str], classes: set[str]) -> bool:
    """Tell whether the folders below these are called like the classes, and these are not."""
    below = [child for path in inside for child in tree.inside(path)]
    return bool(classes) and len(_names(inside) & classes) < len(_names(below) & classes)


def _by_pattern(survey: Survey, folder: str) -> Labeled:
    """Return the images whose class is the folder they lie in."""
    pattern = r"(?:.*/)?(?P<label>[^/]+)/[^/]+"
    names = images_in(survey.names, [folder])
    start = 0 if folder == "." else len(folder) + 1
    labels = {name: (found["label"],) for name in names if (found := re.fullmatch(pattern, name[start:]))}
    return Labeled(Listing(images=folder, pattern=pattern), labels, evidence="the folder each image lies in", rank=4)


def find_named(survey: Survey, roles: Mapping[str, list[str]]) -> Labeled:
    """Return the images whose file names begin with their class, all of one folder."""
    tree = survey.tree
    taken = {*roles[UNLABELED], *roles[TEST], *roles[VALIDATION]}
    for scope in _scopes(tree, roles):
        names = sorted(name for name in survey.names if name.startswith(f"{scope}/") or scope == ".")
        names = sorted(set(names) - images_in(names, taken))
        scope = common_folder(name.rpartition("/")[0] or "." for name in names) if names else scope
        start = 0 if scope == "." else len(scope) + 1
        for pattern in STARTS:
            whole = rf"(?:.*/)?{pattern}"
            hits = {name: (found["label"],) for name in names if (found := re.fullmatch(whole, name[start:]))}
            n_images = Counter(label for (label,) in hits.values())
            if len(hits) < MIN_SHARE * len(names) or len(n_images) < 2 or min(n_images.values()) < MIN_PER_CLASS:
                continue
            evidence = f"the files of {scope!r} begin with it, as {names[0].rpartition('/')[2]!r} does"
            return Labeled(Listing(images=scope, pattern=whole), hits, evidence=evidence, rank=7)
    return Labeled(None)
