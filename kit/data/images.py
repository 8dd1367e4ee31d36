"""What a model may see: the pool of readable images, and selections of it with the labels it may know.

`Pool` holds no labels at all; `Images` is a selection with the labels of the training folds and nothing else, so a
model cannot reach a label it was not given. Nor does it reach a name: it holds positions in a `Gallery`, which knows
no id, no path and no file. What reads files for a model asks `pool_behind` for the pool behind.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from kit.core.files import key_of
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Groups, Ids, Labels, Mask, Rows, Texts, Vectors, Weights
from kit.scoring.hierarchy import Hierarchy

SPLITS = ("labeled", "unlabeled", "test")
UNKNOWN = -1  # the code of a label that is not known, as in scikit-learn's semi_supervised


@dataclass(frozen=True, eq=False)
class Gallery:
    """Hold what a model may know of all images, by their positions in the pool.

    Parameters
    ----------
    splits
        Of each image one of `SPLITS`.
    groups
        Of each image the number of its group; equal numbers must not straddle folds.
    classes
        Class names in the order of all probabilities.
    task
        ``"multiclass"`` or ``"multilabel"``: the shape of labels.
    hierarchy
        Of the classes; None where competition.toml names none.
    key
        The key of all images and embeddings.
    """

    splits: Texts
    groups: Groups
    classes: tuple[str, ...]
    task: str
    hierarchy: Hierarchy | None
    key: str

    def __len__(self) -> int:
        return len(self.splits)

    def __deepcopy__(self, memo: object) -> Gallery:
        return self  # a copy would have no pool behind it

    @property
    def is_multilabel(self) -> bool:
        """Return whether an image may have several labels."""
        return self.task == MULTILABEL

    def select(self, rows: Rows, labels: Labels | None = None) -> Images:
        """Return the images at `rows` with their labels; without `labels` none is known."""
        rows = np.asarray(rows, dtype=np.int64)
        shape, kind = ((len(rows), len(self.classes)), np.int8) if self.is_multilabel else (len(rows), np.int64)
        labels = np.full(shape, UNKNOWN, dtype=kind) if labels is None else np.asarray(labels, dtype=kind)
        return Images(self, rows, labels, np.ones(len(rows), dtype=np.float32), np.zeros(len(rows), dtype=bool))


_BEHIND: WeakKeyDictionary[Gallery, Pool] = WeakKeyDictionary()  # the pool of every gallery that is alive


def pool_behind(images: Pool | Gallery | Images) -> Pool:
    """Return the pool behind a gallery or a selection, with its names and files; no model may call this."""
    if isinstance(images, Images):
        images = images.pool
    return images if isinstance(images, Pool) else _BEHIND[images]


def ids_of(images: Images) -> Ids:
    """Return the ids of a selection."""
    return pool_behind(images).ids[images.rows]


def names_of(images: Images) -> Texts:
    """Return ``split/id`` of each image of a selection: ids alone may repeat in another split."""
    return name_images(images.pool.splits[images.rows], ids_of(images))


@dataclass(frozen=True)
class Pool:
    """Hold every readable image of a competition, with its name and file.

    Parameters
    ----------
    splits, digests
        Of each image one of `SPLITS`, and the SHA-256 of its file.
    classes
        Class names in the order of all probabilities.
    cache
        Folder for decoded images and features.
    prompts
        Folder of the prompt lists.
    lookup
        Folders in which a relative path to weights is looked up.
    embeddings
        Float32 features that the organisers gave; None where they gave none.
    task
        ``"multiclass"`` or ``"multilabel"``: the shape of labels.
    hierarchy
        Of the classes; None where competition.toml names none.
    key
        The key of all images and embeddings.
    """

    ids: Ids
    splits: Texts
    paths: Texts
    digests: Texts
    groups: Groups
    classes: tuple[str, ...]
    cache: Path
    prompts: Path
    lookup: tuple[Path, ...] = ()
    embeddings: Vectors | None = None
    task: str = MULTICLASS
    hierarchy: Hierarchy | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        given = None if self.embeddings is None else hashlib.sha256(self.embeddings.tobytes()).hexdigest()
        object.__setattr__(self, "key", key_of(list(self.splits), list(self.ids), list(self.digests), given))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_multilabel(self) -> bool:
        """Return whether an image may have several labels."""
        return self.task == MULTILABEL

    def take(self, rows: Rows) -> Pool:
        """Return a pool of the images at `rows` alone."""
        return replace(
            self,
            ids=self.ids[rows],
            splits=self.splits[rows],
            paths=self.paths[rows],
            digests=self.digests[rows],
            groups=self.groups[rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
        )

    @cached_property
    def _numbered(self) -> Groups:
        """Return the groups as numbers: their names may be those of files or patients."""
        return np.unique(self.groups, return_inverse=True)[1]

    @property
    def gallery(self) -> Gallery:
        """Return what a model may know of the pool."""
        gallery = Gallery(self.splits, self._numbered, self.classes, self.task, self.hierarchy, self.key)
        _BEHIND[gallery] = self
        return gallery

    def select(self, rows: Rows, labels: Labels | None = None) -> Images:
        """Return the images at `rows` with their labels, as a model sees them; without `labels` none is known."""
        return self.gallery.select(rows, labels)


@dataclass(frozen=True)
class Images:
    """Hold a selection of the pool, as one model sees it: positions, never names.

    Parameters
    ----------
    labels
        -1 where this model must not know the label; with several labels per image in the whole row.
    weights
        Training weights, above 0; 1 for a real label.
    is_pseudo
        Whether the label was predicted by a model; such an image proves nothing and must not validate.
    """

    pool: Gallery
    rows: Rows
    labels: Labels
    weights: Weights
    is_pseudo: Mask

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def groups(self) -> Groups:
        """Return the numbers of the groups."""
        return self.pool.groups[self.rows]

    @property
    def is_known(self) -> Mask:
        """Return which images have a label that this model may know."""
        return (self.labels[:, 0] if self.labels.ndim == 2 else self.labels) != UNKNOWN

    @property
    def is_multilabel(self) -> bool:
        """Return whether an image may have several labels."""
        return self.pool.is_multilabel

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names."""
        return self.pool.classes

    @property
    def n_classes(self) -> int:
        """Return the number of classes."""
        return len(self.pool.classes)

    def take(self, positions: Rows | Mask) -> Images:
        """Return the images at `positions` of this selection."""
        return Images(
            self.pool,
            self.rows[positions],
            self.labels[positions],
            self.weights[positions],
            self.is_pseudo[positions],
        )

    def join(self, other: Images) -> Images:
        """Return these images followed by `other`."""
        return Images(
            self.pool,
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.is_pseudo, other.is_pseudo]),
        )


def name_images(splits: Texts | str, ids: Ids) -> Texts:
    """Return ``split/id`` of each image; one split stands for all."""
    splits = np.broadcast_to(np.asarray(splits, dtype=object), len(ids))
    return np.array([f"{split}/{image_id}" for split, image_id in zip(splits, ids, strict=True)], dtype=object)
