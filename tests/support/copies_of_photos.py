"""Copies of photos as they are found in real data: mirrored, turned, cropped, framed, written on, in other colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from PIL.Image import Transpose

QUALITY = 90  # of the JPEG that a copy is written as

Edit = Callable[[Image.Image, np.random.Generator], Image.Image]


def turn(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Turn an image by one, two or three quarters."""
    return image.transpose([Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270][draw.integers(3)])


def crop(side: float) -> Edit:
    """Return an edit that keeps `side` (0..1) of the width and of the height, somewhere in the image."""

    def edit(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        width, height = round(side * image.width), round(side * image.height)
        left, top = draw.integers(image.width - width + 1), draw.integers(image.height - height + 1)
        return image.crop((left, top, left + width, top + height))

    return edit


def frame(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Put a border of one colour around an image, of 5 to 15 % of its longer side."""
    colour = tuple(draw.integers(0, 256, 3).tolist())
    return ImageOps.expand(image, round(draw.uniform(0.05, 0.15) * max(image.size)), colour)


def write_on(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Lay a bar with words over the top or the bottom of an image, of 10 to 20 % of its height."""
    copy, height = image.copy(), round(draw.uniform(0.1, 0.2) * image.height)
    top = 0 if draw.random() < 0.5 else image.height - height
    background, words = (0, 255) if draw.random() < 0.5 else (255, 0)
    pen = ImageDraw.Draw(copy)
    pen.rectangle((0, top, image.width, top + height), fill=(background,) * 3)
    pen.text((image.width // 10, top + height // 4), "Photo 2026, all rights", fill=(words,) * 3)
    return copy


def write_below(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Put a bar with words below or above an image, of 10 to 20 % of its height."""
    height = round(draw.uniform(0.1, 0.2) * image.height)
    top = height if draw.random() < 0.5 else 0
    copy = Image.new("RGB", (image.width, image.height + height), (255, 255, 255))
    copy.paste(image, (0, top))
    ImageDraw.Draw(copy).text((image.width // 10, 2 if top else image.height + 2), "Photo 2026", fill=(0, 0, 0))
    return copy


def recolour(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Change brightness, contrast and saturation by up to 40 %, and turn the hue; one in four becomes grey."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(draw.uniform(0.6, 1.4))
    if draw.random() < 0.25:
        return image.convert("L").convert("RGB")
    hue, saturation, value = image.convert("HSV").split()
    shift = int(draw.integers(-25, 26))
    return Image.merge("HSV", (hue.point(lambda h: (h + shift) % 256), saturation, value)).convert("RGB")


EDITS: dict[str, Edit] = {
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "turned": turn,
    "cropped to 80 %": crop(0.8),
    "cropped to 70 %": crop(0.7),
    "framed": frame,
    "written on": write_on,
    "written below": write_below,
    "recoloured": recolour,
}


def plant_copies(photos: list[Path], folder: Path, n_each: int, seed: int = 0) -> dict[str, list[tuple[Path, Path]]]:
    """Write `n_each` copies of every kind into a folder, of different photos; return (photo, copy) by kind."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = iter(draw.permutation(len(photos)).tolist())
    planted: dict[str, list[tuple[Path, Path]]] = {kind: [] for kind in EDITS}
    for kind, pairs in planted.items():
        for number in range(n_each):
            photo = photos[next(chosen)]
            copy = folder / f"{kind.replace(' ', '_').replace('%', 'percent')}_{number:03d}.jpg"
            with Image.open(photo) as image:
                EDITS[kind](image.convert("RGB"), draw).save(copy, quality=QUALITY)
            pairs.append((photo, copy))
    return planted
