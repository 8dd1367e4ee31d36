"""Contact sheets: rows of images with a few words below each, as one PNG for the eye to judge."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.files import write_atomic
from kit.core.shapes import Pixels
from kit.core.terminal import warn
from kit.data.decoding import decode_image

if TYPE_CHECKING:
    from PIL import Image

TILE = 96  # side of an image in pixels
TEXT = 14  # height of a line in pixels
MARGIN = 4  # pixels
CHARACTERS_PER_PIXEL = 1 / 6  # of the font: what is longer than its tile goes on in the next line


@dataclass(frozen=True)
class SheetTile:
    """Hold one picture of a sheet, a file or pixels (height, width, 3), and the lines below it."""

    image: str | Pixels
    lines: Sequence[str] = ()


def write_sheet(
    path: Path, title: str, rows: Sequence[tuple[str, Sequence[SheetTile]]], side: int = TILE, n_columns: int = 1
) -> None:
    """Write a sheet as `draw_sheet` draws it, as a PNG."""
    sheet = draw_sheet(title, rows, side, n_columns)
    with write_atomic(path) as file:
        sheet.save(file, "PNG")


def draw_sheet(
    title: str, rows: Sequence[tuple[str, Sequence[SheetTile]]], side: int = TILE, n_columns: int = 1
) -> Image.Image:
    """Draw tiles in rows, each below its heading, which may be empty.

    `side` is that of an image in pixels; the sheet is wide enough for `n_columns` tiles at least.
    """
    from PIL import Image, ImageDraw, ImageFont

    n_columns = max(n_columns, *(len(tiles) for _, tiles in rows)) if rows else n_columns
    n_lines = max((len(_wrap(tile.lines, side)) for _, tiles in rows for tile in tiles), default=0)
    height = side + (1 + n_lines) * TEXT + 2 * MARGIN
    width = max(n_columns * (side + MARGIN) + MARGIN, int(len(title) / CHARACTERS_PER_PIXEL) + 2 * MARGIN)
    sheet = Image.new("RGB", (width, TEXT + 2 * MARGIN + height * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT - 3)
    draw.text((MARGIN, MARGIN), title, "black", font)
    for number, (heading, tiles) in enumerate(rows):
        top = TEXT + 2 * MARGIN + number * height
        draw.text((MARGIN, top), heading, "black", font)
        for column, tile in enumerate(tiles):
            left = MARGIN + column * (side + MARGIN)
            sheet.paste(_fit(tile.image, side), (left, top + TEXT))
            for i, line in enumerate(_wrap(tile.lines, side)):
                draw.text((left, top + TEXT + side + i * TEXT), line, "black", font)
    return sheet


def existing_sheets(sheets: Iterable[Path]) -> list[Path]:
    """Return the sheets that are there; warn of each that is a link to nowhere."""
    named = list(sheets)
    for sheet in named:
        if not sheet.exists():
            warn(f"{sheet}: a link that leads nowhere; left out")
    return [sheet for sheet in named if sheet.exists()]


def _wrap(lines: Sequence[str], side: int) -> list[str]:
    """Return the lines so that each fits below a tile: an id that is cut is another id."""
    length = int(side * CHARACTERS_PER_PIXEL)
    return [part for line in lines for part in textwrap.wrap(line, length) or [""]]


def _fit(image: str | Pixels, side: int) -> Image.Image:
    """Return an image that fits a tile, on grey; grey alone where its file cannot be read any more."""
    from PIL import Image, ImageOps

    try:
        pixels = decode_image(image).permute(1, 2, 0).numpy() if isinstance(image, str) else image
    except OSError as error:
        warn(f"contact sheet: a tile stays empty: {error}")
        return Image.new("RGB", (side, side), "lightgrey")
    return ImageOps.pad(Image.fromarray(pixels), (side, side), color="lightgrey")
