"""New images to predict: a folder, files, pictures or arrays become a table of files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pandas as pd

from kit.core.errors import InputError
from kit.data.table.naming import name_images
from kit.data.table.scan import IMAGE_SUFFIXES, is_image, scan_files


@contextmanager
def fresh_table(images: Any) -> Iterator[pd.DataFrame]:
    """Give the table, id and path, of new images; pictures that are no files lie in a temporary folder meanwhile.

    InputError where there is no image, or something is neither a file nor a picture.
    """
    if isinstance(images, str | Path) and Path(images).expanduser().is_dir():
        yield _table_of_folder(Path(images).expanduser().resolve())
        return
    several: list[Any] = list(images) if _is_several(images) else [images]
    if not several:
        raise InputError("no images to predict; give a folder, or some files or pictures")
    with tempfile.TemporaryDirectory(prefix="images-") as scratch:
        paths = [_as_file(image, Path(scratch) / f"{number}.png") for number, image in enumerate(several)]
        yield _table_of(paths)


def _is_several(images: Any) -> TypeGuard[Iterable[Any]]:
    """Tell several images from one: of an array, by its dimensions."""
    if isinstance(images, np.ndarray) and images.dtype != object:
        return images.ndim == 4
    return isinstance(images, Sequence | np.ndarray | pd.Series | pd.Index) and not isinstance(images, str)


def _as_file(image: Any, place: Path) -> Path:
    """Return an image's file; a picture is written to `place`."""
    from PIL import Image

    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        if not path.is_file():
            raise InputError(f"{path}: no such image; give a folder, or some files or pictures")
        return path.resolve()
    if isinstance(image, np.ndarray):
        is_picture = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if image.dtype != np.uint8 or not is_picture or not image.size:
            shape = f"{image.dtype} of shape {image.shape}"
            raise InputError(
                f"an array of an image holds 0..255 as uint8, (height, width, 3) or (height, width): {shape}"
            )
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise InputError(f"{type(image).__name__} is no image; give a folder, or some files, PIL images or arrays")
    image.convert("RGB").save(place)
    return place


def _table_of_folder(folder: Path) -> pd.DataFrame:
    """Return the images below a folder."""
    names = sorted(filter(is_image, scan_files(folder)))
    if not names:
        raise InputError(f"{folder}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return pd.DataFrame({"id": name_images(names, folder), "path": [f"{folder}/{name}" for name in names]})


def _table_of(paths: list[Path]) -> pd.DataFrame:
    """Return files in their order, each with an id; one that is named twice is refused."""
    names = [path.as_posix() for path in paths]
    return pd.DataFrame({"id": name_images(names, paths[0].parent), "path": names})
