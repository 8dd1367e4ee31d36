"""The folds: stratified, grouped, the same every time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold
from support.draws import draw_label_sets
from support.letters import letters, make_competition

from kit.core.errors import InputError
from kit.data.folds import NO_FOLD, assign_folds, assign_label_set_folds, fold_groups, inner, scored_folds


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


def test_all_folds_are_scored_by_default(tmp_path):
    competition = make_competition(tmp_path)
    assert scored_folds(competition, np.array([1, 0, 2, NO_FOLD])) == (0, 1, 2)


def test_a_scored_fold_that_is_not_there_is_refused(tmp_path):
    competition = make_competition(tmp_path, ("folds.use=[0]",))
    with pytest.raises(InputError, match=r"use = \[0\].* has no fold 0; choose among 1, 2"):
        scored_folds(competition, np.array([1, 2]))


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


def test_folds_spread_every_class_and_keep_groups_whole():
    hot, ids = draw_label_sets(), np.array([f"{i:03d}" for i in range(200)])
    groups = np.repeat(np.arange(100), 2)
    folds = assign_label_set_folds(ids, hot, groups, 5, seed=0)
    counts = np.stack([hot[folds == fold].sum(axis=0) for fold in range(5)])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 3).all() and np.ptp(np.bincount(folds)) <= 8
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    shuffled = np.random.default_rng(1).permutation(200)
    again = assign_label_set_folds(ids[shuffled], hot[shuffled], groups[shuffled], 5, seed=0)
    assert (again == folds[shuffled]).all()


def test_a_hold_out_leaves_every_class_an_image():
    hot = draw_label_sets(60)
    kept, held_out = inner(hot, np.arange(60), seed=0)
    assert hot[kept].any(axis=0).all() and len(held_out) > 5


def whales() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, labels and groups: a class with one image, which shares its group with an image of another class."""
    labels = np.array(["a"] * 6 + ["b"] * 6 + ["once", "twin", "twin"], dtype=object)
    groups = np.array([*range(12), 0, 12, 12])
    return np.array([f"{i:02d}" for i in range(15)]), labels, groups


def test_a_class_with_one_image_is_never_held_out_and_said(capsys):
    ids, labels, groups = whales()
    folds = assign_folds(ids, labels, groups, 3, seed=0)
    assert np.flatnonzero(folds == NO_FOLD).tolist() == [0, 12, 13, 14]  # with what shares its group
    assert sorted(set(folds[folds != NO_FOLD])) == [0, 1, 2]
    assert (
        "2 classes have one image, or one group of images, and are never held out: 'once' (1), 'twin' (2), and 1 more"
        in (" ".join(capsys.readouterr().err.split()))
    )


def test_the_other_classes_are_split_as_if_a_class_with_one_image_were_not_there():
    ids, labels, groups = whales()
    rest = np.r_[1:12]
    folds = assign_folds(ids, labels, groups, 3, seed=4)
    assert (folds[rest] == assign_folds(ids[rest], labels[rest], groups[rest], 3, seed=4)).all()
