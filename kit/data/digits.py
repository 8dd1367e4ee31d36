"""The embedded default: scikit-learn's 1,797 handwritten digits, laid out once as Kaggle would give them.

Writes data/digits: train.csv and train/ (15 labels per class), unlabeled/ (850), test/ (797), sample_submission.csv
and solution.csv, which nothing but the scorer opens. The split is drawn with seed 0 and was fixed before any result.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.core.files import write_folder
from kit.core.shapes import Labels, Texts

SHOTS = 15  # labels per class
N_UNLABELED = 850
SEED = 0
GREY_LEVELS = 16  # the digits' own scale, 0..16


def write_digit_classes(folder: Path) -> None:
    """Write all digits as a folder of class folders, for what needs every label, unless it is there."""
    if folder.is_dir():
        return
    pixels, labels = _load_digits()
    with write_folder(folder) as part:
        for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            _save(image, part / str(label) / f"{row:06d}.png")


def write_digits(folder: Path) -> None:
    """Write the digits competition into the data folder, unless it is there; it appears whole or not at all.

    Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI machine learning repository, 1998.
    """
    if folder.is_dir():
        return
    pixels, labels = _load_digits()
    splits = _split(labels)
    ids = np.array([f"{number:06d}" for number in np.random.default_rng(SEED + 1).permutation(len(pixels)) + 1])
    table = pd.DataFrame({"id": ids, "label": labels.astype(str)})
    of_split = {split: table.loc[splits == split].sort_values("id") for split in ("train", "test")}
    with write_folder(folder) as part:
        for row, (image, split) in enumerate(zip(pixels, splits, strict=True)):
            _save(image, part / split / f"{ids[row]}.png")
        of_split["train"].to_csv(part / "train.csv", index=False)
        of_split["test"].assign(label="0").to_csv(part / "sample_submission.csv", index=False)
        of_split["test"].to_csv(part / "solution.csv", index=False)


def _load_digits() -> tuple[NDArray[np.uint8], Labels]:
    """Return the digits, (1797, 8, 8), and their labels."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    return np.rint(np.reshape(values, (-1, 8, 8)) * 255 / GREY_LEVELS).astype(np.uint8), np.asarray(labels)


def _save(pixels: NDArray[np.uint8], file: Path) -> None:
    """Write one image."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def _split(labels: Labels) -> Texts:
    """Draw 15 images of each class for training, then 850 without labels; the rest is the test."""
    draw = np.random.default_rng(SEED)
    splits = np.full(len(labels), "test", dtype=object)
    for label in np.unique(labels):
        splits[draw.permutation(np.flatnonzero(labels == label))[:SHOTS]] = "train"
    splits[draw.permutation(np.flatnonzero(splits == "test"))[:N_UNLABELED]] = "unlabeled"
    return splits
