"""Classes with one image: every model learns them, none is scored on them, and they may be submitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.folders import competition_of, write

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.folds import NO_FOLD
from kit.data.prepared import Prepared, prepare
from kit.runs.fit.crossval import crossval
from kit.runs.verify import verify

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "once": (30, 30, 220)}
FOREST = '[runs.forest]\nmodel = "forest"\nn_trees = 20\npixels = 4\n'


def paint(path: Path, colour: tuple[int, int, int], draws: np.random.Generator) -> None:
    """Write a noisy square of a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = draws.integers(-20, 20, (12, 12, 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def whales(tmp_path: Path) -> Prepared:
    """Return a competition one of whose classes has one image, ready to run."""
    draws, root = np.random.default_rng(0), tmp_path / "data"
    counts = {"red": 8, "green": 8, "once": 1}
    names = [(name, f"{name}{i}.png") for name, n in counts.items() for i in range(n)]
    for name, file in names:
        paint(root / "train" / file, COLOURS[name], draws)
    paint(root / "test" / "t.png", COLOURS["once"], draws)
    write(root / "train.csv", "image,label\n" + "".join(f"{file},{name}\n" for name, file in names))
    made = competition_of(tmp_path, 'labeled = { csv = "train.csv", images = "train" }', 'test = "test"')
    write(made.file, made.file.read_text() + "[folds]\nn = 4\n" + FOREST)
    return prepare(read_competition(str(made.folder), Workspace(tmp_path)))


def test_a_class_with_one_image_is_learned_and_never_scored(whales):
    once = np.flatnonzero(whales.labels == whales.classes.index("once"))
    assert whales.folds[once].tolist() == [NO_FOLD] and whales.scored == (0, 1, 2, 3)
    assert all("once" in np.array(whales.classes)[whales.training(fold).labels] for fold in whales.scored)
    assert sorted(whales.scored_rows) == sorted(set(range(17)) - set(once.tolist()))
    result = crossval(whales, "forest")
    assert set(result.predictions("oof").ids) == set(whales.pool.ids[whales.labeled]) - {"once0.png"}
    assert result.predictions("test").proba[0].argmax() == whales.classes.index("once")
    assert verify(whales, [result])


def test_the_fold_file_says_so_and_is_read_back(whales):
    assert "once0.png,once,-1\n" in whales.competition.workspace.folds("comp").read_text()
    assert (prepare(whales.competition).folds == whales.folds).all()
