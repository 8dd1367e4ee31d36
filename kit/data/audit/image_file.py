"""One image file: what its header holds, whether it can be decoded, and a small picture to recognise it by.

Reads the file; writes nothing. Whatever is wrong with a file becomes its `problem`, whatever is odd its `remark`.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.data.decoding import PNG_DEPTH, decode_image, grey_range, open_bytes, read_greys, render_greys

if TYPE_CHECKING:
    import torch
    from PIL import Image

SMALL_SIDE = 16  # pixels, side of the stored thumbnail
MISSING_STAMP = (0, -1)  # bytes and time of change of a file that is not there
SEPARATOR = "; "  # between remarks
GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow converts
EXIF_ORIENTATION = 0x0112


def measure_file(path: str | Path) -> dict[str, Any]:
    """Read one file and return what it is; no broken file is an error.

    Returns
    -------
    dict
        `path`, `n_bytes`, `mtime_ns`, `digest` (SHA-256 of the bytes), `format` and `mode` (Pillow's), `width` and
        `height` (pixels, EXIF rotation applied), `n_frames`, `lowest`, `highest` and `is_whole` (the values of greys of
        more than 8 bits, and whether they are whole numbers; NaN and False else), `mean` (of these, else of the
        picture, 0..255), `problem` (one sentence; None where the image can be
        used), `remark` (sentences, "; " between; None where there is none), `dhash` (64-bit difference hash) and
        `thumbnail` (16 x 16 RGB, 768 bytes). Numbers are 0 and texts None where a broken file has none.
    """
    n_bytes, mtime_ns = read_stamp(path)
    fact: dict[str, Any] = {"path": path, "n_bytes": n_bytes, "mtime_ns": mtime_ns, "digest": None}
    fact |= {"format": None, "mode": None, "width": 0, "height": 0, "n_frames": 0, "problem": None, "remark": None}
    fact |= {"lowest": math.nan, "highest": math.nan, "is_whole": False, "mean": math.nan}
    fact |= {"dhash": 0, "thumbnail": bytes(SMALL_SIDE * SMALL_SIDE * 3)}
    try:
        data = Path(path).read_bytes()
    except OSError as error:  # MISSING_STAMP as its stamp: a disk that failed once is asked again
        cause = f"cannot be read: {error.strerror}"
        return fact | {"n_bytes": MISSING_STAMP[0], "mtime_ns": MISSING_STAMP[1], "problem": cause}
    fact["digest"] = hashlib.sha256(data).hexdigest()
    if not data:
        return fact | {"problem": "empty: the file has zero bytes"}
    try:
        fact |= _read_header(data, path)
    except Exception as error:  # decoders raise anything on broken files, and one must not stop the rest
        return fact | {"problem": _name_problem(error, path)} | _decode_all_the_same(error, path)
    try:
        return fact | (_measure_greys(path) if _is_deep(fact["mode"]) else _measure_pixels(decode_image(path)))
    except Exception as error:
        return fact | {"problem": _name_problem(error, path), "remark": None}


def read_stamp(path: str | Path) -> tuple[int, int]:
    """Return (bytes, time of change in nanoseconds) of a file; MISSING_STAMP where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - making a Path takes as long as asking
    except OSError:
        return MISSING_STAMP
    return status.st_size, status.st_mtime_ns


def _read_header(data: bytes, path: str | Path) -> dict[str, Any]:
    """Return what a file's header holds, without decoding it; Pillow refuses more than 178 million pixels here."""
    with open_bytes(data, path) as image:
        kind = "JPEG" if image.format == "MPO" else image.format  # a JPEG with a second picture behind it
        fact = {"format": kind, "mode": image.mode, "width": image.width, "height": image.height}
        fact["n_frames"] = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        remarks = SEPARATOR.join(_list_remarks(image, fact, data, path))
    return fact | {"remark": remarks or None}


def _decode_all_the_same(error: Exception, path: str | Path) -> dict[str, Any]:
    """Return what the pixels are of a file whose header is odd, if they can be decoded; too large a one is not."""
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError):
        return {}
    with contextlib.suppress(Exception):  # then what is wrong with the header is the problem
        return _measure_pixels(decode_image(path)) | {"n_frames": 1, "problem": None, "remark": "odd header"}
    return {}


def _is_deep(mode: str) -> bool:
    """Tell the modes of greys of more than 8 bits."""
    return mode.startswith(("I", "F"))


def _measure_greys(path: str | Path) -> dict[str, Any]:
    """Return what `_measure_pixels` does of greys of more than 8 bits, by the image's own range, and their values."""
    import torch

    greys = read_greys(path)
    if greys is None:
        return _measure_pixels(decode_image(path))
    lowest, highest = float(greys.min()), float(greys.max())
    grey = render_greys(greys, *grey_range(lowest, highest, is_whole=False))
    values = {"lowest": lowest, "highest": highest, "is_whole": bool((greys == greys.round()).all())}
    return _measure_pixels(torch.from_numpy(grey).expand(3, -1, -1)) | values | {"mean": float(greys.mean())}


def _list_remarks(image: Image.Image, fact: dict[str, Any], data: bytes, path: str | Path) -> Iterator[str]:
    """Yield what is odd about a readable file."""
    from PIL import Image

    kind, mode = fact["format"], fact["mode"]
    suffix = Path(path).suffix.lower()
    named = Image.registered_extensions().get(suffix)
    if named is not None and named != kind and (kind, named) != ("JPEG", "MPO"):
        yield f"wrong extension: {kind} named {suffix}"
    if fact["n_frames"] > 1:
        yield "animated: first frame used"
    if mode == "CMYK":
        yield "CMYK"
    if mode.startswith(("I", "F")) or (kind == "PNG" and data[PNG_DEPTH] == 16):
        yield "16-bit or more: scaled to 8"
    if mode == "P" and kind != "GIF":
        yield "palette"
    if image.has_transparency_data:
        yield "alpha: laid on white"
    if image.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9):
        yield "EXIF rotation applied"


def _name_problem(error: Exception, path: str | Path) -> str:
    """Return in one sentence why a file cannot be used."""
    from PIL import Image

    text = " ".join(str(error).removeprefix(f"{path}: ").split())
    if isinstance(error, Image.UnidentifiedImageError):
        return "unreadable: not an image in any known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"decompression bomb: {text}"
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated: {text or 'the file ends too early'}"
    return f"unreadable: {text or type(error).__name__}"


def _measure_pixels(pixels: torch.Tensor) -> dict[str, Any]:
    """Return the size, the difference hash and the thumbnail of (3, height, width) pixels."""
    from torch.nn import functional

    twice = (2 * SMALL_SIDE, 2 * SMALL_SIDE)
    small = functional.interpolate(pixels[None], twice, mode="bilinear", antialias=True).float()
    thumbnail = functional.avg_pool2d(small, 2).round().byte()[0].permute(1, 2, 0)  # (SMALL_SIDE, SMALL_SIDE, 3)
    tiny = functional.interpolate(small, (8, 9), mode="bilinear", antialias=True)[0].numpy()  # (3, 8, 9)
    grey = np.tensordot(GREY_WEIGHTS, tiny, axes=1)  # (8, 9)
    bits = grey[:, 1:] > grey[:, :-1]
    return {
        "width": pixels.shape[2],
        "height": pixels.shape[1],
        "mean": float(thumbnail.float().mean()),
        "dhash": int.from_bytes(np.packbits(bits).tobytes(), "big"),
        "thumbnail": thumbnail.numpy().tobytes(),
    }
