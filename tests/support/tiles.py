"""The competition `tiles`: pictures of up to three coloured tiles, their labels paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.channels import SEVERAL, prepare_tiles
from support.folders import write

from kit.data.prepared import Prepared

TILES = {"warm/red": (220, 40, 40), "warm/yellow": (220, 220, 40), "cold/blue": (40, 40, 220)}
RUNS = """
[runs.forest]
model = "forest"
n_trees = 20
pixels = 8

[runs.bags]
model = "forest"
n_trees = 5
pixels = 8
bags = 2

[runs.probe]
model = "linear_probe"
encoder = "given"
smooth = "nested"
use_test_images = true

[runs.net]
model = "small_cnn"
image_size = 16
epochs = 3
patience = 2
channels = [8]
mixup = 0.2
"""


def make_tiles(
    workspace: Path, sizes: tuple[int, int] = (50, 10), noise: int = 10, given: bool = True, data: str = "",
    runs: str = RUNS, broken: str = "",
) -> Prepared:  # fmt: skip
    """Write training and test images, one of which may be broken, and embeddings; make the competition ready."""
    draws, root = np.random.default_rng(0), workspace / "data/tiles"
    rows, embeddings = ["id,label"], []
    for split, n_images in zip(("train", "test"), sizes, strict=True):
        (root / split).mkdir(parents=True)
        for i in range(n_images):
            names = [name for name in TILES if draws.random() < 0.4]
            if given:
                embeddings.append([float(name in names) for name in TILES] + [1.0] + draws.normal(0, 0.3, 4).tolist())
            pixels = np.full((16, 16, 3), 128.0)
            for tile, name in zip(draws.permutation(4), names, strict=False):
                pixels[8 * (tile // 2) :, 8 * (tile % 2) :][:8, :8] = TILES[name]
            noisy = np.clip(pixels + draws.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / split / f"{split}{i:02d}.png")
            rows += [f"{split}{i:02d},{';'.join(names)}"] if split == "train" else []
    if broken:
        (root / "test" / broken).write_bytes(b"no image")
    write(root / "train.csv", "\n".join(rows) + "\n")
    if given:
        np.save(root / "given.npy", np.array(embeddings, dtype=np.float32))
        data += 'embeddings = "given.npy"\n'
    listing = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nhierarchy = "/"\n'
    return prepare_tiles(workspace, SEVERAL.format(metric="macro_f1", n=2), listing + data, runs)
