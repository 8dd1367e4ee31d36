"""Decoding: a file of any format becomes RGB of 8 bits, the same for models and for people.

Reads files; writes nothing. Files are recognised by their content, never by their name. torchvision decodes JPEG, PNG,
WebP and GIF; what it cannot, or would read otherwise than it is meant, Pillow does; DICOM files pydicom. Greys of more
than 8 bits need a range: `kit.data.greys` has one for a whole set.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from PIL import Image

EIGHT_BITS, SIXTEEN_BITS = 255.0, 65535.0
MIN_BYTES = 32  # nothing shorter is an image
PNG_SIGNATURE = b"\x89PNG"
PNG_CHUNKS = 8  # the byte at which the first chunk begins: length, name, content, checksum
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # chunks beside the pixels, which Pillow refuses where they are long
WEBP_SIGNATURE = b"WEBP"  # after RIFF and the size
PNG_DEPTH, PNG_COLOUR_TYPE, PNG_PALETTE = 24, 25, 3  # byte offsets in the header; the palette's colour type
DICOM_SIGNATURE, DICOM_OFFSET = b"DICM", 128
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

Greys = NDArray[np.float64]  # (height, width), of any range


def grey_range(low: float, high: float, is_whole: bool) -> tuple[float, float]:
    """Return the values that black and white have in a set of greys, by its lowest and highest value.

    Decimal numbers up to 1 are shares of white, numbers up to 255 are greys of 8 bits; else the highest is white. Black
    is 0, or the lowest of values that go below.
    """
    white = 1.0 if high <= 1 and not is_whole else EIGHT_BITS if high <= EIGHT_BITS else high
    return min(0.0, low), white


def render_greys(greys: Greys, black: float, white: float) -> NDArray[np.uint8]:
    """Return greys as (height, width) of 8 bits; what is beyond black and white is cut off."""
    return (np.clip((greys - black) / (white - black), 0, 1) * EIGHT_BITS).round().astype(np.uint8)


def decode_image(path: str | Path) -> torch.Tensor:
    """Return an image as RGB, EXIF rotation applied and transparency laid on white.

    Return (3, height, width) uint8; OSError where the file is no image or is truncated.
    """
    pixels = _decode_with_torchvision(path)
    return _decode_with_pillow(path) if pixels is None else pixels


def open_image(path: str | Path) -> Image.Image:
    """Return an image as Pillow's RGB, for people to look at; the same pixels as `decode_image`.

    Greys of more than 8 bits are scaled to 8, those of whole numbers from 16 bits, as no other image of the set is
    known here. Needs no torch. OSError where the file is no image or is truncated.
    """
    from PIL import Image, ImageOps

    with _opened(path) as image:
        greys = _as_greys(image)
        if greys is not None:
            is_whole = not image.mode.startswith("F")
            black, white = grey_range(float(greys.min()), float(greys.max()), is_whole)
            if is_whole and white > EIGHT_BITS:
                white = max(SIXTEEN_BITS, white)
            grey = Image.fromarray(render_greys(greys, black, white))
            grey.getexif().update(image.getexif())
            image = grey
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            white_paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white_paper, image.convert("RGBA"))
        return image.convert("RGB")


def read_small_grey(path: str | Path, side: int) -> NDArray[np.uint8]:
    """Return an image as (side, side) greys, squashed; a large JPEG is decoded no larger than that needs.

    OSError where the file is no image or is truncated.
    """
    from PIL import Image, ImageOps

    with _opened(path) as image:
        if image.format == "JPEG" and image.mode in ("L", "RGB"):
            image.draft("L", (2 * side, 2 * side))  # at a half, a quarter or an eighth of its size, not below these
            small = ImageOps.exif_transpose(image).convert("L")
        else:
            small = Image.fromarray(decode_image(path).permute(1, 2, 0).numpy()).convert("L")
        return np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))


def read_greys(path: str | Path) -> Greys | None:
    """Return the values of a grey image of more than 8 bits, (height, width), and None of any other image.

    EXIF rotation is applied; values that are no number are the image's lowest. OSError where the file is no image or is
    truncated.
    """
    from PIL import Image, ImageOps

    with _opened(path) as image:
        greys = _as_greys(image)
        if greys is None:
            return None
        turned = Image.fromarray(greys.astype(np.float32))
        turned.getexif().update(image.getexif())
        return np.asarray(ImageOps.exif_transpose(turned), dtype=np.float64)


def open_bytes(data: bytes, path: str | Path) -> Image.Image:
    """Open the bytes of an image with Pillow, whatever the format; its header is read, its pixels are not.

    PNG's texts and colour profiles are passed over. OSError, or what Pillow raises, where they are no image, are of one
    that is too large (DecompressionBombError), or a library is missing.
    """
    from PIL import Image

    if data[DICOM_OFFSET : DICOM_OFFSET + 4] == DICOM_SIGNATURE:
        return _open_dicom(data, path)
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        _register_heif(path)
    if data[:4] == PNG_SIGNATURE:
        data = b"".join([data[:PNG_CHUNKS], *(chunk for name, chunk in _chunks(data) if name not in PNG_TEXTS)])
    return Image.open(io.BytesIO(data))


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Open the first frame of an image with Pillow; whatever a decoder raises on a bad file becomes an OSError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with open_bytes(Path(path).read_bytes(), path) as image:
            image.seek(0)
            yield image
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError) as error:
        raise OSError(f"{path}: not a readable image ({error})") from error


def _as_greys(image: Image.Image) -> Greys | None:
    """Return the values of greys of more than 8 bits; None of other images."""
    if not image.mode.startswith(("I", "F")):
        return None
    greys = np.asarray(image, dtype=np.float64)
    known = np.isfinite(greys)
    if not known.any():
        raise ValueError("none of its values is a number")
    return greys if known.all() else np.where(known, greys, greys[known].min())


def _open_dicom(data: bytes, path: str | Path) -> Image.Image:
    """Return the picture of a DICOM file: colours as they are, greys as its scale says, white where it is meant.

    Where it has a window, the first of several, black and white are its ends, as where a radiologist looks at it.
    """
    from PIL import Image

    try:
        import pydicom
        from pydicom.pixels.processing import apply_modality_lut
        from pydicom.pixels.utils import pixel_array
    except ImportError as error:
        raise OSError(f"{path}: a DICOM file is read by pydicom; pip install pydicom") from error
    try:
        file = pydicom.dcmread(io.BytesIO(data))
        values = pixel_array(file, index=0 if int(file.get("NumberOfFrames", 1) or 1) > 1 else None)
        if file.get("SamplesPerPixel", 1) != 1:
            return Image.fromarray(values.astype(np.uint8))
        is_inverted = file.get("PhotometricInterpretation") == "MONOCHROME1"  # the highest value is black
        windowed = _apply_window(apply_modality_lut(values, file), file)
        if windowed is not None:
            return Image.fromarray(255 - windowed if is_inverted else windowed)
        if is_inverted:
            values = 2 ** int(file.BitsStored) - 1 - values.astype(np.int64)
        scaled = np.asarray(apply_modality_lut(values, file))
    except Exception as error:  # the library raises anything on what it cannot decode
        raise OSError(f"{path}: not a readable DICOM file ({error})") from error
    if (scaled == scaled.round()).all():
        return Image.fromarray(scaled.astype(np.int32))
    return Image.fromarray(scaled.astype(np.float32))


def _apply_window(values: np.ndarray, file: Any) -> NDArray[np.uint8] | None:
    """Return greys as the first window of a DICOM file shows them, in 8 bits; None where it has no valid one."""
    from pydicom.pixels.processing import apply_windowing

    center, width = (file.get(name) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None
    center, width = (float(np.ravel(each)[0]) for each in (center, width))
    if not width > 0:
        return None
    beyond = np.array([center - 50 * width, center + 50 * width])  # black and white, also where the window bends
    try:
        windowed = apply_windowing(np.concatenate([np.asarray(values, dtype=np.float64).ravel(), beyond]), file, 0)
    except ValueError:  # a window or its function that the standard does not know
        return None
    return render_greys(windowed[:-2].reshape(values.shape), *windowed[-2:])


def _register_heif(path: str | Path) -> None:
    """Teach Pillow HEIC, as phones write it."""
    try:
        import pillow_heif
    except ImportError as error:
        raise OSError(f"{path}: a HEIC image is read by pillow-heif; pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG file: the name, and all its bytes; what follows a cut one is one chunk without name."""
    start = PNG_CHUNKS
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : start + 8], data[start:end]
        start = end
    if start < len(data):
        yield b"", data[start:]


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
    """Return whether torchvision would read a file otherwise than it is meant.

    So it reads PNG's palettes, other depths than 8 and colours that stand for transparency, and EXIF in WebP.
    """
    if data[:4].tobytes() == PNG_SIGNATURE:
        if data[PNG_DEPTH] != 8 or data[PNG_COLOUR_TYPE] == PNG_PALETTE:
            return True
        before = itertools.takewhile(lambda chunk: chunk[0] != b"IDAT", _chunks(data.tobytes()))
        return any(name == b"tRNS" for name, _ in before)
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
