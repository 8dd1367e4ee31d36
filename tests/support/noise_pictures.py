"""Pictures of coloured noise, coarse and fine: no two are alike, and each is known again in part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Resampling

SIZE = (200, 150)  # pixels, width and height
GRAINS = ((5, 70.0), (12, 45.0), (40, 25.0))  # cells across, and the grey levels by which they differ


def draw_picture(seed: int) -> Image.Image:
    """Draw a picture; the seed decides all of it."""
    draws = np.random.default_rng(seed)
    pixels = np.full((SIZE[1], SIZE[0], 3), draws.uniform(50, 206, 3))  # a weak encoder knows a picture by its colour
    for n_cells, strength in GRAINS:
        shape = (n_cells * 3 // 4, n_cells)
        cells = draws.normal(0, strength, (*shape, 1)) + draws.normal(0, strength / 4, (*shape, 3))  # light; colour
        cells = cells.clip(-127, 127) + 128
        layer = Image.fromarray(cells.astype(np.uint8)).resize(SIZE, Resampling.BICUBIC)
        pixels += np.asarray(layer, dtype=float) - 128
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_pictures(folder: Path, n_images: int, seed: int = 0) -> list[Path]:
    """Write pictures as JPEG files; return them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:03d}.jpg" for number in range(n_images)]
    for number, file in enumerate(files):
        draw_picture(1000 * seed + number).save(file, quality=90)
    return files
