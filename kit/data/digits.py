"""The embedded default: scikit-learn's 1,797 handwritten digits, laid out once as Kaggle would give them.

Writes data/digits: train.csv and train/ (15 labels per class), unlabeled/ (850), test/ (797), sample_submission.csv
and solution.csv, which nothing but the scorer opens. The split is drawn with seed 0 and was fixed before any result.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

SHOTS = 15  # labels per class
N_UNLABELED = 850
SEED = 0
GREY_LEVELS = 16  # the digits' own scale, 0..16


def write_digits(folder: Path) -> None:
    """Write the digits competition, unless it is there.

    Parameters
    ----------
    folder
        The data folder; appears whole or not at all.

    References
    ----------
    Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI machine learning repository, 1998.
    """
    if folder.is_dir():
        return
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * 255 / GREY_LEVELS).astype(np.uint8)  # (1797, 8, 8)
    splits = _split(digits.target)
    ids = np.array([f"{number:06d}" for number in np.random.default_rng(SEED + 1).permutation(len(pixels)) + 1])
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    for split in ("train", "unlabeled", "test"):
        (part / split).mkdir(parents=True)
        for row in np.flatnonzero(splits == split):
            Image.fromarray(pixels[row]).save(part / split / f"{ids[row]}.png")
    table = pd.DataFrame({"id": ids, "label": digits.target.astype(str)}).sort_values("id")
    split_of = pd.Series(splits, index=ids)[table["id"]].to_numpy()
    table[split_of == "train"].to_csv(part / "train.csv", index=False)
    table[split_of == "test"].assign(label="0").to_csv(part / "sample_submission.csv", index=False)
    table[split_of == "test"].to_csv(part / "solution.csv", index=False)
    os.replace(part, folder)


def _split(labels: np.ndarray) -> np.ndarray:
    """Draw 15 images of each class for training, then 850 without labels; the rest is the test."""
    draw = np.random.default_rng(SEED)
    splits = np.full(len(labels), "test", dtype=object)
    for label in np.unique(labels):
        splits[draw.permutation(np.flatnonzero(labels == label))[:SHOTS]] = "train"
    splits[draw.permutation(np.flatnonzero(splits == "test"))[:N_UNLABELED]] = "unlabeled"
    return splits
