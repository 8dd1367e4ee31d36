"""Thumbnails: images small enough that a page can hold many."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from kit.core.terminal import warn
from kit.data.decoding import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 96  # pixels
QUALITY = 72  # of JPEG, 0..95
LARGEST = 900  # pixels, the longer side of a picture that a command has written


def embed_thumbnail(path: str) -> str | None:
    """Return an image, fitted into a square on grey, as a data URI; None where it cannot be read any more."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    try:
        image = open_image(path)
    except OSError as error:
        warn(f"report: a thumbnail is left out: {error}")
        return None
    smooth = Resampling.NEAREST if max(image.size) < SIDE // 2 else Resampling.LANCZOS
    return _embed(ImageOps.pad(image, (SIDE, SIDE), method=smooth, color=(128, 128, 128)))


def embed_picture(path: str) -> str | None:
    """Return a picture that a command has written, shrunk where it is very large, as a data URI; None if damaged."""
    from PIL.Image import open as open_file

    try:
        with open_file(path) as image:
            image.thumbnail((LARGEST, 4 * LARGEST))
            return _embed(image.convert("RGB"))
    except OSError as error:
        warn(f"report: a picture is left out: {path}: {error}")
        return None


def _embed(image: Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
