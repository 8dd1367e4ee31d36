"""Decode once: one uint8 memory map per geometry, read by training batch by batch.

Writes ``runs/NAME/cache/store/<key>.npy`` (n_images, 3, height, width), keyed by the pool's content and the geometry;
several files where one would be large (`kit.core.shards`), beside it the ranges that other processes decode. A killed
decode goes on at the next block. Encoders use the same `Geometry` on the original, once, and keep features.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kit.core.arrays import fill_array
from kit.core.deadline import check_deadline
from kit.core.files import key_of, write_atomic
from kit.core.shapes import Pixels, Rows
from kit.core.shards import fill_shards, list_ranges, list_shards, range_at, remove_ranges, take_rows
from kit.core.terminal import Progress, stage
from kit.data.decoding import decode_image
from kit.data.images import Gallery, Images, Pool, pool_behind

if TYPE_CHECKING:
    import torch

ROWS_AT_ONCE = 8192  # read of a memory map
BLOCK = 256  # images decoded, and shuffled, together: cold random reads are about 31 times slower than hot ones


@dataclass(frozen=True)
class Geometry:
    """Say how an image of any size becomes a fixed rectangle, as the encoder's makers did it.

    Parameters
    ----------
    height, width
        Pixels.
    resize
        ``"shortest"`` side to the size and crop the middle; ``"longest"`` and pad; ``"squash"``.
    interpolation
        ``"bicubic"``, ``"bilinear"`` or ``"nearest"``; always antialiased.
    crop_share
        Share of the resized side that the middle crop keeps, above 0, at most 1.
    fill
        Grey value of the padding, 0..255.
    """

    height: int
    width: int
    resize: str = "shortest"
    interpolation: str = "bicubic"
    crop_share: float = 1.0
    fill: int = 0

    @property
    def key(self) -> str:
        """Return the key of everything this geometry decides."""
        return key_of(asdict(self))

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resize and crop one image: (3, h, w) uint8 -> (3, height, width) uint8."""
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as transforms

        resized = transforms.resize(
            pixels, self._resized_shape(*pixels.shape[1:]), InterpolationMode(self.interpolation), antialias=True
        )
        if self.resize == "longest":
            return _pad_middle(resized, self.height, self.width, self.fill)
        return transforms.center_crop(resized, [self.height, self.width])

    def _resized_shape(self, height: int, width: int) -> list[int]:
        """Return height and width after resizing, before cropping or padding."""
        target = (math.floor(self.height / self.crop_share), math.floor(self.width / self.crop_share))
        if self.resize == "squash":
            return list(target)
        tall = target[0] * width >= target[1] * height  # the height needs the larger magnification
        if tall == (self.resize == "shortest"):
            return [target[0], max(1, int(target[0] * width / height))]
        return [max(1, int(target[1] * height / width)), target[1]]


def read_store(pool: Pool | Gallery, geometry: Geometry) -> Pixels:
    """Return the decoded images of the whole pool, memory-mapped, decoding those that are not there yet.

    They are (n_pool, 3, height, width). TimeIsUp where the time limit is reached between blocks; a later call goes on
    at the next.
    """
    pool = pool_behind(pool)
    path, shape = _locate(pool, geometry), (len(pool), 3, geometry.height, geometry.width)
    ranges = list_ranges(path)
    with Progress("store", len(pool)) as progress:

        def fill(rows: Pixels, start: int, stop: int) -> None:
            progress.resume_at(start)
            ready = take_rows(ranges, start, stop, shape, "uint8")
            rows[:] = decode_block(pool.paths[start:stop], geometry).numpy() if ready is None else ready
            progress.advance(stop - start)

        pixels = fill_shards(path, shape, "uint8", fill, BLOCK, check_deadline)
    if progress.n_made:
        stage("store", progress.summary(f"images decoded to {geometry.height} x {geometry.width} pixels"))
    if ranges:
        remove_ranges(path)
    return pixels


def has_store(pool: Pool, geometry: Geometry) -> bool:
    """Return whether the decoded images of the whole pool are there."""
    return bool(list_shards(_locate(pool, geometry)))


def decode_range(pool: Pool, start: int, stop: int, geometry: Geometry) -> None:
    """Decode the images `start` to `stop` of a pool into a file of their own, from which `read_store` takes them.

    Any process on any machine that sees the cache may call it, several at once of different ranges. What comes out is
    the same as decoded in one go where ranges begin at multiples of `BLOCK`, and end there or with the pool.
    """
    if has_store(pool, geometry):
        return

    def fill(rows: Pixels, first: int, last: int) -> None:
        rows[:] = decode_block(pool.paths[start + first : start + last], geometry).numpy()
        progress.advance(last - first)

    shape = (stop - start, 3, geometry.height, geometry.width)
    with Progress("store", stop - start) as progress:
        fill_array(store_range(pool, start, stop, geometry), shape, "uint8", fill, BLOCK, check_deadline)


def store_range(pool: Pool, start: int, stop: int, geometry: Geometry) -> Path:
    """Return where `decode_range` leaves a range."""
    return range_at(_locate(pool, geometry), start, stop)


def keep_pixels(pool: Pool, geometry: Geometry, pixels: Pixels) -> None:
    """Keep images that were decoded elsewhere, (n_pool, 3, height, width), as those of a pool."""
    with write_atomic(_locate(pool, geometry)) as file:
        np.save(file, pixels)


def _locate(pool: Pool, geometry: Geometry) -> Path:
    """Return where a pool's decoded images lie, or will."""
    return pool.cache / "store" / f"{pool.key}-{geometry.key}.npy"


def read_rows(stored: NDArray[Any], rows: Rows, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return (n_rows, ...) of a memory-mapped array in the order of `rows`, read in the order of the disk.

    Of another `dtype` where one is given; beside the result only a few rows lie in memory.
    """
    order = np.argsort(rows, kind="stable")
    values = np.empty((len(rows), *stored.shape[1:]), dtype=stored.dtype if dtype is None else dtype)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = order[start : start + ROWS_AT_ONCE]
        values[part] = stored[rows[part]]
    return values


def read_pixels(images: Images, geometry: Geometry) -> Pixels:
    """Return the decoded images of a selection, (n_images, 3, height, width), in memory."""
    return read_rows(read_store(images.pool, geometry), images.rows)


def decode_block(paths: Iterable[str], geometry: Geometry) -> torch.Tensor:
    """Decode files side by side; (n_paths, 3, height, width) uint8."""
    import torch

    with ThreadPoolExecutor(max(os.cpu_count() or 1, 1)) as threads:
        return torch.stack(list(threads.map(lambda path: geometry.apply(decode_image(path)), paths)))


def _pad_middle(pixels: torch.Tensor, height: int, width: int, fill: int) -> torch.Tensor:
    """Pad (3, h, w) on all sides to the size."""
    from torchvision.transforms.v2 import functional as transforms

    top, left = (height - pixels.shape[1]) // 2, (width - pixels.shape[2]) // 2
    padding = [left, top, width - pixels.shape[2] - left, height - pixels.shape[1] - top]
    return transforms.pad(pixels, padding, fill=fill)
