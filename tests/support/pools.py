"""Tiny pools of real PNG files for the tests of networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from kit.data.images import Pool

COLOURS = np.array([(60, 60, 190), (60, 180, 60), (190, 60, 60)])
CLASSES = ("blue", "green", "red")


def make_pool(folder: Path, n_images: int = 30, size: int = 16, n_labeled: int | None = None, noise: int = 0) -> Pool:
    """Write coloured images, class after class (image i is of class i % 3), and return their pool.

    The first `n_labeled` are of the labelled split (all, where it is None), the others unlabelled. `noise` seeds the
    unlabelled images' pixels alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_labeled = n_images if n_labeled is None else n_labeled
    ids = np.array([f"{i:04d}" for i in range(n_images)])
    for i, image_id in enumerate(ids):
        draws = np.random.default_rng((i, noise if i >= n_labeled else 0))
        pixels = COLOURS[i % 3] + draws.normal(0, 40, (size, size, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{image_id}.png")
    return Pool(
        ids=ids,
        splits=np.where(np.arange(n_images) < n_labeled, "labeled", "unlabeled"),
        paths=np.array([str(folder / f"{image_id}.png") for image_id in ids]),
        digests=ids,
        groups=np.arange(n_images),
        classes=CLASSES,
        cache=folder / "cache",
        prompts=folder / "prompts",
        lookup=(folder,),
    )


def labels_of(rows: np.ndarray) -> np.ndarray:
    """Return the true class codes of a pool's rows."""
    return np.asarray(rows) % 3


def make_half_grey(folder: Path) -> Pool:
    """Return 20 images of two classes; the first twelve are grey, the last eight coloured."""
    paths, draws = [], np.random.default_rng(0)
    for i in range(20):
        pixels = np.repeat(draws.integers(0, 120, (9, 9, 1)) + 120 * (i % 2), 3, axis=2)
        pixels[..., 0] += 10 * (i >= 12)
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    ids = np.array([f"{i:02d}" for i in range(20)], dtype=object)
    splits = np.array(["labeled"] * 20, dtype=object)
    paths = np.array(paths, dtype=object)
    return Pool(ids, splits, paths, ids, np.arange(20), ("dark", "light"), folder / "cache", folder)
