"""The embedded default: written once, whole or not at all, as Kaggle would give it."""

from __future__ import annotations

import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.digits import write_digits
from kit.data.prepared import prepare
from kit.runs.fit.crossval import check_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits"
    write_digits(path)
    return path


def test_the_split_is_15_labels_per_class_850_unlabeled_797_test(folder):
    labels = pd.read_csv(folder / "train.csv", dtype=str)
    assert set(labels["label"].value_counts()) == {15} and len(labels) == 150
    counts = {split: len(list((folder / split).iterdir())) for split in ("train", "unlabeled", "test")}
    assert counts == {"train": 150, "unlabeled": 850, "test": 797}


def test_every_digit_is_there_once(folder):
    pictures = [Image.open(path).tobytes() for path in sorted(folder.glob("*/*.png"))]
    assert len(pictures) == 1797
    assert len(set(pictures)) == len({image.tobytes() for image in load_digits().images})


def test_the_sample_names_the_test_images_and_gives_nothing_away(folder):
    sample = pd.read_csv(folder / "sample_submission.csv", dtype=str)
    solution = pd.read_csv(folder / "solution.csv", dtype=str)
    assert list(sample["id"]) == list(solution["id"]) == sorted(path.stem for path in (folder / "test").iterdir())
    assert set(sample["label"]) == {"0"} and len(set(solution["label"])) == 10


def test_a_half_written_folder_is_not_taken_for_the_data(folder, tmp_path):
    (tmp_path / ".digits.1.part").mkdir()
    write_digits(tmp_path / "digits")
    assert (tmp_path / "digits" / "solution.csv").read_bytes() == (folder / "solution.csv").read_bytes()


def test_the_committed_folds_fit_and_every_run_is_accepted(tmp_path):
    prepared = prepare(read_competition("digits", Workspace(tmp_path)))
    committed = HOME.parents[1] / "folds" / "digits.csv"
    assert (tmp_path / "folds" / "digits.csv").read_bytes() == committed.read_bytes()
    for name in prepared.competition.runs:
        check_run(prepared, name)
