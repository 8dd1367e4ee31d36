"""The competition characters: mined from one exemplar per class, on a tiny look-alike of its data."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.curate.mining import mine_labels
from kit.curate.mining.labels import write_labels
from kit.data.prepared import prepare
from kit.kaggle.submission.write import make_submission
from kit.runs.train import train_runs

NAMES = ("first", "second", "third")
N_IMAGES = 80  # image i shows NAMES[i % 4], or none of these


def lay_out(root: Path) -> None:
    """Write images, the given features in the listing's order, an exemplar per class and a sample submission."""
    draws = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    for i in range(N_IMAGES):
        Image.fromarray(draws.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(root / "images" / f"{i:05d}.jpg")
    order = draws.permutation(N_IMAGES)
    features = np.eye(512)[:4][np.arange(N_IMAGES) % 4] + draws.normal(0, 0.02, (N_IMAGES, 512))
    np.save(root / "embeddings.npy", features[order].astype(np.float32))

    def write(name: str, rows: list[tuple[object, ...]]) -> None:
        with open(root / name, "w", newline="") as file:
            csv.writer(file).writerows(rows)

    write("images.csv", [("id",), *((f"{i:05d}",) for i in order)])
    write("exemplars.csv", [("id", "label"), *((f"{i:05d}", name) for i, name in enumerate(NAMES))])
    write("sample_submission.csv", [("id", *NAMES), *((f"{i:05d}", 0, 0, 0) for i in range(60, N_IMAGES))])


@pytest.fixture
def competition(tmp_path):
    lay_out(tmp_path / "data" / "characters")
    return read_competition("characters", Workspace(tmp_path), ("folds.n=2",))


def test_from_an_exemplar_per_class_to_a_submission(competition, tmp_path):
    mined = mine_labels(competition)
    rows = pd.read_csv(write_labels(mined), dtype=str)
    assert set(zip(rows["id"], rows["label"], strict=True)) == {
        (f"{i:05d}", NAMES[i % 4]) for i in range(3, 60) if i % 4 < 3
    }
    prepared = prepare(competition)
    names = ["probe_given", "prototypes_given", "spreading_given", "self_training_given", "clusters_given"]
    results, skipped = train_runs(prepared, names, strict=True)
    assert not skipped and [result.record.cv for result in results] == [1.0] * len(names)
    sent = pd.read_csv(make_submission(prepared, results[0]), dtype={"id": str}).set_index("id")
    predicted = {int(image_id): row.idxmax() if row.any() else None for image_id, row in sent.iterrows()}
    assert all(predicted[i] is None for i in range(60, N_IMAGES) if i % 4 == 3)  # zeros
    known = [i for i in range(60, N_IMAGES) if i % 4 < 3]
    assert all(predicted[i] in (NAMES[i % 4], None) for i in known) and sum(predicted[i] is None for i in known) <= 2


def test_the_published_thresholds_are_swept_and_the_best_is_used(competition):
    assert competition.mining.thresholds == [0.7, 0.75, 0.8] and competition.mining.threshold == 0.7
    assert [row["threshold"] for row in mine_labels(competition).sweep()] == [0.7, 0.75, 0.8]


def test_the_same_labels_are_mined_from_one_exemplar_as_from_two_of_a_heap(competition):
    file = competition.root / "exemplars.csv"
    before = mine_labels(competition)
    file.write_text(file.read_text() + "00004,first\n")
    after = {row[:2] for row in mine_labels(competition).rows(0.7)}
    assert after == {row[:2] for row in before.rows(0.7)} - {("00004", "first")}
