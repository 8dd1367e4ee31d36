"""The hierarchy: read from paths or CSV files, refused where it is none, and predictions that fit it."""

from __future__ import annotations

import numpy as np
import pytest

from kit.scoring.hierarchy import Hierarchy, Level

TREE = Hierarchy(np.array([-1, 0, 1, 0, -1]))  # 0 over 1 and 3, 1 over 2; 4 alone


def test_ancestors_hold_the_class_itself_and_all_above():
    above = {child: np.flatnonzero(TREE.ancestors[child]).tolist() for child in range(5)}
    assert above == {0: [0], 1: [0, 1], 2: [0, 1, 2], 3: [0, 3], 4: [4]}


def test_no_child_is_above_its_parent_afterwards():
    proba = np.random.default_rng(0).random((200, 5)).astype(np.float32)
    made = TREE.make_consistent(proba)
    assert not TREE.is_consistent(proba).all() and TREE.is_consistent(made).all()
    assert made.dtype == np.float32 and (made[:, 4] == proba[:, 4]).all()


def test_what_is_consistent_stays_as_it_is():
    made = TREE.make_consistent(np.random.default_rng(0).random((50, 5)))
    assert (TREE.make_consistent(made) == made).all()


def test_a_mean_of_consistent_predictions_is_consistent():
    draws = np.random.default_rng(0)
    ours, theirs = (TREE.make_consistent(draws.random((50, 5)).astype(np.float32)) for _ in range(2))
    assert TREE.is_consistent((0.3 * ours + 0.7 * theirs).astype(np.float32)).all()


def test_a_level_is_the_sum_of_its_classes():
    level = Level(("x", "y"), np.array([0, 1, 0]))
    tree = Hierarchy(np.full(3, -1), {"group": level})
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    level_proba = tree.level_proba(proba, "group")
    assert level_proba.sum(axis=1) == pytest.approx(1)
    assert level_proba[:, 0] == pytest.approx(proba[:, 0] + proba[:, 2])


def test_the_best_path_listens_to_the_coarser_levels():
    tree = Hierarchy(np.full(3, -1), {"group": Level(("x", "y"), np.array([0, 1, 1]))})
    proba = np.array([[0.40, 0.35, 0.25], [0.80, 0.15, 0.05]])
    assert tree.best_paths(proba).tolist() == [1, 0]
    flat = Hierarchy(np.full(3, -1), {"all": Level(("x",), np.zeros(3, dtype=np.int64))})
    assert (flat.best_paths(proba) == proba.argmax(axis=1)).all()


def test_of_a_hierarchy_the_deepest_classes_are_named():
    tree = Hierarchy(np.array([-1, 0, 0, 1]))
    assert tree.deepest(np.array([1, 1, 0, 0])).tolist() == [1]
    assert tree.deepest(np.array([1, 1, 1, 1])).tolist() == [2, 3]
    assert tree.deepest(np.zeros(4)).tolist() == []
