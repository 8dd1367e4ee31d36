"""The competition inf473v: its classes, its word lists and its runs, on a tiny look-alike of its data."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.clips import TINY_CLIP

from kit.config.competition import HOME, Competition
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.features.prompts import read_prompts
from kit.features.weights import parse_encoder
from kit.kaggle.submission.write import make_submission
from kit.runs.store.build import build_model
from kit.runs.train import train_runs

CLASSES = (
    "Conestoga wagon", "Entoloma lividum", "Habenaria_bifolia", "Rhododendron viscosum", "Rhone wine",
    "Salvelinus fontinalis", "bat", "bearberry", "black-tailed deer ", "brick red", "carbine", "ceriman",
    "control room", "cotton candy", "couscous", "cupola", "damask violet", "digital subscriber line", "drawing room",
    "duckling", "ethyl alcohol", "flash", "florist", "floss", "gift shop", "gosling", "grenadine", "guava", "hammer",
    "kingfish", "organ loft", "peahen", "pinwheel", "platter", "plunge", "shovel", "silkworm", "snowboard",
    "spiderwort", "squash racket", "steering wheel", "swamp chestnut oak", "toadstool", "tragopan", "veloute",
    "vintage", "waldmeister", "zinfandel",
)  # fmt: skip
LISTS = ("crafted", "visual")
CONTEXT_LENGTH = 77  # tokens that CLIP's text tower reads, with the two that begin and end a text


def lay_out(root: Path) -> None:
    """Write what Kaggle gives, with four small images per class whose names repeat in every class."""
    draws = np.random.default_rng(0)

    def save(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)

    for name in CLASSES:
        for i in range(4):
            save(root / "train" / name / f"{i:06d}.jpg")
    tests = ["01zQ", "9aX", "b0"]
    for image_id in tests:
        save(root / "unlabelled" / f"u{image_id}.jpg")
        save(root / "test" / f"{image_id}.jpg")
    with open(root / "sample_submission.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *((image_id, "bat") for image_id in tests)])


@pytest.fixture
def read(tmp_path):
    """Return a function that reads the committed competition over the look-alike."""

    def make(*changes: str) -> Competition:
        if not (tmp_path / "data").exists():
            lay_out(tmp_path / "data" / "inf473v")
        return read_competition("inf473v", Workspace(tmp_path), ("folds.n=2", *changes))

    return make


@pytest.fixture
def prepared(read) -> Prepared:
    return prepare(read())


def test_the_classes_are_the_folders_with_their_spaces_and_underscores(prepared):
    assert prepared.classes == CLASSES
    assert [np.bincount(prepared.labels[prepared.folds == fold]).tolist() for fold in (0, 1)] == [[2] * 48] * 2
    counts = [len(prepared.split(split)) for split in ("labeled", "unlabeled", "test")]
    assert counts == [192, 3, 3]


def test_five_folds_are_the_default_and_the_published_hold_out_is_one_of_them(tmp_path):
    competition = read_competition("inf473v", Workspace(tmp_path))
    assert (competition.folds.n, competition.folds.use) == (5, None)
    published = read_competition("inf473v", Workspace(tmp_path), ("folds.use=[0]",))
    assert published.folds.use == [0]


@pytest.mark.parametrize("name", LISTS)
def test_a_word_list_says_several_words_for_each_class(name):
    prompts = read_prompts(HOME / "inf473v" / "prompts", name, CLASSES)
    assert len(prompts.words) == 48 and min(map(len, prompts.words)) >= 2
    assert any("stable diffusion" in template for template in prompts.templates)


def test_the_word_lists_share_no_word():
    lists = [read_prompts(HOME / "inf473v" / "prompts", name, CLASSES) for name in LISTS]
    crafted, visual = ({word for words in prompts.words for word in words} for prompts in lists)
    assert not crafted & visual


@pytest.mark.parametrize("name", ["names", *LISTS])
def test_no_prompt_is_longer_than_clip_reads(name):
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    prompts = read_prompts(HOME / "inf473v" / "prompts", name, CLASSES)
    for code in range(len(CLASSES)):
        for prompt in prompts.prompts(code):
            assert len(tokenizer.encode(prompt)) + 2 <= CONTEXT_LENGTH, prompt


def test_every_run_has_options_that_its_model_takes(prepared):
    competition = prepared.competition
    for run in competition.runs.values():
        model = build_model(competition, run)
        for name in model.prompt_lists:
            read_prompts(prepared.pool.prompts, name, CLASSES)


def test_every_encoder_is_one_that_its_library_publishes(read):
    import timm

    open_clip = pytest.importorskip("open_clip")

    for run in read().runs.values():
        spec = parse_encoder(run.options["encoder"])
        if spec.library == "open_clip":
            assert (spec.name, spec.tag) in open_clip.list_pretrained()
        else:
            assert timm.is_model_pretrained(spec.name)


def test_the_published_grid_is_sixteen_runs_that_only_its_name_trains(read):
    competition = read()
    grid = competition.runs_of("b16_grid")
    assert len(grid) == 16 and {"b16_grid_1e-5_0_none", "b16_grid_1e-7_1e-1_light"} <= set(grid)
    assert not set(grid) & set(competition.default_runs)
    settings = {tuple(competition.run(name).options[key] for key in ("lr", "weight_decay", "augment")) for name in grid}
    assert len(settings) == 16 and {lr for lr, _, _ in settings} == {1e-5, 1e-7}


def test_the_members_of_the_ensemble_are_runs(read):
    competition = read()
    assert set(competition.ensemble.members) <= set(competition.runs)


def test_the_trailing_space_survives_from_the_folder_to_the_submission(read):
    competition = read(f"runs.probe.encoder='{TINY_CLIP}'", f"runs.zero_shot_names.encoder='{TINY_CLIP}'")
    prepared = prepare(competition)
    results, _ = train_runs(prepared, ["probe", "zero_shot_names"], strict=True)
    for result in results:
        assert result.predictions("test").classes == CLASSES
    path = make_submission(prepared, results[0])
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "label"] and [image_id for image_id, _ in rows] == ["01zQ", "9aX", "b0"]
    assert {label for _, label in rows} <= set(CLASSES)
