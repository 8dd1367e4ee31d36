"""The competition `tiles`: pictures whose three channels are bright or not. Each bright channel is a label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from support.folders import write

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.scoring.predictions import Predictions

CHANNELS = ("paint/red", "paint/green", "ink")
ONE_FOREST = '[runs.forest]\nmodel = "forest"\nn_trees = 10\n'
TWO_FORESTS = ONE_FOREST + '[runs.deep]\nmodel = "forest"\nn_trees = 15\ntrees = "extra"\n'
ONE = 'metric = "accuracy"\n[folds]\nn = 3'
SEVERAL = 'task = "multilabel"\nmetric = "{metric}"\n[folds]\nn = {n}\n'
THREE_FOLDS = SEVERAL.format(metric="macro_f1", n=3)
CODED = 'labeled = { csv = "train.csv", images = "train", id = "id", label = "label" }\n'
LISTED = 'labeled = { csv = "train.csv", images = "train", label = "label", separator = ";", group = "g" }\n'
TESTED = 'test = "test"\nsolution = "solution.csv"\n'

Chooser = Callable[[int, np.random.Generator], np.ndarray]


def by_turns(i: int, _: np.random.Generator) -> np.ndarray:
    """Return which channels of image i are bright: every second, every third, two of five."""
    return np.array([i % 2, i % 3 == 0, i % 5 < 2], dtype=bool)


def by_chance(*shares: float) -> Chooser:
    """Return a chooser that makes each channel bright with a probability of its own."""
    return lambda _, draws: draws.random(3) < shares


def lay_out(
    root: Path, sizes: tuple[int, int], is_bright: Chooser, tones: tuple[int, int], noise: int, size: int = 12,
    names: tuple[str, ...] = CHANNELS, table: str = "id,label\n{id},{labels}",
) -> None:  # fmt: skip
    """Write training and test images (`sizes` of them), and a table of each: its header, then a row per image."""
    draws = np.random.default_rng(0)
    header, _, row = table.partition("\n")
    for split, n_images in zip(("train", "test"), sizes, strict=True):
        (root / split).mkdir(parents=True, exist_ok=True)
        rows = [header]
        for i in range(n_images):
            on = is_bright(i, draws)
            pixels = np.where(on, *tones[::-1]) + draws.normal(0, noise, (size, size, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / split / f"{split}{i:02d}.png")
            labels = ";".join(name for name, is_on in zip(names, on, strict=True) if is_on)
            cells = dict(zip("abc", on.astype(int), strict=True))
            rows.append(row.format(id=f"{split}{i:02d}", labels=labels, group=i // 4, code=i % 3, **cells))
        write(root / ("train.csv" if split == "train" else "solution.csv"), "\n".join(rows) + "\n")


def prepare_tiles(workspace: Path, facts: str, data: str, runs: str) -> Prepared:
    """Write the competition's TOML and make it ready."""
    text = f'[competition]\ntitle = "t"\n{facts}\n[data]\nroot = "data/tiles"\n{data}\n{runs}\n'
    write(workspace / "competitions/tiles/competition.toml", text)
    return prepare(read_competition("tiles", Workspace(workspace)))


def make_by_turns(
    workspace: Path, table: str, facts: str, data: str, runs: str = ONE_FOREST, n_images: int = 48
) -> Prepared:
    """Return the competition whose channels are bright by turns, listed as `table` says of each image."""
    lay_out(workspace / "data/tiles", (n_images, 6), by_turns, (80, 180), 70, table=table)
    return prepare_tiles(workspace, facts, data, runs)


def make_by_chance(workspace: Path, metric: str = "macro_f1", more: str = "") -> Prepared:
    """Return the competition whose channels are bright by chance, each in half of the images."""
    names = ("paint/red", "paint/green", "ink/blue")
    lay_out(workspace / "data/tiles", (40, 12), by_chance(0.5, 0.5, 0.5), (60, 190), 40, 16, names)
    data = 'labeled = { csv = "train.csv", images = "train" }\n' + TESTED + more
    runs = '[runs.forest]\nmodel = "forest"\nn_trees = 30\n'
    return prepare_tiles(workspace, SEVERAL.format(metric=metric, n=2), data, runs)


def make_with_sample(
    workspace: Path, sample: str = "", names: tuple[str, ...] = ("red", "green", "blue"), rest: str = "",
    metric: str = "macro_f1", data: str = "",
) -> Prepared:  # fmt: skip
    """Return the competition with a sample submission of the given header and cell."""
    root = workspace / "data/tiles"
    if not root.exists():
        lay_out(root, (60, 8), by_chance(0.3, 0.5, 0.6), (90, 150), 60, names=names)
    if sample:
        header, _, cells = sample.partition("\n")
        write(root / "sample.csv", header + "\n" + "".join(f"test{i:02d},{cells}\n" for i in reversed(range(8))))
        data += 'sample_submission = "sample.csv"\n'
    listing = 'labeled = { csv = "train.csv", images = "train", separator = ";" }\n'
    runs = f"{TWO_FORESTS}\n{rest}"
    return prepare_tiles(workspace, SEVERAL.format(metric=metric, n=3), f"{listing}{TESTED}{data}", runs)


def predictions_of(prepared: Prepared, proba: np.ndarray | None = None) -> Predictions:
    """Return predictions of the test images: sure ones, each another set of labels."""
    ids = prepared.pool.ids[prepared.split("test")]
    if proba is None:
        proba = np.array([[(row >> code) & 1 for code in range(len(prepared.classes))] for row in range(len(ids))])
        proba = 0.1 + 0.8 * proba
    return Predictions(ids, prepared.classes, proba, "multilabel")
