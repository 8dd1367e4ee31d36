"""Compact forests predict what scikit-learn's predict, and hold no number for every node and class."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.utils.parallel import delayed

from kit.models.classic import compact
from kit.models.classic.compact import grow_forest, own_warning_filters

N_TREES = 7


@pytest.fixture(scope="module")
def images():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 25, 300) * 2  # some codes are of no image
    features = (draw.normal(size=(50, 6))[labels] + draw.normal(size=(300, 6))).astype(np.float32)
    return features, labels, 1 + draw.random(300), draw.normal(size=(40, 6)).astype(np.float32)


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
@pytest.mark.parametrize("grown_bytes", [1, 2**28])
def test_a_compact_forest_predicts_what_scikit_learn_predicts(kind, grown_bytes, images, monkeypatch):
    features, labels, weights, others = images
    monkeypatch.setattr(compact, "GROWN_BYTES", grown_bytes)
    ours = grow_forest(kind(N_TREES, max_depth=5, random_state=3), features, labels, weights)
    theirs = kind(N_TREES, max_depth=5, random_state=3).fit(features, labels, sample_weight=weights)
    assert ours.predict_proba(others) == pytest.approx(theirs.predict_proba(others), abs=1e-12)
    assert np.array_equal(ours.classes, theirs.classes_)


def test_leaves_keep_the_classes_that_they_hold_alone(images):
    features, labels, weights, _ = images
    forest = grow_forest(RandomForestClassifier(N_TREES, random_state=3), features, labels, weights)
    n_nodes = sum(tree.node_count for tree in forest.splits)
    assert forest.shares.shape == (n_nodes, 25) and forest.shares.nnz <= n_nodes
    assert all(tree.value.size == tree.node_count for tree in forest.splits)


def test_the_threads_of_a_forest_may_empty_their_list_of_warning_filters_and_not_ours():
    ours, words = warnings.filters, list(warnings.filters)
    function, args, kwargs = delayed(str)(1)
    with pytest.raises(UserWarning, match="should be used with"):
        function(*args, **kwargs)  # as a thread does that is handed an emptied list
    with own_warning_filters():
        assert function(*args, **kwargs) == "1"
        warnings.resetwarnings()
    assert warnings.filters is ours and list(ours) == words
