"""Mining: labels from exemplars, by matrix products that agree with plain cosines; nothing of the test is mined."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity

from kit.cli import main
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.mining import mine_labels
from kit.curate.mining.labels import write_labels, write_mined
from kit.curate.mining.similarity import find_nearest
from kit.data.prepared import prepare
from kit.report.board import leaderboard, render_board
from kit.runs.fit.crossval import crossval

NAMES = ("cat", "dog")
N_IMAGES = 24  # image i shows NAMES[i % 3], or neither
TOML = """
[competition]
title = "animals"

[data]
root = "data/animals"
labeled = {{ csv = "mined.csv", images = "images" }}
unlabeled = {{ csv = "images.csv", images = "images" }}
test = {{ csv = "sample_submission.csv", images = "images" }}
sample_submission = "sample_submission.csv"
embeddings = "embeddings.npy"
labels_are_mined = true

[mining]
exemplars = {exemplars}
thresholds = [0.5, 0.9]
{mining}

[folds]
n = 2

[runs.probe]
model = "linear_probe"
encoder = "given"
"""
MINING = '[mining]\nexemplars = {exemplars}\nencoder = "given"\nthreshold = -1.0\nthresholds = [-1.0]'
TWO = '{ blue = "00019", green = "00020" }'


def lay_out(root):
    """Write images, their embeddings and a sample submission that asks for the last five."""
    draws = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    for i in range(N_IMAGES):
        Image.fromarray(draws.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(root / "images" / f"{i:03d}.png")
    centres = np.eye(4)[:3]
    embeddings = centres[np.arange(N_IMAGES) % 3] + draws.normal(0, 0.1, (N_IMAGES, 4))
    order = draws.permutation(N_IMAGES)  # the listing's order is the array's, and neither is sorted
    np.save(root / "embeddings.npy", 3 * embeddings[order])
    write_rows(root / "images.csv", [("id",), *((f"{i:03d}",) for i in order)])
    sample = [("id", *NAMES), *((f"{i:03d}", 0, 0) for i in range(N_IMAGES - 5, N_IMAGES))]
    write_rows(root / "sample_submission.csv", sample)


def write_rows(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def animals(tmp_path):
    """Return a function that makes the competition `animals` in a workspace of its own."""

    def make(exemplars='{ cat = "000", dog = ["001", "004"] }', mining="threshold = 0.5"):
        if not (tmp_path / "data").exists():
            lay_out(tmp_path / "data" / "animals")
        folder = tmp_path / "competitions" / "animals"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "competition.toml").write_text(TOML.format(exemplars=exemplars, mining=mining))
        return read_competition("animals", Workspace(tmp_path))

    return make


def refusal(competition):
    with pytest.raises(InputError) as refused:
        mine_labels(competition)
    return str(refused.value)


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs one command in this process and gives all it says."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["kit", *arguments, "--workspace", str(tmp_path)])
        with pytest.raises(SystemExit):
            main()
        streams = capsys.readouterr()
        return " ".join((streams.out + streams.err).split())

    return call


def test_each_image_gets_the_class_of_its_nearest_exemplar(animals):
    mined = mine_labels(animals())
    assert {(image_id, label) for image_id, label, _ in mined.rows(0.5)} == {
        (f"{i:03d}", NAMES[i % 3]) for i in range(N_IMAGES - 5) if i % 3 < 2 and i not in (0, 1, 4)
    }


def test_below_the_threshold_it_is_none_of_these(animals):
    none = {f"{i:03d}" for i in range(N_IMAGES - 5) if i % 3 == 2}
    mined = mine_labels(animals())
    assert none <= set(mined.ids) - {row[0] for row in mined.rows(0.5)}
    assert mined.rows(1.0) == []


def test_an_exemplar_is_no_label_and_a_test_image_is_not_mined(animals):
    mined = mine_labels(animals(exemplars='{ cat = "000", dog = "022" }'))  # the second is a test image
    assert set(mined.ids) == {f"{i:03d}" for i in range(1, N_IMAGES - 5)}


def test_a_copy_of_a_test_image_under_another_name_is_not_mined(animals, capsys):
    competition = animals()
    images = competition.root / "images"
    shutil.copy(images / "019.png", images / "003.png")
    assert "003" not in mine_labels(competition).ids
    assert "1 unlabelled images have the id or the bytes of a test image" in " ".join(capsys.readouterr().err.split())


def test_a_file_beside_the_pool_can_be_an_exemplar(animals):
    competition = animals('{ cat = "shown/cat.png", dog = "001" }', 'encoder = "given"')
    (competition.root / "shown").mkdir()
    Image.new("RGB", (12, 12), "red").save(competition.root / "shown" / "cat.png")
    assert "gave no embedding of exemplar 'shown/cat.png'" in refusal(competition)  # found, but not embedded


def test_exemplars_may_stand_in_a_csv(animals):
    competition = animals('"exemplars.csv"')
    write_rows(competition.root / "exemplars.csv", [("id", "label"), ("000", "cat"), ("001", "dog"), ("004", "dog")])
    assert mine_labels(competition).rows(0.5) == mine_labels(animals()).rows(0.5)


def test_a_higher_threshold_takes_a_part_and_the_sweep_counts_it(animals):
    mined = mine_labels(animals())
    low, high = mined.sweep()
    assert set(mined.rows(0.9)) <= set(mined.rows(0.5)) and high["mined"] <= low["mined"]
    for row in (low, high):
        assert sum(row["per_class"].values()) == row["mined"] == len(mined.ids) - row["none"]


def test_images_below_the_floor_are_no_neighbours_and_keep_their_similarity():
    draws = np.random.default_rng(0)
    values = draws.normal(size=(50, 4)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    whole, above = (find_nearest(values, values[:2], np.array([0, 1]), 20, floor) for floor in (-1.0, 0.6))
    assert np.array_equal(whole.cosine, above.cosine)
    assert np.array_equal(above.is_mutual, whole.is_mutual & (whole.cosine >= 0.6))


def test_mutual_neighbours_are_the_nearest_of_each_other():
    values = np.array([[1, 0], [0.99, 0.14], [0.96, 0.28], [0, 1]], dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    exemplars = np.array([[1, 0], [0.28, 0.96]], dtype=np.float32)
    nearest = find_nearest(values, exemplars, np.array([0, 1]), n_neighbors=1)
    assert nearest.codes.tolist() == [0, 0, 0, 1]
    assert nearest.is_mutual.tolist() == [True, False, False, True]


def test_only_mutual_neighbours_are_mined_on_request(animals):
    everyone, mutual = (
        mine_labels(animals()),
        mine_labels(animals(mining="threshold = 0.5\nmutual = true\nn_neighbors = 2")),
    )
    assert 0 < mutual.sweep()[0]["mined"] == mutual.sweep()[0]["mutual"] < everyone.sweep()[0]["mined"]


@pytest.mark.parametrize("n_images", [3, 100, 5000])
def test_similarities_agree_with_scikit_learn(n_images):
    draws = np.random.default_rng(n_images)
    values, exemplars = (draws.normal(size=(n, 16)).astype(np.float32) for n in (n_images, 7))
    codes = np.array([0, 0, 1, 1, 1, 2, 2])
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (values, exemplars)]
    nearest = find_nearest(*unit, codes, n_neighbors=5)
    all_pairs = cosine_similarity(values, exemplars)
    per_class = np.sort(np.stack([all_pairs[:, codes == code].max(axis=1) for code in range(3)], axis=1), axis=1)
    assert nearest.cosine == pytest.approx(per_class[:, 2], abs=1e-5)
    assert nearest.runner_up == pytest.approx(per_class[:, 1], abs=1e-5)
    assert np.array_equal(nearest.codes, codes[all_pairs.argmax(axis=1)])


@pytest.mark.parametrize(
    ("exemplars", "message"),
    [
        (
            '{ cat = "0000", dog = "001" }',
            r"exemplar '0000' of class 'cat' is not in the image table.* mean '000'",
        ),
        ('{ cat = "000", dgo = "001" }', "'dgo' is no class; did you mean 'dog'"),
        ('{ cat = "000", dog = "000" }', "'000' stands for 'cat' and 'dog'"),
        ('{ cat = "000", dog = [] }', "names no image"),
        ('{ cat = "000" }', "two classes or more"),
        ('"none.csv"', "'none.csv' is not in"),
        ("3", "exemplars"),
    ],
)
def test_a_wrong_exemplar_is_named(animals, exemplars, message):
    with pytest.raises(InputError, match=message):
        mine_labels(animals(exemplars))


def test_an_exemplar_that_cannot_be_read_is_named(animals):
    competition = animals()
    (competition.root / "images" / "000.png").write_bytes(b"no image at all" * 10)
    assert "exemplars.cat" in (text := refusal(competition)) and "000.png cannot be read" in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((N_IMAGES - 1, 4)), r"24 rows are not the 23 of .*embeddings\.npy"),
        (np.full((N_IMAGES, 4), np.nan), "is not finite"),
        (np.zeros((N_IMAGES, 4)), "is all zero"),
    ],
)
def test_embeddings_that_say_nothing_or_fit_nothing_are_refused(animals, values, message):
    competition = animals()
    np.save(competition.root / "embeddings.npy", values)
    with pytest.raises(InputError, match=message):
        mine_labels(competition)


def test_a_competition_without_exemplars_says_what_to_write(colours):
    assert "no table [mining]; write one with exemplars" in refusal(colours())


def test_every_threshold_leaves_labels_a_contact_sheet_and_its_counts(animals):
    mined = mine_labels(animals(mining="threshold = 0.5\nmutual = false"))
    folder = write_mined(mined)
    assert sorted(file.name for file in folder.iterdir()) == ["0.5.csv", "0.5.png", "0.9.csv", "0.9.png", "sweep.json"]
    with open(folder / "0.5.csv", newline="") as file:
        assert [tuple(row) for row in csv.reader(file)] == [("id", "label", "similarity"), *mined.rows(0.5)]
    assert json.loads((folder / "sweep.json").read_text()) == mined.sweep()
    with Image.open(folder / "0.9.png") as sheet:
        assert sheet.size[0] > 1000


def test_a_contact_sheet_of_many_classes_shows_those_that_gain_most(tmp_path, animals):
    mined = mine_labels(animals())
    named = tuple(f"class {number}" for number in range(500))
    shown = {name: [mined.paths[0]] for name in named}
    write_mined(replace(mined, classes=named, exemplar_paths=shown))
    with Image.open(tmp_path / "runs" / "animals" / "mined" / "0.5.png") as sheet:
        assert sheet.size[1] < 20_000


def test_a_threshold_that_keeps_nothing_says_how_near_the_nearest_is(animals, capsys):
    write_mined(mine_labels(animals(mining="threshold = 1.0")))
    assert "threshold 1 labels nothing; the nearest image is at 0." in " ".join(capsys.readouterr().err.split())


def test_runs_learn_from_mined_labels_and_their_score_is_called_agreement(animals):
    competition = animals()
    write_labels(mine_labels(competition))
    prepared = prepare(competition)
    assert prepared.classes == NAMES
    assert not set(prepared.pool.ids[prepared.labeled]) & {"000", "001", "004"}
    assert not set(prepared.pool.ids[prepared.labeled]) & set(prepared.pool.ids[prepared.split("test")])
    result = crossval(prepared, "probe")
    assert result.record.cv == 1
    table = render_board(prepared, leaderboard(prepared, [result], {}), 120)
    assert "agreement ± SE" in [column.header for column in table.columns]
    assert "on mined labels" in str(table.title)


def test_labels_that_were_not_mined_yet_are_asked_for(animals):
    with pytest.raises(InputError, match=r"no labels have been mined yet; \./run\.sh mine animals --write"):
        prepare(animals())


def test_mining_again_with_another_threshold_warns_of_the_folds(animals, capsys):
    write_labels(mine_labels(animals()))
    prepare(animals())
    write_labels(mine_labels(animals()))
    assert "was made for other labels" not in capsys.readouterr().err
    write_labels(mine_labels(animals(mining="threshold = 0.95")))
    assert "animals.csv was made for other labels" in " ".join(capsys.readouterr().err.split())


def test_a_file_that_was_not_mined_is_never_overwritten(animals):
    competition = animals()
    file = competition.root / "mined.csv"
    file.write_text("id,label\n000,cat\n")
    with pytest.raises(InputError, match=r"was not mined \(its columns are id, label\)"):
        write_labels(mine_labels(competition))
    assert file.read_text() == "id,label\n000,cat\n"


def test_too_few_labels_of_a_class_are_refused_before_they_are_written(animals):
    competition = animals(mining="threshold = 0.9999")
    with pytest.raises(InputError, match=r"too few images of 'cat' \(\d\)"):
        write_labels(mine_labels(competition))
    assert not (competition.root / "mined.csv").exists()


def test_labels_are_only_written_where_the_competition_says_they_are_mined(animals):
    competition = animals()
    data = competition.data.model_copy(update={"labels_are_mined": False})
    other = replace(mine_labels(competition), competition=competition.model_copy(update={"data": data}))
    with pytest.raises(InputError, match="labels_are_mined = true"):
        write_labels(other)


@pytest.mark.parametrize("json_asked", [False, True])
def test_the_command_shows_the_sweep(animals, tmp_path, monkeypatch, capsys, json_asked):
    animals()
    arguments = ["kit", "mine", "animals", "--write", "--workspace", str(tmp_path), *(["--json"] * json_asked)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    streams = capsys.readouterr()
    assert ended.value.code == 0, streams.err
    if json_asked:
        document = json.loads(streams.out)
        assert [row["threshold"] for row in document["thresholds"]] == [0.5, 0.9]
        assert document["labels"] == str(tmp_path / "data" / "animals" / "mined.csv")
    else:
        assert "none of these" in streams.out and "cat" in streams.out


def test_mined_labels_that_nothing_would_read_are_refused_before_the_work(embedded, kit, tmp_path):
    embedded("", MINING.format(exemplars=TWO))
    message = kit("mine", "colours", "--write")
    assert 'labeled = { csv = "mined.csv", images = "unlabeled" } and labels_are_mined = true' in message
    assert not (tmp_path / "runs" / "colours" / "mined").exists()


def test_a_missing_csv_of_exemplars_is_a_matter_of_mining(embedded):
    with pytest.raises(InputError, match=r"\[mining\] exemplars = 'shown\.csv': 'shown\.csv' is not in"):
        mine_labels(embedded("", MINING.format(exemplars='"shown.csv"')))


def test_exemplars_without_embeddings_name_the_key_that_asks_for_them(embedded):
    competition = embedded("", MINING.format(exemplars=TWO), data="")
    with pytest.raises(InputError, match=r'\[mining\] encoder = "given" \(the default\).*name an encoder'):
        mine_labels(competition)


def test_a_score_on_mined_labels_is_called_agreement_wherever_it_is_printed(embedded, kit):
    competition = embedded('[runs.probe]\nmodel = "linear_probe"\nencoder = "given"', MINING.format(exemplars=TWO))
    names = sorted(path.stem for path in (competition.root / "unlabeled").iterdir())
    (competition.root / "pool.csv").write_text("\n".join(["id", *names]))
    np.save(competition.root / "embeddings.npy", np.random.default_rng(0).normal(size=(len(names), 8)))
    toml = competition.folder / "competition.toml"
    text, listing = toml.read_text(), '{{ csv = "{}.csv", images = "unlabeled" }}'
    text = text.replace('labeled = "train"\nun', f"labels_are_mined = true\nlabeled = {listing.format('mined')}\nun")
    text = text.replace('unlabeled = "unlabeled"', f"unlabeled = {listing.format('pool')}")
    toml.write_text(re.sub("(test|sample_submission|solution) = .*", "", text))
    kit("mine", "colours", "--write")
    message = kit("train", "colours") + kit("ensemble", "colours")
    assert message.count("agreement 0.") + message.count("agreement 1.") >= 3 and "CV" not in message
