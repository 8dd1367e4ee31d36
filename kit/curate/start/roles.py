"""Guess from the names of folders which holds which images.

Works on paths alone, relative and with slashes; ``"."`` is the folder of all. Reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from kit.curate.start.columns import words_of
from kit.data.table.archives import is_archive, strip_archive

LABELED, UNLABELED, TEST, VALIDATION = "labeled", "unlabeled", "test", "validation"
ROLES = {  # words of a folder's or CSV's name; "train_unlabeled" is unlabelled: the first role wins
    UNLABELED: {"unlabeled", "unlabelled", "unsup", "unsupervised", "extra"},
    TEST: {"test", "testing", "tests", "testset"},
    VALIDATION: {"val", "valid", "validation", "valset", "dev"},
    LABELED: {"trainval", "train", "training", "trainset", "labeled", "labelled"},
}
CONTAINERS = {"image", "images", "img", "imgs", "photos", "pictures", "jpeg", "jpg", "png", "tif", "tiff", "part"}
CONTAINERS |= {"set", "data", "dataset", "files", "batch", "folder"}
FILLERS = CONTAINERS | {"csv", "input", "v", "stg", "stage", "final", "full", "all", "public", "private", "groundtruth"}
FILLERS |= {"ground", "truth", "labels", "metadata", "info", "list", "json"}
MAY_BE_CLASSES = {"train", "extra", "test", "dev"}  # words that alone may be a class among classes


def role_of(path: str) -> str | None:
    """Return the role that a name tells: "test_images", "testA" or "test_stg1" of test images; none of "test_tube"."""
    words = words_of(strip_archive(path.rpartition("/")[2]))
    telling = [word for word in words if word not in FILLERS and not word.isdigit() and len(word) > 1]
    if not set(telling) <= set().union(*ROLES.values()):
        telling = telling[-1:]
    if "trainval" in telling or ({"train", "val"} <= set(telling)):
        return LABELED
    return next((role for role, known in ROLES.items() if known.intersection(telling)), None)


def is_container(path: str) -> bool:
    """Tell a folder that holds images of whatever kind by its name: "images", "images_001", "jpeg-512x512"."""
    words = [word for word in words_of(strip_archive(path.rpartition("/")[2])) if not word.isdigit() and len(word) > 1]
    return (bool(words) and words[-1] in CONTAINERS) or (len(words) > 1 and words[0] in CONTAINERS)


@dataclass
class FolderTree:
    """Hold which folders hold images, and how many.

    Parameters
    ----------
    children
        The folders right inside a folder, sorted.
    n_below, n_inside
        Images below a folder at any depth, and right inside it.
    """

    children: dict[str, list[str]] = field(default_factory=dict)
    n_below: Counter[str] = field(default_factory=Counter)
    n_inside: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, names: Iterable[str]) -> FolderTree:
        """Build the tree of the paths of images."""
        tree = cls()
        tree.n_inside.update(name.rpartition("/")[0] or "." for name in names)
        inside: dict[str, set[str]] = {}
        for folder, n_images in tree.n_inside.items():
            for path in (folder, *parents_of(folder)):
                tree.n_below[path] += n_images
                if path != ".":
                    inside.setdefault(parent_of(path), set()).add(path)
        tree.children = {folder: sorted(paths) for folder, paths in inside.items()}
        return tree

    def inside(self, folder: str) -> list[str]:
        """Return the folders right inside a folder that hold images, sorted."""
        return self.children.get(folder, [])

    def walk(self, folder: str) -> Iterator[str]:
        """Yield a folder and all below it."""
        yield folder
        for child in self.inside(folder):
            yield from self.walk(child)


def parent_of(path: str) -> str:
    """Return the folder that a folder lies in."""
    return path.rpartition("/")[0] or "."


def parents_of(path: str) -> list[str]:
    """Return all folders that a folder lies in, the nearest first."""
    parts = [] if path == "." else path.split("/")
    return ["/".join(parts[:n]) or "." for n in range(len(parts) - 1, -1, -1)]


def find_roles(tree: FolderTree, classes: Collection[str] = (), folder: str = ".") -> dict[str, list[str]]:
    """Return the folders below one by role, also inside a folder that holds everything, and train/unlabeled.

    A folder that is called as one of the known `classes` has no role, nor one that is a class among others.
    """
    found: dict[str, list[str]] = {role: [] for role in ROLES}
    inside = [path for path in tree.inside(folder) if path.rpartition("/")[2] not in classes]
    roles = {path: role for path in inside if (role := role_of(path))}
    plain = [path for path in inside if path not in roles and not is_container(path) and not is_archive(path)]
    for path, role in roles.items():
        if _is_class(tree, path, role, set(roles.values()) - {role}, plain):
            continue
        deeper = tree.inside(path)
        if role == LABELED and deeper and all(map(role_of, deeper)) and not set(deeper) & set(classes):
            _add(found, find_roles(tree, classes, path))
        else:
            found[role].append(path)
    if not any(found.values()) or not plain or len(inside) == len(roles):
        for path in [path for path in inside if path not in roles]:
            below = tree.inside(path)
            if len(inside) == 1 or any(role_of(child) in (LABELED, TEST) for child in below):
                _add(found, find_roles(tree, classes, path))
    return found


def _is_class(tree: FolderTree, path: str, role: str, others: set[str], plain: list[str]) -> bool:
    """Tell a class that is called like a role: a leaf among other classes, without what its role would go with."""
    if path.rpartition("/")[2].lower() not in MAY_BE_CLASSES or tree.inside(path) or len(plain) < 2:
        return False
    return role in (LABELED, UNLABELED) and not others & {LABELED, TEST}


def _add(found: dict[str, list[str]], more: dict[str, list[str]]) -> None:
    """Add folders to those that were found, by role."""
    for role, paths in more.items():
        found[role] += paths


def images_in(names: Iterable[str], folders: Collection[str]) -> set[str]:
    """Return the images below any of the folders."""
    if "." in folders:
        return set(names)
    starts = tuple(f"{folder}/" for folder in folders)
    return {name for name in names if name.startswith(starts)} if starts else set()


def is_in(path: str, folders: Iterable[str]) -> bool:
    """Tell whether a path is one of the folders or below one."""
    return any(folder == "." or path == folder or path.startswith(f"{folder}/") for folder in folders)
