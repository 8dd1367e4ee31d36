"""Look-alikes: groups that follow the features, folds that keep them whole, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from kit.cli import main
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.look_alikes import group_alike, keep_together
from kit.data.folds.file import group_file, read_groups
from kit.data.prepared import prepare

N_LABELED, N_IMAGES, N_BURSTS = 18, 39, 3
RUNS = """
[runs.forest]
model = "forest"
n_trees = 5

[runs.probe]
model = "linear_probe"
encoder = "given"
"""


def spread_bursts(n_images: int, seed: int = 0) -> np.ndarray:
    """Return features (n_images, 16) of unit length: of neighbouring sixes, every third image is of one burst."""
    draws = np.random.default_rng(seed)
    place = np.arange(n_images)
    centres = draws.normal(size=(n_images // 6 + 1, N_BURSTS, 16))[place // 6, place % N_BURSTS]
    values = centres + 0.05 * draws.normal(size=(n_images, 16))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def bursts(colours):
    """The competition `colours`, whose images of a class are three bursts of two by the features given."""
    competition = colours(RUNS, data='embeddings = "embeddings.npy"')
    np.save(competition.root / "embeddings.npy", spread_bursts(N_IMAGES))
    return competition


def test_groups_are_the_bursts_of_each_class():
    values, labels = spread_bursts(18), np.repeat(np.arange(3), 6)
    groups = group_alike(values, labels, N_BURSTS, ("a", "b", "c"))
    assert groups.tolist() == np.tile(np.arange(N_BURSTS), 6).tolist()


def test_groups_do_not_depend_on_the_order_of_the_images():
    values, labels = spread_bursts(18), np.repeat(np.arange(3), 6)
    order = np.random.default_rng(1).permutation(18)
    groups, shuffled = group_alike(values, labels, 3, ()), group_alike(values[order], labels[order], 3, ())
    same = (groups[:, None] == groups) & (labels[:, None] == labels)
    assert np.array_equal(same[np.ix_(order, order)], (shuffled[:, None] == shuffled) & same[np.ix_(order, order)])


def test_a_small_class_keeps_two_groups_so_that_it_can_be_scored():
    assert set(group_alike(spread_bursts(3), np.zeros(3, dtype=int), 6, ("a",))) == {0, 1}


def test_bursts_stay_in_one_fold_from_then_on(bursts):
    kept = keep_together(bursts, N_BURSTS)
    again = prepare(bursts)
    assert kept.n_groups == 3 * N_BURSTS and np.array_equal(again.folds, kept.prepared.folds)
    burst = np.arange(N_LABELED) // 6 * N_BURSTS + np.arange(N_LABELED) % N_BURSTS
    assert all(len(set(again.folds[burst == number])) == 1 for number in range(9))
    assert len(set(again.pool.groups[again.labeled])) == 9


def test_bursts_that_share_a_duplicate_are_one_group(bursts):
    train = bursts.root / "train" / "blue"
    shutil.copy(train / "00001.png", train / "00002.png")
    kept = keep_together(bursts, N_BURSTS)
    assert len(set(kept.prepared.pool.groups[:N_LABELED])) == 3 * N_BURSTS - 1


def test_folds_that_are_there_are_not_regrouped(bursts):
    prepare(bursts)
    with pytest.raises(InputError, match=r"folds/colours\.csv: is there already; delete the file to assign new folds"):
        keep_together(bursts, N_BURSTS)
    assert not group_file(bursts).exists()


def test_an_image_without_a_group_is_named(bursts):
    keep_together(bursts, N_BURSTS)
    lines = group_file(bursts).read_text().splitlines(keepends=True)
    group_file(bursts).write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match=r"groups\.csv: 1 labelled images have no group: 00018; give each a line"):
        prepare(bursts)


def test_a_competition_without_an_encoder_is_refused_before_folds_are_made(colours):
    competition = colours()
    with pytest.raises(InputError, match="no run has an encoder to compare images by"):
        keep_together(competition, 3)
    assert not competition.workspace.folds("colours").exists()


def test_the_command_says_what_keeping_look_alikes_together_changes(bursts, capsys, monkeypatch):
    words = ["folds", "colours", "--alike", "3", "--workspace", str(bursts.workspace.root), "--json", "--quiet"]
    monkeypatch.setattr("sys.argv", ["kit", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    output = json.loads(capsys.readouterr().out)["alike"]
    assert output["n_groups"] == 9 and 0 <= output["grouped"]["score"] <= output["plain"]["score"] <= 1


def test_groups_that_leave_no_folds_are_refused_before_anything_is_written(bursts, monkeypatch):
    monkeypatch.setattr(
        "kit.curate.look_alikes.group_alike", lambda values, labels, n_groups, classes: np.zeros_like(labels)
    )
    with pytest.raises(InputError, match="all of one group or near-duplicates"):
        keep_together(bursts, N_BURSTS)
    assert not group_file(bursts).exists() and not bursts.workspace.folds("colours").exists()


def test_folds_that_came_with_the_kit_are_not_regrouped(tmp_path):
    with pytest.raises(InputError, match=r"folds/digits\.csv: the folds came with the kit"):
        keep_together(read_competition("digits", Workspace(tmp_path)), 6)
    assert not (tmp_path / "folds").exists()


def test_groups_that_came_with_the_folds_are_taken_over_with_them(bursts, tmp_path):
    keep_together(bursts, N_BURSTS)
    kept = tmp_path / "kept"
    kept.mkdir()
    for file in (bursts.workspace.folds("colours"), group_file(bursts)):
        shutil.move(file, kept / file.name)
    table = pd.DataFrame({"id": ["00001", "00002"], "split": "labeled"})
    groups_read = read_groups(bursts, table, committed=kept / "colours.csv")
    assert groups_read.tolist() == ["blue 0", "blue 1"] and group_file(bursts).exists()
