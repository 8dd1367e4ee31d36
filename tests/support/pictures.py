"""Random pictures, and the image table of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def texture(seed: int, size: tuple[int, int] = (96, 80), detail: int = 7) -> Image.Image:
    """Draw a random smooth colour texture."""
    noise = np.random.default_rng(seed).integers(0, 256, (detail, detail, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def tabulate(paths: list[Path], label: str | list[str] = "a", split: str | list[str] = "labeled") -> pd.DataFrame:
    """Return the image table of files."""
    columns = {"id": [path.stem for path in paths], "path": [str(path) for path in paths]}
    table = pd.DataFrame({**columns, "label": label, "split": split, "group": None}, dtype=object)
    table.loc[table["split"] != "labeled", "label"] = None
    return table
