"""Files decoded for a device: JPEGs on a GPU, by nvJPEG as torchvision offers it, all else on the CPU.

A GPU gets what it reads as the CPU does: JPEGs of greys or three colours that no EXIF turns. Of every block some of
each kind, which is how coarsely colours are stored, are decoded both ways at full size: where a pixel differs by more
than `TOLERANCE`, the CPU decodes that kind from there on. Where torchvision has no nvJPEG the CPU decodes all.
Features have another key where a GPU may decode, for its pixels may differ by a level. Reads files; writes nothing.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.core.shapes import Texts
from kit.core.terminal import note
from kit.data.decoding import decode_image
from kit.data.store import Geometry, decode_block

if TYPE_CHECKING:
    import torch
    from PIL import Image

TOLERANCE = 1  # of 255: what a pixel may differ from the CPU's
N_CHECKED = 4  # images of a kind and block that are decoded both ways
MOST_FAILURES = 3  # blocks that the GPU fails to decode before it gets no more
DECODED_BYTES = 2**29  # of full-size images that lie in the GPU's memory at a time
JPEG_SIGNATURE = b"\xff\xd8\xff"
ORIENTATION = 0x0112  # the EXIF tag that turns an image
UPRIGHT = 1
YCBCR = 1  # of Adobe's transforms the usual one
SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # by Pillow's numbers


@dataclass(frozen=True)
class PlainJpeg:
    """Hold the bytes that a JPEG has when decoded, and its kind: ``"grey"`` or one of `SAMPLINGS`."""

    n_bytes: int
    kind: str


class BlockDecoder:
    """Decode blocks of files to one geometry, for one device.

    Parameters
    ----------
    device
        Where the images are wanted: what a GPU has decoded stays there, all else is on the CPU.
    """

    def __init__(self, geometry: Geometry, device: str) -> None:
        self._geometry, self._device = geometry, device
        self._is_used, self._n_failures = has_decoder(device), 0
        self._refused: set[str] = set()  # kinds that the GPU decodes otherwise

    def __call__(self, paths: Texts) -> torch.Tensor:
        """Return (n_paths, 3, height, width) uint8; OSError where a file is no image."""
        if not self._is_used:
            return decode_block(paths, self._geometry)
        with ThreadPoolExecutor() as threads:
            data = list(threads.map(lambda path: Path(path).read_bytes(), paths))
            looks = list(threads.map(look_plain, data))
        plain = {place: look for place, look in enumerate(looks) if look and look.kind not in self._refused}
        try:
            for kind in sorted({look.kind for look in plain.values()}):
                self._check(kind, [place for place, look in plain.items() if look.kind == kind], data, paths)
            chosen = [(place, look.n_bytes) for place, look in plain.items() if look.kind not in self._refused]
            return self._join(paths, data, chosen) if chosen else decode_block(paths, self._geometry)
        except RuntimeError as error:  # a file that nvJPEG refuses, or too little memory: the CPU says what it is
            self._fail(error)
            return decode_block(paths, self._geometry)

    def _check(self, kind: str, places: Sequence[int], data: Sequence[bytes], paths: Texts) -> None:
        """Compare some images of a kind at full size; refuse the kind where the GPU decodes otherwise."""
        for place in places[:: -(-len(places) // N_CHECKED)]:
            (theirs,) = self._decode([data[place]])
            difference = int((theirs.cpu().int() - decode_image(paths[place]).int()).abs().max())
            if difference > TOLERANCE:
                self._refused.add(kind)
                note(
                    f"JPEGs of kind {kind} are decoded on the CPU: pixels of the GPU's decoder differ by up to "
                    f"{difference} of 255 in {paths[place]}"
                )
                return

    def _fail(self, error: RuntimeError) -> None:
        """Count a block that the GPU failed to decode; say so once, and give up after a few."""
        self._n_failures += 1
        self._is_used = self._n_failures < MOST_FAILURES
        if self._n_failures == 1:
            note(f"a block of JPEGs is decoded on the CPU: the GPU cannot ({_first_line(error)})")
        elif not self._is_used:
            note(f"JPEGs are decoded on the CPU from here on: the GPU failed {MOST_FAILURES} times")

    def _join(self, paths: Texts, data: Sequence[bytes], plain: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return images of which the GPU decodes some, by their places and bytes when decoded."""
        import torch

        shape = (len(paths), 3, self._geometry.height, self._geometry.width)
        block = torch.empty(shape, dtype=torch.uint8, device=self._device)
        others = np.setdiff1d(np.arange(len(paths)), [place for place, _ in plain])
        if len(others):
            block[torch.from_numpy(others)] = decode_block(paths[others], self._geometry).to(self._device)
        for places in _split(plain):
            images = self._decode([data[place] for place in places])
            block[places] = torch.stack([self._geometry.apply(image) for image in images])
        return block

    def _decode(self, data: Sequence[bytes]) -> list[torch.Tensor]:
        """Return plain JPEGs as the GPU decodes them, (3, h, w) each."""
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        files = [torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in data]
        return list(decode_jpeg(files, mode=ImageReadMode.RGB, device=self._device))


@functools.cache
def has_decoder(device: str) -> bool:
    """Return whether a device decodes JPEGs: a GPU of NVIDIA by a torchvision with nvJPEG; say so where it has none."""
    if not device.startswith("cuda"):
        return False
    import torch
    from torchvision.io import decode_jpeg, encode_jpeg

    try:
        decode_jpeg(encode_jpeg(torch.zeros((3, 16, 16), dtype=torch.uint8)), device=device)
    except RuntimeError as error:
        note(f"JPEGs are decoded on the CPU: torchvision cannot on this GPU ({_first_line(error)})")
        return False
    return True


def look_plain(data: bytes) -> PlainJpeg | None:
    """Return what a file is, where it is a JPEG that a GPU may read as the CPU does; else None."""
    from PIL import Image

    if data[:3] != JPEG_SIGNATURE:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_plain = image.info.get("adobe_transform", YCBCR) == YCBCR
            is_plain &= image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT
            kind = _kind_of(image)
            return PlainJpeg(3 * image.width * image.height, kind) if is_plain and kind else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _kind_of(image: Image.Image) -> str | None:
    """Return how coarsely a JPEG stores its colours; None where it does so in no usual way."""
    from PIL.JpegImagePlugin import get_sampling

    if image.mode == "L":
        return "grey"
    return SAMPLINGS.get(get_sampling(image)) if image.mode == "RGB" else None


def _first_line(error: RuntimeError) -> str:
    """Return what an error says first."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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
