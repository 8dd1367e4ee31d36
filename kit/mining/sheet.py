"""Contact sheets: what each threshold adds, class by class, for the eye to judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kit.files import write_atomic
from kit.images import decode_image

TILE = 96  # side of an image in pixels
TEXT = 14  # height of a line in pixels
PER_ROW = 12  # images shown of a class
MARGIN = 4  # pixels


def write_sheet(path: Path, title: str, rows: list[tuple[str, list[tuple[str, float]]]]) -> None:
    """Write a PNG of images in rows, each image with its similarity below.

    Parameters
    ----------
    path
        The file.
    title
        The first line.
    rows
        Per class a heading and its images: file and cosine similarity, nearest first. Of more than `PER_ROW`, as many
        are shown, spread evenly from the nearest to the farthest.
    """
    from PIL import Image, ImageDraw, ImageFont

    height = TILE + 2 * TEXT + 2 * MARGIN
    sheet = Image.new("RGB", (PER_ROW * (TILE + MARGIN) + MARGIN, TEXT + 2 * MARGIN + height * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT - 3)
    draw.text((MARGIN, MARGIN), title, "black", font)
    for number, (heading, images) in enumerate(rows):
        top = TEXT + 2 * MARGIN + number * height
        draw.text((MARGIN, top), heading, "black", font)
        for column, (file, cosine) in enumerate(_spread(images)):
            left = MARGIN + column * (TILE + MARGIN)
            sheet.paste(_read_tile(file), (left, top + TEXT))
            draw.text((left, top + TEXT + TILE), f"{cosine:.3f}", "black", font)
    with write_atomic(path) as file:
        sheet.save(file, "PNG")


def _spread(images: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return at most `PER_ROW` images, the first and the last among them."""
    if len(images) <= PER_ROW:
        return images
    return [images[i] for i in np.linspace(0, len(images) - 1, PER_ROW).round().astype(int)]


def _read_tile(file: str) -> object:
    """Return an image that fits a tile, on grey."""
    from PIL import Image, ImageOps

    image = Image.fromarray(decode_image(file).permute(1, 2, 0).numpy())
    return ImageOps.pad(image, (TILE, TILE), color="lightgrey")
