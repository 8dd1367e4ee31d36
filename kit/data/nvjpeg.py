"""Files decoded for a device: JPEGs on a GPU, by nvJPEG as torchvision offers it, all else on the CPU.

A GPU gets what it reads as the CPU does: JPEGs of greys or three colours that no EXIF turns. The first of them are
decoded both ways: where a pixel differs by more than `TOLERANCE`, or torchvision has no nvJPEG, the CPU decodes all.
Reads files; writes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.core.shapes import Texts
from kit.core.terminal import note
from kit.data.store import Geometry, decode_block

if TYPE_CHECKING:
    import torch

TOLERANCE = 1  # of 255: what a pixel may differ from the CPU's
N_CHECKED = 4  # images that are decoded both ways
DECODED_BYTES = 2**29  # of full-size images that lie in the GPU's memory at a time
JPEG_SIGNATURE = b"\xff\xd8\xff"
ORIENTATION = 0x0112  # the EXIF tag that turns an image
UPRIGHT = 1
YCBCR = 1  # of Adobe's transforms the usual one


class BlockDecoder:
    """Decode blocks of files to one geometry, for one device.

    Parameters
    ----------
    device
        Where the images are wanted: what a GPU has decoded stays there, all else is on the CPU.
    """

    def __init__(self, geometry: Geometry, device: str) -> None:
        self._geometry, self._device = geometry, device
        self._is_used: bool | None = None if has_decoder(device) else False  # None: to be checked

    def __call__(self, paths: Texts) -> torch.Tensor:
        """Return (n_paths, 3, height, width) uint8; OSError where a file is no image."""
        if self._is_used is False:
            return decode_block(paths, self._geometry)
        with ThreadPoolExecutor() as threads:
            data = list(threads.map(lambda path: Path(path).read_bytes(), paths))
            sizes = list(threads.map(measure_plain, data))
        plain = [place for place, size in enumerate(sizes) if size is not None]
        if self._is_used is None and plain:
            checked = plain[:N_CHECKED]
            self._is_used = self._agrees([data[place] for place in checked], paths[checked])
        if not self._is_used or not plain:
            return decode_block(paths, self._geometry)
        try:
            return self._join(paths, data, [(place, sizes[place] or 0) for place in plain])
        except RuntimeError:  # a file that nvJPEG refuses, or too little memory: the CPU says what it is
            return decode_block(paths, self._geometry)

    def _join(self, paths: Texts, data: Sequence[bytes], plain: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return images of which the GPU decodes some, by their places and bytes when decoded."""
        import torch

        shape = (len(paths), 3, self._geometry.height, self._geometry.width)
        block = torch.empty(shape, dtype=torch.uint8, device=self._device)
        others = np.setdiff1d(np.arange(len(paths)), [place for place, _ in plain])
        if len(others):
            block[torch.from_numpy(others)] = decode_block(paths[others], self._geometry).to(self._device)
        for places in _split(plain):
            block[places] = self._decode([data[place] for place in places])
        return block

    def _decode(self, data: Sequence[bytes]) -> torch.Tensor:
        """Return plain JPEGs as the GPU decodes them."""
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        files = [torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in data]
        images = decode_jpeg(files, mode=ImageReadMode.RGB, device=self._device)
        return torch.stack([self._geometry.apply(image) for image in images])

    def _agrees(self, data: Sequence[bytes], paths: Texts) -> bool:
        """Return whether the GPU decodes as the CPU does; say so where it does not."""
        try:
            pixels = self._decode(data).cpu()
        except RuntimeError as error:
            note(f"JPEGs are decoded on the CPU: torchvision cannot on this GPU ({str(error).splitlines()[0]})")
            return False
        difference = int((pixels.int() - decode_block(paths, self._geometry).int()).abs().max())
        if difference > TOLERANCE:
            note(f"JPEGs are decoded on the CPU: pixels of the GPU's decoder differ by up to {difference} of 255")
        return difference <= TOLERANCE


def has_decoder(device: str) -> bool:
    """Return whether a device of this kind may decode JPEGs."""
    return device.startswith("cuda")


def measure_plain(data: bytes) -> int | None:
    """Return the bytes that a file has when decoded, where it is a JPEG that a GPU reads as the CPU does; else None."""
    from PIL import Image

    if data[:3] != JPEG_SIGNATURE:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_plain = image.mode in ("L", "RGB") and image.info.get("adobe_transform", YCBCR) == YCBCR
            is_plain &= image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT
            return 3 * image.width * image.height if is_plain else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _split(plain: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield the places of images that lie in the GPU's memory together."""
    places: list[int] = []
    held = 0
    for place, n_bytes in plain:
        if places and held + n_bytes > DECODED_BYTES:
            yield places
            places, held = [], 0
        places.append(place)
        held += n_bytes
    if places:
        yield places
