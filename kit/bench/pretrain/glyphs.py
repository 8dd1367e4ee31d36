"""Render letters and digits, printed and as if by hand, for the tiny encoders of the `digits` competition.

Two sources, one form. Fonts that matplotlib ships are drawn by Pillow; handwriting follows the paths of
`kit.bench.pretrain.handwriting`. Both become distance fields (the distance of every pixel to the edge of the ink or to
the path of the pen), in which the thickness of the stroke is one subtraction. `draw_glyphs` then warps the fields,
boxes them, inks them and counts ink in 4x4 blocks, as scikit-learn's digits were made: 32x32 bitmaps -> 8x8 counts
of 0..16, bright on dark.

The real digits are held-out data: nothing here or in `kit.bench.pretrain` reads them, and no network, step count or
learning rate was chosen by them. A look at a few set how thick the pen is; a look at what a first, short
training confused (ones with eights) set how narrow a handwritten digit may be.

Reads matplotlib's fonts. ``./run.sh pretrain`` pretrains on what is drawn here (`kit.bench.pretrain`).
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from kit.bench.pretrain.handwriting import SKELETONS, write_digit
from kit.core.shapes import Mask

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

SYMBOLS = string.digits + string.ascii_uppercase + string.ascii_lowercase
KINDS = ("printed", "italic", "handwritten")
WEIGHTS = ("thin", "regular", "bold")
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol",
    "STIXGeneralItalic", "STIXGeneralBolIta", "cmr10", "cmb10", "cmss10", "cmtt10", "cmti10",
)  # fmt: skip
ITALIC = ("Oblique", "Italic", "BolIta", "cmti")

BOX = 32  # pixels: the side of the bitmap that is counted in blocks
INK_BLOCK = 4  # pixels: 32 / 4 = the 8 rows and columns of scikit-learn's digits
MARGIN = 8  # pixels of distance field around the box, room for warps
SIDE = BOX + 2 * MARGIN
LEVELS = INK_BLOCK * INK_BLOCK  # counts of ink run from 0 to 16
PEN_PIXELS = (1.2, 2.1, 3.0, 4.0)  # half the width of a stroke: thin, regular and bold lie between these
PER_DIGIT = 400  # handwritten fields per digit in the bank


@dataclass(frozen=True)
class Glyphs:
    """Hold drawn glyphs as distance fields.

    Parameters
    ----------
    fields
        (n_glyphs, SIDE, SIDE), signed distance in pixels: positive in the ink of a printed glyph, negative
        outside; never positive for handwriting, which is 0 on the path of the pen.
    half_widths
        (n_glyphs,), half the width of the stroke as drawn, in pixels; 0 for handwriting.
    symbols
        (n_glyphs,), index into `SYMBOLS`.
    kinds
        (n_glyphs,), index into `KINDS`.
    """

    fields: Tensor
    half_widths: Tensor
    symbols: Tensor
    kinds: Tensor


def render_fonts() -> Glyphs:
    """Render every symbol in every font of `FONTS`: 62 symbols x 21 fonts, each fitted into the box."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    folder = Path(get_data_path()) / "fonts" / "ttf"
    fields, symbols, kinds = [], [], []
    for name in FONTS:
        font = ImageFont.truetype(folder / f"{name}.ttf", size=128)
        for index, symbol in enumerate(SYMBOLS):
            fields.append(_signed_distance(_print_symbol(symbol, font)))
            symbols.append(index)
            kinds.append(KINDS.index("italic" if any(mark in name for mark in ITALIC) else "printed"))
    stacked = torch.from_numpy(np.stack(fields))
    inside = stacked.clamp_min(0).flatten(1)
    # Within a straight stroke of half-width h the distance to the edge is h / 2 on average.
    half_widths = 2 * inside.sum(1) / (inside > 0).sum(1)
    return Glyphs(stacked, half_widths, torch.tensor(symbols), torch.tensor(kinds))


def _print_symbol(symbol: str, font: FreeTypeFont) -> Mask:
    """Return the ink of one symbol, as high as the box, at twice a field's resolution: (2 SIDE, 2 SIDE)."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(symbol)
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), symbol, fill=255, font=font)
    image = image.crop(image.getbbox())
    width = min(round(image.width * 2 * BOX / image.height), 2 * BOX)
    canvas = Image.new("L", (2 * SIDE, 2 * SIDE))
    canvas.paste(image.resize((width, 2 * BOX)), (SIDE - width // 2, 2 * MARGIN))
    return np.asarray(canvas) > 127


def _signed_distance(ink: Mask) -> NDArray[np.float32]:
    """Return the signed distance to the edge of `ink` (2 SIDE, 2 SIDE): (SIDE, SIDE), in its pixels."""
    from scipy.ndimage import distance_transform_edt

    distance = np.asarray(distance_transform_edt(ink)) - np.asarray(distance_transform_edt(~ink))
    return (distance.reshape(SIDE, 2, SIDE, 2).mean((1, 3)) / 2).astype(np.float32)


def trace_handwriting(generator: Generator, per_digit: int = PER_DIGIT) -> Glyphs:
    """Trace handwritten digits: 10 x `per_digit` fields of kind ``"handwritten"``."""
    fields = [
        _distance_to_path(path * BOX + SIDE / 2)
        for digit in SKELETONS
        for path in write_digit(digit, per_digit, generator)
    ]
    symbols = torch.tensor([SYMBOLS.index(digit) for digit in SKELETONS]).repeat_interleave(per_digit)
    kinds = torch.full_like(symbols, KINDS.index("handwritten"))
    return Glyphs(-torch.cat(fields), torch.zeros(len(symbols)), symbols, kinds)


def _distance_to_path(path: Tensor) -> Tensor:
    """Return the distance of every pixel to `path` (n, n_points, 2): (n, SIDE, SIDE), in pixels."""
    axis = torch.arange(SIDE) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    pixels = torch.stack((x, y), -1).view(1, -1, 2)
    return torch.cdist(pixels, path).amin(-1).view(-1, SIDE, SIDE)


def glyph_bank(seed: int, per_digit: int = PER_DIGIT) -> Glyphs:
    """Return the printed and the handwritten glyphs together, the same for the same seed."""
    banks = render_fonts(), trace_handwriting(Generator().manual_seed(seed), per_digit)
    parts = [(bank.fields, bank.half_widths, bank.symbols, bank.kinds) for bank in banks]
    return Glyphs(*map(torch.cat, zip(*parts, strict=True)))


def draw_glyphs(glyphs: Glyphs, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw glyphs as scikit-learn's digits look: warped, boxed, inked, and counted in blocks.

    Parameters
    ----------
    rows
        (n,), which glyphs to draw.

    Returns
    -------
    images : Tensor
        (n, 8, 8), whole numbers 0..16, bright strokes on dark.
    weights : Tensor
        (n,), index into `WEIGHTS`: how thick the stroke came out.
    """
    n = len(rows)
    choice = torch.randint(len(WEIGHTS), (n,), generator=generator)
    low, high = torch.tensor(PEN_PIXELS)[choice], torch.tensor(PEN_PIXELS)[choice + 1]
    printed = glyphs.half_widths[rows]
    # Taking more than a third off a printed stroke would break its hairlines.
    half_width = torch.maximum(low + (high - low) * torch.rand(n, generator=generator), printed * 0.65)
    offset = (half_width - printed).view(-1, 1, 1, 1)
    fields = _warp(glyphs.fields[rows].unsqueeze(1), generator)
    fields = _fit_box(fields, offset, generator)
    ink = _spoil((fields + offset + 0.5).clamp(0, 1), generator)
    counts = F.avg_pool2d(ink, INK_BLOCK).squeeze(1) * LEVELS
    contrast = 0.8 + 0.3 * torch.rand(n, 1, 1, generator=generator)
    weights = torch.bucketize(half_width, torch.tensor(PEN_PIXELS[1:-1]))
    return (counts * contrast).round().clamp(0, LEVELS), weights


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """Return (n,) numbers between `low` and `high`."""
    return low + (high - low) * torch.rand(n, generator=generator)


def _warp(fields: Tensor, generator: Generator) -> Tensor:
    """Rotate (+-15 degrees), shear, stretch and bend fields (n, 1, SIDE, SIDE)."""
    n = len(fields)
    angle = _uniform(n, -0.26, 0.26, generator)
    shear = _uniform(n, -0.35, 0.35, generator)
    stretch = _uniform(n, 0.8, 1.25, generator)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(n)
    rows = (cos / stretch, (shear * cos - sin) / stretch, zero, sin, shear * sin + cos, zero)
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(fields.shape), align_corners=False)
    bend = 0.05 * torch.randn(n, 2, 4, 4, generator=generator)
    bend = F.interpolate(bend, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
    return F.grid_sample(fields, grid + bend.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _fit_box(fields: Tensor, offset: Tensor, generator: Generator) -> Tensor:
    """Crop to the ink's bounding box, as high as the box and never wider: (n, 1, BOX, BOX)."""
    n, ink = len(fields), (fields + offset).squeeze(1) > 0
    (left, width), (top, height) = _extent(ink.any(1)), _extent(ink.any(2))
    tall = height * _uniform(n, 0.98, 1.1, generator)  # pixels of the field that fill the box
    wide = torch.maximum(tall, width)
    x = left + width / 2 + tall * _uniform(n, -0.05, 0.05, generator)
    y = top + height / 2 + tall * _uniform(n, -0.03, 0.03, generator)
    zero = torch.zeros(n)
    rows = (wide / SIDE, zero, 2 * x / SIDE - 1, zero, tall / SIDE, 2 * y / SIDE - 1)
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), [n, 1, BOX, BOX], align_corners=False)
    return F.grid_sample(fields, grid, padding_mode="border", align_corners=False)


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first occupied cell and the number of cells to the last, for every row of (n, SIDE)."""
    first = occupied.float().argmax(1)
    last = SIDE - occupied.flip(1).float().argmax(1)
    return first.float(), (last - first).float().clamp_min(1)


def _spoil(ink: Tensor, generator: Generator) -> Tensor:
    """Blur three in ten inks (n, 1, BOX, BOX) and tear a gap of 1 to 3 pixels radius into one in ten."""
    n = len(ink)
    blurred = torch.rand(n, generator=generator) < 0.3
    ink = torch.where(blurred.view(-1, 1, 1, 1), F.avg_pool2d(ink, 3, 1, 1), ink)
    x, y = (_uniform(n, 0, BOX, generator).view(-1, 1, 1) for _ in "xy")
    radius = _uniform(n, 1, 3, generator) * (torch.rand(n, generator=generator) < 0.1)
    axis = torch.arange(BOX) + 0.5
    kept = (axis - x) ** 2 + (axis.view(-1, 1) - y) ** 2 >= radius.view(-1, 1, 1) ** 2
    return ink * kept.unsqueeze(1)


def upsample(images: Tensor, size: int) -> Tensor:
    """Turn counts into what an encoder's preprocessing makes of the PNG, before mean and standard deviation.

    Parameters
    ----------
    images
        (n, 8, 8), counts 0..16.
    size
        Side of the result in pixels.

    Returns
    -------
    Tensor
        (n, 3, size, size), 0..1: 8-bit gray read as RGB, bicubic.
    """
    # In whole numbers, as Pillow: it clips between its two passes, and floats would differ by 10 levels.
    gray = (images.unsqueeze(1) * 255 / LEVELS).round().to(torch.uint8)
    larger = F.interpolate(gray, size=(size, size), mode="bicubic", antialias=True)
    return (larger / 255).expand(-1, 3, -1, -1)
