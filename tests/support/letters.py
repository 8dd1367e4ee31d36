"""Labelled images that are letters: ids, labels and groups, their table and their competition; no files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core.files import Workspace

TOML = """
[competition]
title = "letters"

[data]
root = "data"
labeled = "train"

[folds]
n = 4
"""


def letters(n_each: int = 12, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, labels and groups of a small set of labelled images, each its own group."""
    labels = np.repeat([chr(97 + code) for code in range(n_classes)], n_each).astype(object)
    ids = np.array([f"{i:05d}" for i in np.random.default_rng(7).permutation(len(labels))], dtype=object)
    return ids, labels, np.arange(len(labels))


def tabulate(ids: np.ndarray, labels: np.ndarray, n_others: int = 0) -> pd.DataFrame:
    """Return an image table of labelled images, and of `n_others` test images."""
    columns = {"id": [*ids, *[f"test{i}" for i in range(n_others)]], "label": [*labels, *[None] * n_others]}
    columns |= {"split": ["labeled"] * len(ids) + ["test"] * n_others, "group": None, "path": ""}
    return pd.DataFrame(columns, dtype=object)


def make_competition(folder: Path, changes: tuple[str, ...] = ()) -> Competition:
    """Write and read a competition."""
    home = folder / "letters"
    home.mkdir(exist_ok=True)
    (home / "competition.toml").write_text(TOML, encoding="utf-8")
    return read_competition(str(home), Workspace(folder), changes)
