"""The competition species: two given folders made one, its published recipes on a tiny look-alike of its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.runs.train import train_runs
from kit.runs.verify import verify

CLASSES = ("bird", "fish", "fungus", "insect", "mammal", "plant", "reptile", "spider")
SIZES = (16, 12, 8, 4, 4, 4, 4, 4)  # of the classes in train/
TINY = ("pretrained=false", "image_size=32", "epochs=1", "batch_size=16")


def lay_out(root: Path) -> None:
    """Write class folders of unequal size for training and for validation, files named alike in both."""
    draws = np.random.default_rng(0)
    for folder, share in (("train", 1), ("validation", 2)):
        for name, size in zip(CLASSES, SIZES, strict=True):
            (root / folder / name).mkdir(parents=True)
            for i in range(size // share):
                pixels = draws.integers(0, 256, (12, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / name / f"{i}.png")


def test_both_folders_are_split_anew_and_the_published_recipes_train(tmp_path):
    lay_out(tmp_path / "data" / "species")
    names = ["forest_weighted", "mobilenetv2_published", "small_cnn"]
    changes = ["runs.forest_weighted.n_trees=10", "runs.small_cnn.channels=[4, 8]", "runs.small_cnn.image_size=16"]
    changes += [f"runs.mobilenetv2_published.{change}" for change in TINY] + ["runs.small_cnn.epochs=1"]
    prepared = prepare(read_competition("species", Workspace(tmp_path), tuple(changes)))
    assert prepared.classes == CLASSES and len(prepared.labeled) == sum(SIZES) + sum(size // 2 for size in SIZES)
    assert {image_id.split("/")[0] for image_id in prepared.pool.ids} == {"train", "validation"}
    assert prepared.scored == (0,)
    results, skipped = train_runs(prepared, names, strict=True)
    assert not skipped and all(result.record.metric == "macro_f1" for result in results)
    verify(prepared, results)


def test_fine_species_can_be_merged_into_coarse_classes(tmp_path):
    lay_out(tmp_path / "data" / "species")
    change = 'data.merge={ animal = ["bird", "fish", "insect", "mammal", "reptile", "spider"] }'
    prepared = prepare(read_competition("species", Workspace(tmp_path), (change,)))
    assert prepared.classes == ("animal", "fungus", "plant")
