"""The competition food11: its README's script, run on look-alikes of both forms of the data, and its runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.clips import TINY_CLIP

from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.features.prompts import read_prompts
from kit.kaggle.submission.write import make_submission
from kit.runs.train import train_runs

CLASSES = (
    "Bread", "Dairy product", "Dessert", "Egg", "Fried food", "Meat", "Noodles-Pasta", "Rice", "Seafood", "Soup",
    "Vegetable-Fruit",
)  # fmt: skip
LISTS = ("crafted", "visual")
PER_CLASS = 60  # images to train on; one in twenty keeps its label


def lay_out(root: Path, in_folders: bool) -> None:
    """Write images in one of the two forms in which the data are given out, then run the README's script on them."""
    draws = np.random.default_rng(0)
    for folder, n_images in (("training", PER_CLASS), ("validation", 2)):
        for code, name in enumerate(CLASSES):
            for i in range(n_images):
                path = root / folder / (f"{name}/{i}.jpg" if in_folders else f"{code}_{i}.jpg")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    text = (HOME / "food11" / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    subprocess.run([sys.executable, "-c", script.replace("0.05", "0.15")], cwd=root, check=True)


@pytest.fixture(params=[False, True], ids=["numbered", "folders"])
def prepared(tmp_path, request) -> Prepared:
    lay_out(tmp_path / "data" / "food11", request.param)
    return prepare(read_competition("food11", Workspace(tmp_path), ("folds.n=2",)))


def test_the_readme_lays_out_either_form_of_the_data_and_a_run_gives_a_submission(prepared):
    assert prepared.classes == CLASSES
    n_labeled = round(0.15 * PER_CLASS * len(CLASSES))
    counts = [len(prepared.split(split)) for split in ("labeled", "unlabeled", "test")]
    assert counts == [n_labeled, PER_CLASS * len(CLASSES) - n_labeled, 2 * len(CLASSES)]
    changes = (f"runs.probe.encoder={TINY_CLIP}", "folds.n=2")
    workspace = prepared.competition.workspace
    tiny = prepare(read_competition("food11", workspace, changes))
    (result,), _ = train_runs(tiny, ["probe"], strict=True)
    assert make_submission(tiny, result).read_text().splitlines()[0] == "id,label"


@pytest.mark.parametrize("name", LISTS)
def test_a_word_list_says_several_words_for_each_class(name):
    prompts = read_prompts(HOME / "food11" / "prompts", name, CLASSES)
    assert len(prompts.words) == len(CLASSES) and min(map(len, prompts.words)) >= 2


def test_no_word_stands_for_two_classes():
    for name in LISTS:
        words = [word for words in read_prompts(HOME / "food11" / "prompts", name, CLASSES).words for word in words]
        assert len(words) == len(set(words))


def test_the_published_network_sees_128_pixels_with_and_without_pretrained_weights(tmp_path):
    competition = read_competition("food11", Workspace(tmp_path))
    names = ("effnet_scratch", "effnet_pretrained", "effnet_self_trained")
    published = [competition.run(name).options for name in names]
    assert [prompt_list["image_size"] for prompt_list in published] == [128, 128, 128]
    assert [prompt_list.get("pretrained", True) for prompt_list in published] == [False, True, True]


def test_the_self_trained_network_differs_from_the_pretrained_one_by_its_pseudo_labels_alone(tmp_path):
    competition = read_competition("food11", Workspace(tmp_path))
    plain, taught = (competition.run(name).options for name in ("effnet_pretrained", "effnet_self_trained"))
    assert taught == plain | {"semi": "self_training", "join_epoch": 7}
