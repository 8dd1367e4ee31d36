"""The folds: stratified, grouped, written once, verified every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from kit.competition import Competition
from kit.competition_file import read_competition
from kit.errors import InputError
from kit.files import Workspace
from kit.folds import NO_FOLD, assign_folds, fold_groups, inner, read_folds, scored_folds

TOML = """
[competition]
title = "letters"

[data]
root = "data"
labeled = "train"

[folds]
n = 4
"""


def letters(n_each: int = 12, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, labels and groups of a small set of labelled images, each its own group."""
    labels = np.repeat([chr(97 + code) for code in range(n_classes)], n_each).astype(object)
    ids = np.array([f"{i:05d}" for i in np.random.default_rng(7).permutation(len(labels))], dtype=object)
    return ids, labels, np.arange(len(labels))


def tabulate(ids: np.ndarray, labels: np.ndarray, n_others: int = 0) -> pd.DataFrame:
    """Return an image table of labelled images, and of `n_others` test images."""
    columns = {"id": [*ids, *[f"test{i}" for i in range(n_others)]], "label": [*labels, *[None] * n_others]}
    columns |= {"split": ["labeled"] * len(ids) + ["test"] * n_others, "group": None, "path": ""}
    return pd.DataFrame(columns, dtype=object)


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    """Return a competition with four folds in a workspace of its own."""
    return make_competition(tmp_path)


def make_competition(folder: Path, changes: tuple[str, ...] = ()) -> Competition:
    """Write and read a competition."""
    home = folder / "letters"
    home.mkdir(exist_ok=True)
    (home / "competition.toml").write_text(TOML, encoding="utf-8")
    return read_competition(str(home), Workspace(folder), changes)


def test_every_class_is_spread_over_the_folds_within_one():
    ids, labels, groups = letters(n_each=14)
    folds = assign_folds(ids, labels, groups, 4, seed=0)
    for name in np.unique(labels):
        counts = np.bincount(folds[labels == name], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_images_that_are_alone_are_split_as_scikit_learn_splits_them():
    ids, labels, groups = letters()
    folds = assign_folds(ids, labels, groups, 4, seed=3)
    order = np.argsort(ids)
    splits = StratifiedKFold(4, shuffle=True, random_state=3).split(order, labels[order].astype(str))
    for fold, (_, rows) in enumerate(splits):
        assert set(order[rows]) == set(np.flatnonzero(folds == fold))


@pytest.mark.parametrize("group_size", [1, 2])
def test_shuffled_rows_and_renumbered_groups_give_the_same_folds(group_size):
    ids, labels, groups = letters()
    groups = groups // group_size
    rows = np.random.default_rng(1).permutation(len(ids))
    folds = assign_folds(ids, labels, groups, 4, seed=0)
    again = assign_folds(ids[rows], labels[rows], 1000 - groups[rows], 4, seed=0)
    assert (again == folds[rows]).all()


def test_another_seed_gives_other_folds():
    assert (assign_folds(*letters(), 4, seed=0) != assign_folds(*letters(), 4, seed=1)).any()


def test_groups_never_straddle_and_classes_stay_even():
    ids, labels, _ = letters(n_each=40)
    groups = np.arange(len(ids)) // np.where(np.arange(len(ids)) % 40 < 20, 4, 1)
    folds = assign_folds(ids, labels, groups, 4, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    for name in np.unique(labels):
        assert np.ptp(np.bincount(folds[labels == name], minlength=4)) <= 4


def test_folds_are_lowered_to_what_the_smallest_class_can_fill(capsys):
    labels = np.array(["a"] * 9 + ["b"] * 4, dtype=object)
    groups = np.array([*range(9), 9, 10, 11, 11])
    folds = assign_folds(np.array([f"{i:02d}" for i in range(13)]), labels, groups, 5, seed=0)
    assert set(folds) == {0, 1, 2}
    assert "3 folds instead of 5: class 'b'" in " ".join(capsys.readouterr().err.split())


def test_a_class_of_one_group_is_refused_by_name():
    labels = np.array(["a"] * 4 + ["b"] * 2, dtype=object)
    with pytest.raises(InputError, match="class 'b' has 2 images, all of one group"):
        assign_folds(np.arange(6).astype(str), labels, np.array([0, 1, 2, 3, 4, 4]), 3, seed=0)


def test_given_groups_and_clusters_join_where_they_touch():
    table = pd.DataFrame({"group": ["x", "x", None, "y", None, None]}, dtype=object)
    groups = fold_groups(table, np.array([0, 1, 1, 3, 3, 5]))
    assert groups[0] == groups[1] == groups[2]  # x holds 0 and 1, the cluster holds 1 and 2
    assert groups[3] == groups[4]
    assert len(set(groups.tolist())) == 3


def test_joining_groups_again_changes_nothing():
    table = pd.DataFrame({"group": ["x", "x", None, "y", None, None]}, dtype=object)
    groups = fold_groups(table, np.array([0, 1, 1, 3, 3, 5]))
    assert (fold_groups(table, groups) == groups).all()


def test_folds_are_written_once_sorted_and_read_back(competition):
    ids, labels, groups = letters()
    table = tabulate(ids, labels, n_others=2)
    clusters = np.arange(len(table))
    folds = read_folds(competition, table, clusters)
    file = competition.workspace.folds("letters")
    text = file.read_bytes()
    lines = text.decode().split("\n")
    assert lines[0] == "id,label,fold"
    assert lines[1:-1] == sorted(lines[1:-1])
    assert lines[-1] == "" and b"\r" not in text
    assert (folds[-2:] == NO_FOLD).all()
    assert (folds[: len(ids)] == assign_folds(ids, labels, groups, 4, 0)).all()
    shuffled = table.sample(frac=1, random_state=0)
    again = read_folds(competition, shuffled, clusters)
    assert (again == folds[shuffled.index]).all()
    assert file.read_bytes() == text


def test_awkward_ids_and_labels_survive_the_file(competition):
    labels = np.array(["NA"] * 8 + ['bat, "the" animal '] * 8, dtype=object)
    table = tabulate(np.array([f"{i:03d},x" for i in range(16)], dtype=object), labels)
    folds = read_folds(competition, table, np.arange(16))
    assert (read_folds(competition, table, np.arange(16)) == folds).all()


def test_a_committed_file_is_taken_over(tmp_path):
    ids, labels, _ = letters()
    table = tabulate(ids, labels)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(), ours.mkdir()
    first = make_competition(theirs, ("folds.seed=5",))
    folds = read_folds(first, table, np.arange(len(ids)))
    second = make_competition(ours)
    committed = first.workspace.folds("letters")
    assert (read_folds(second, table, np.arange(len(ids)), committed=committed) == folds).all()
    assert second.workspace.folds("letters").read_bytes() == committed.read_bytes()


@pytest.fixture
def written(competition: Competition) -> tuple[Competition, pd.DataFrame, Path]:
    """Return a competition whose folds are written, its table and its file."""
    ids, labels, _ = letters()
    table = tabulate(np.sort(ids), labels)
    read_folds(competition, table, np.arange(len(table)))
    return competition, table, competition.workspace.folds("letters")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id,label,fold", "id,fold", "the first line must be id,label,fold"),
        ("00003,", "00002,", "row 5: id '00002' is there twice"),
        ("00003,", "09999,", "1 labelled images have no row: 00003"),
        ("00003,a,", "00003,b,", r"labels have changed since: 00003 \('b', now 'a'\)"),
        ("00003,a,", "00003,a,x", "row 5: '00003,a,x"),
        ("00003,a,", "00003,a,7", "but fold 4, 5, 6"),
        (",3\n", ",2\n", "has 3 folds, .folds. n is 4; set n = 3"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(written, old, new, message):
    competition, table, file = written
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(old, new, -1 if "\n" in old else 1), encoding="utf-8")
    with pytest.raises(InputError, match=message) as refusal:
        read_folds(competition, table, np.arange(len(table)))
    assert str(file) in str(refusal.value)
    assert "no earlier CV can be compared" in str(refusal.value)


def test_rows_without_an_image_are_refused_unless_the_image_is_broken(written):
    competition, table, _ = written
    rest = table.drop(index=[4]).reset_index(drop=True)
    clusters = np.arange(len(rest))
    with pytest.raises(InputError, match="1 rows are no labelled images: 00004; bring the images back"):
        read_folds(competition, rest, clusters)
    whole = read_folds(competition, table, np.arange(len(table)))
    assert (read_folds(competition, rest, clusters, broken={"00004"}) == np.delete(whole, 4)).all()


def test_near_duplicates_in_different_folds_are_refused_by_id(written):
    competition, table, _ = written
    folds = read_folds(competition, table, np.arange(len(table)))
    other = int(np.flatnonzero(folds != folds[0])[0])
    clusters = np.arange(len(table))
    clusters[other] = 0
    with pytest.raises(InputError, match=rf"straddle folds.*00000 \(fold {folds[0]}\), {other:05d} \(fold"):
        read_folds(competition, table, clusters)


def test_a_class_that_one_fold_has_to_itself_is_refused(written):
    competition, table, file = written
    lines = file.read_text(encoding="utf-8").splitlines()
    lines = [line[:-1] + "2" if ",a," in line else line for line in lines]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="every image of class 'a' is in fold 2"):
        read_folds(competition, table, np.arange(len(table)))


def test_folds_that_are_not_utf_8_are_refused(written):
    competition, table, file = written
    file.write_bytes(b"\xff" + file.read_bytes())
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        read_folds(competition, table, np.arange(len(table)))


def test_a_single_hold_out_leaves_every_image_its_fold(tmp_path):
    ids, labels, _ = letters()
    competition = make_competition(tmp_path, ("folds.use=[0]",))
    folds = read_folds(competition, tabulate(ids, labels), np.arange(len(ids)))
    assert set(folds) == {0, 1, 2, 3}
    assert scored_folds(competition, folds) == (0,)
    with pytest.raises(InputError, match=r"use = \[0\].* has no fold 0"):
        scored_folds(competition, np.array([1, 2]))


def test_all_folds_are_scored_by_default(competition):
    assert scored_folds(competition, np.array([1, 0, 2, NO_FOLD])) == (0, 1, 2)


def test_inner_holds_out_a_fifth_of_each_class_and_no_group_in_part():
    labels = np.repeat([0, 1, 2], [40, 20, 10])
    groups = np.arange(70) // 2
    train, hold_out = inner(labels, groups, seed=0)
    assert sorted([*train, *hold_out]) == list(range(70))
    assert np.bincount(labels[hold_out]).tolist() == [8, 4, 2]
    assert not set(groups[train]) & set(groups[hold_out])


def test_inner_leaves_every_class_an_image_to_train_on():
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2, 2])
    train, hold_out = inner(labels, np.arange(10), seed=0, share=0.9)
    assert set(labels[train]) == {0, 1, 2}
    assert 0 not in labels[hold_out]


def test_inner_counts_by_weight():
    labels, weights = np.zeros(12, dtype=int), np.array([1.0] * 10 + [5.0] * 2)
    _, hold_out = inner(labels, np.arange(12), seed=0, share=0.25, weights=weights)
    assert abs(weights[hold_out].sum() - 5) <= 2.5


def test_inner_is_the_same_every_time_and_another_with_another_seed():
    labels, groups = np.repeat([0, 1], 50), np.arange(100)
    assert (inner(labels, groups, seed=0)[1] == inner(labels, groups, seed=0)[1]).all()
    assert not np.array_equal(inner(labels, groups, seed=0)[1], inner(labels, groups, seed=1)[1])
