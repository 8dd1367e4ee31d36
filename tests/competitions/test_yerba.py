"""The competition yerba: paths as labels, several per image, its published recipes on a tiny look-alike of its data."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.runs.train import train_runs
from kit.runs.verify import verify

PATHS = ("Cans/Slim/Cranpom", "Cans/Slim/Peach", "Bottles/Glass", "No Yerb")
CLASSES = ("Bottles", "Bottles/Glass", "Cans", "Cans/Slim", "Cans/Slim/Cranpom", "Cans/Slim/Peach", "No Yerb")
N_IMAGES = 48
TINY = ("pretrained=false", "image_size=32", "epochs=1", "batch_size=16")


def labels_of(i: int) -> list[str]:
    """Return what image i shows: one path, every third image two."""
    return [PATHS[i % 4], *([PATHS[2]] if i % 3 == 0 and i % 4 < 2 else [])]


def write_rows(file: Path, rows: list[tuple[str, ...]]) -> None:
    with open(file, "w", newline="") as text:
        csv.writer(text).writerows(rows)


def make(tmp_path: Path, *changes: str) -> Prepared:
    """Prepare the competition on the look-alike, written the first time."""
    root = tmp_path / "data" / "yerba"
    if not root.exists():
        (root / "images").mkdir(parents=True)
        draws = np.random.default_rng(0)
        for i in range(N_IMAGES):
            Image.fromarray(draws.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(root / "images" / f"{i:04d}.png")
        rows = [(f"{i:04d}.png", label) for i in range(N_IMAGES) for label in labels_of(i)]
        write_rows(root / "labels.csv", [("image", "label"), *rows])
    return prepare(read_competition("yerba", Workspace(tmp_path), ("folds.n=2", *changes)))


def test_parents_are_added_and_a_published_recipe_trains(tmp_path):
    changes = [f"runs.xception_dense.{change}" for change in (*TINY, "head_units=8")]
    prepared = make(tmp_path, *changes, "folds.use=[0]")
    assert prepared.classes == CLASSES
    slim, cans = CLASSES.index("Cans/Slim"), CLASSES.index("Cans")
    assert (prepared.labels[:, slim] == prepared.labels[:, cans]).all() and prepared.labels[:, cans].sum() == 24
    (result,), skipped = train_runs(prepared, ["xception_dense"], strict=True)
    assert not skipped and result.record.metric == "macro_f1"
    verify(prepared, [result])


@pytest.mark.parametrize("form", ["cell", "columns", "tags"])
def test_the_other_forms_of_the_readme_say_the_same(tmp_path, form):
    expected = make(tmp_path).labels
    file = tmp_path / "data" / "yerba" / "labels.csv"
    names, sets = [f"{i:04d}.png" for i in range(N_IMAGES)], [labels_of(i) for i in range(N_IMAGES)]
    if form == "cell":
        write_rows(
            file, [("image", "label"), *((name, ";".join(labels)) for name, labels in zip(names, sets, strict=True))]
        )
    elif form == "columns":
        rows = [(name, *(int(path in labels) for path in PATHS)) for name, labels in zip(names, sets, strict=True)]
        write_rows(file, [("image", *PATHS), *rows])
    else:
        rows = [(name, *labels, *[""] * (2 - len(labels))) for name, labels in zip(names, sets, strict=True)]
        write_rows(file, [("image", "tag1", "tag2"), *rows])
    more = ', separator = ";"' if form == "cell" else ""
    change = f'data.labeled={{ csv = "labels.csv", images = "images", form = "{form}"{more} }}'
    assert np.array_equal(make(tmp_path, change).labels, expected)
