"""What a model may see: the pool of readable images, and selections of it with the labels it may know.

`Pool` holds no labels at all; `Images` is a selection with the labels of the training folds and nothing else, so a
model cannot reach a label it was not given.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.core.files import key_of
from kit.core.names import MULTICLASS, MULTILABEL
from kit.scoring.hierarchy import Hierarchy

if TYPE_CHECKING:
    import torch
    from PIL import Image

UNKNOWN = -1  # the code of a label that is not known, as in scikit-learn's semi_supervised
MIN_BYTES = 32  # nothing shorter is an image
PNG_SIGNATURE = b"\x89PNG"
WEBP_SIGNATURE = b"WEBP"  # after RIFF and the size
PNG_DEPTH, PNG_COLOUR_TYPE, PNG_PALETTE = 24, 25, 3  # byte offsets in the header; the palette's colour type


@dataclass(frozen=True)
class Pool:
    """Hold every readable image of a competition: what models may know of it.

    Parameters
    ----------
    ids, splits, paths, digests
        (n_images,) text: id, one of labeled / unlabeled / test, file, SHA-256 of the file.
    groups
        (n_images,) whole numbers; images of one group never straddle folds.
    classes
        Class names in the order of all probabilities.
    cache
        Folder for decoded images and features.
    prompts
        Folder of the prompt lists.
    lookup
        Folders in which a relative path to weights is looked up.
    embeddings
        (n_images, n_dims) float32 features given by the organisers, or None.
    task
        ``"multiclass"`` or ``"multilabel"``: the shape of labels.
    hierarchy
        Of the classes, or None.
    """

    ids: np.ndarray
    splits: np.ndarray
    paths: np.ndarray
    digests: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    cache: Path
    prompts: Path
    lookup: tuple[Path, ...] = ()
    embeddings: np.ndarray | None = None
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

    def select(self, rows: np.ndarray, labels: np.ndarray | None = None) -> Images:
        """Return the images at `rows`, with `labels` (class codes, or 0 and 1 per class), or none known."""
        rows = np.asarray(rows, dtype=np.int64)
        shape, kind = ((len(rows), len(self.classes)), np.int8) if self.is_multilabel else (len(rows), np.int64)
        labels = np.full(shape, UNKNOWN, dtype=kind) if labels is None else np.asarray(labels, dtype=kind)
        return Images(self, rows, labels, np.ones(len(rows), dtype=np.float32), np.zeros(len(rows), dtype=bool))


@dataclass(frozen=True)
class Images:
    """Hold a selection of the pool, as one model sees it.

    Parameters
    ----------
    pool
        All images.
    rows
        (n_images,) positions in the pool.
    labels
        (n_images,) class codes; -1 where this model must not know it. With several labels per image (n_images,
        n_classes) of 0 and 1; -1 in the whole row where it must not know them.
    weights
        (n_images,) training weight, above 0; 1 for a real label.
    is_pseudo
        (n_images,) whether the label is a model's opinion; such an image proves nothing and must not validate.
    """

    pool: Pool
    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    is_pseudo: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> np.ndarray:
        """Return the ids (n_images,)."""
        return self.pool.ids[self.rows]

    @property
    def names(self) -> np.ndarray:
        """Return ``split/id`` (n_images,): ids alone may repeat in another split."""
        return name_images(self.pool.splits[self.rows], self.ids)

    @property
    def paths(self) -> np.ndarray:
        """Return the files (n_images,)."""
        return self.pool.paths[self.rows]

    @property
    def groups(self) -> np.ndarray:
        """Return the groups (n_images,)."""
        return self.pool.groups[self.rows]

    @property
    def is_known(self) -> np.ndarray:
        """Return which images have a label that this model may know, (n_images,) bool."""
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

    def take(self, positions: np.ndarray) -> Images:
        """Return the images at `positions` of this selection."""
        return replace(self, **{name: getattr(self, name)[positions] for name in SELECTED})

    def join(self, other: Images) -> Images:
        """Return these images followed by `other`."""
        both = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in SELECTED}
        return replace(self, **both)


SELECTED = ("rows", "labels", "weights", "is_pseudo")  # the arrays of a selection


def name_images(splits: np.ndarray | str, ids: np.ndarray) -> np.ndarray:
    """Return ``split/id``, (n_images,) text."""
    splits = np.broadcast_to(np.asarray(splits, dtype=object), len(ids))
    return np.array([f"{split}/{image_id}" for split, image_id in zip(splits, ids, strict=True)], dtype=object)


def decode_image(path: str | Path) -> torch.Tensor:
    """Return an image as RGB, EXIF rotation applied.

    Files are recognised by their content, never by their name. torchvision decodes JPEG, PNG, WebP and GIF; what it
    cannot (CMYK, BMP, TIFF, ...) Pillow does, with transparency laid on white.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    torch.Tensor
        (3, height, width) uint8.

    Raises
    ------
    OSError
        When the file is no image or is truncated.
    """
    pixels = _decode_with_torchvision(path)
    return _decode_with_pillow(path) if pixels is None else pixels


def _decode_with_torchvision(path: str | Path) -> torch.Tensor | None:
    """Decode the usual files fast; None for what torchvision refuses or reads wrongly."""
    import torch
    from torchvision.io import ImageReadMode, decode_image, read_file

    try:
        data = read_file(str(path))
        if len(data) < MIN_BYTES or _is_read_wrongly(data.numpy()):
            return None
        pixels = decode_image(data, mode=ImageReadMode.RGB_ALPHA, apply_exif_orientation=True)
    except RuntimeError:
        return None
    if pixels.ndim != 3 or pixels.dtype != torch.uint8 or pixels.shape[0] != 4:
        return None
    return _lay_on_white(pixels)


def _is_read_wrongly(data: np.ndarray) -> bool:
    """Tell the files that torchvision reads otherwise than they are meant: PNG palettes and depths, EXIF in WebP."""
    if data[:4].tobytes() == PNG_SIGNATURE:
        return bool(data[PNG_DEPTH] != 8 or data[PNG_COLOUR_TYPE] == PNG_PALETTE)
    return data[8:12].tobytes() == WEBP_SIGNATURE and b"EXIF" in data.tobytes()


def _lay_on_white(pixels: torch.Tensor) -> torch.Tensor:
    """Blend (4, h, w) over white; fully opaque images pass unchanged."""
    import torch

    rgb, alpha = pixels[:3], pixels[3:]
    if bool((alpha == 255).all()):
        return rgb
    share = alpha.to(torch.float32) / 255
    return (rgb * share + 255 * (1 - share)).round().to(torch.uint8)


def _decode_with_pillow(path: str | Path) -> torch.Tensor:
    """Decode odd formats."""
    import torch

    return torch.from_numpy(np.array(open_image(path))).permute(2, 0, 1).contiguous()


def open_image(path: str | Path) -> Image.Image:
    """Return an image as Pillow's RGB, EXIF rotation applied, to be looked at: models see `decode_image`.

    Transparency is laid on white; 16-bit greys are scaled to 8 bits instead of clipped. Needs no torch.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OSError
        When the file is no image or is truncated.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.seek(0)
            if image.mode.startswith(("I", "F")):
                grey = np.asarray(image, dtype=np.float64)
                span = 65535.0 if grey.max() > 255 else 255.0
                image = Image.fromarray((np.clip(grey / span, 0, 1) * 255).round().astype(np.uint8))
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            return image.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError) as error:
        raise OSError(f"{path}: not a readable image ({error})") from error
