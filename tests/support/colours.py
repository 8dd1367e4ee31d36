"""The competition `colours`: noisy pictures of three colours, laid out as class folders, a pool and a test folder."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}

SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'
FOREST_AND_SVM = '[runs.forest]\nmodel = "forest"\nn_trees = 20\n\n' + SVM
EMBEDDED = 'embeddings = "embeddings.npy"'
N_IMAGES = 39  # 18 labelled, 12 unlabelled, 9 of the test
RUNS = """
[runs.forest]
model = "forest"
n_trees = 20

[runs.svm]
model = "svm"
"""


def forest(n_trees: int, rest: str = "", name: str = "forest", pixels: int = 4) -> str:
    """Return the TOML of a forest."""
    return f'[runs.{name}]\nmodel = "forest"\npixels = {pixels}\nn_trees = {n_trees}\n{rest}'


def draw(colour: tuple[int, int, int], draws: np.random.Generator, size: int = 40) -> Image.Image:
    """Draw a noisy picture of one colour."""
    noise = draws.normal(0, 60, (size, size, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def lay_out(root: Path, n_labeled: int = 6, n_unlabeled: int = 12, n_test: int = 9, seed: int = 0) -> None:
    """Write class folders, a pool, a test folder, a sample submission and a solution."""
    draws = np.random.default_rng(seed)
    number, solution = 0, []

    def save(folder: Path, name: str) -> str:
        nonlocal number
        number += 1
        folder.mkdir(parents=True, exist_ok=True)
        draw(COLOURS[name], draws).save(folder / f"{number:05d}.png")
        return f"{number:05d}"

    for name in COLOURS:
        for _ in range(n_labeled):
            save(root / "train" / name, name)
    names = list(COLOURS)
    for i in range(n_unlabeled):
        save(root / "unlabeled", names[i % 3])
    for i in range(n_test):
        solution.append((save(root / "test", names[i % 3]), names[i % 3]))
    for file, rows in (
        ("solution.csv", solution),
        ("sample_submission.csv", [(image_id, "red") for image_id, _ in reversed(solution)]),
    ):
        with open(root / file, "w", newline="") as text:
            csv.writer(text).writerows([("id", "label"), *rows])


def write_toml(folder: Path, runs: str = RUNS, data: str = "", rest: str = "") -> None:
    """Write a competition.toml for `lay_out`'s files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "competition.toml").write_text(
        f"""
[competition]
title = "colours"

[data]
root = "data/colours"
labeled = "train"
unlabeled = "unlabeled"
test = "test"
sample_submission = "sample_submission.csv"
solution = "solution.csv"
{data}

[folds]
n = 3
{runs}
{rest}
""",
        encoding="utf-8",
    )
