"""The self-training baseline: scikit-learn's, with its degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.pools import labels_of, make_pool

from kit.features.cache import image_features
from kit.models.classic.self_training import SelfTraining


@pytest.fixture
def pool(tmp_path):
    return make_pool(tmp_path / "pool", n_images=36, size=8, n_labeled=9)


@pytest.fixture
def labeled(pool):
    return pool.select(np.arange(9), labels_of(np.arange(9)))


@pytest.fixture
def unlabeled(pool):
    return pool.select(np.arange(9, 36))


def plain(labeled, images) -> np.ndarray:
    """Return what a regression on the labels alone says."""
    features, others = (image_features(part, None, {}, 4) for part in (labeled, images))
    return LogisticRegression(C=30.0, max_iter=2000).fit(features, labeled.labels).predict_proba(others)


@pytest.mark.parametrize("options", [{"threshold": 1 - 1e-12}, {"max_unlabeled": 0}])
def test_where_nothing_is_taken_it_is_the_regression(labeled, unlabeled, options):
    model = SelfTraining(pixels=4, **options).fit(labeled, unlabeled)
    assert model.predict_proba(unlabeled) == pytest.approx(plain(labeled, unlabeled), abs=1e-6)
    assert sum(model.record_["taken"]) == 0


def test_without_unlabelled_images_it_is_the_regression(pool, labeled, unlabeled):
    model = SelfTraining(pixels=4).fit(labeled, pool.select([]))
    assert model.predict_proba(unlabeled) == pytest.approx(plain(labeled, unlabeled), abs=1e-6)


def test_a_low_threshold_takes_the_whole_pool_at_once(labeled, unlabeled):
    model = SelfTraining(pixels=4, threshold=0.0).fit(labeled, unlabeled)
    assert model.record_ == {"taken": [27], "ended": "all_labeled"}


def test_k_best_takes_so_many_at_a_time(labeled, unlabeled):
    model = SelfTraining(pixels=4, criterion="k_best", k_best=10, max_iter=2).fit(labeled, unlabeled)
    assert model.record_ == {"taken": [10, 10], "ended": "max_iter"}


def test_more_than_there_is_takes_what_there_is(labeled, unlabeled):
    model = SelfTraining(pixels=4, criterion="k_best", k_best=1000).fit(labeled, unlabeled)
    assert model.record_["taken"] == [27]


def test_a_large_pool_is_sampled_by_the_seed(labeled, unlabeled):
    options = {"pixels": 4, "threshold": 0.0, "max_unlabeled": 6}
    models = [SelfTraining(**options, seed=seed).fit(labeled, unlabeled) for seed in (0, 0, 1)]
    probas = [model.predict_proba(unlabeled) for model in models]
    assert models[0].record_["taken"] == [6]
    assert np.array_equal(probas[0], probas[1]) and not np.array_equal(probas[0], probas[2])


def test_an_image_that_has_a_pseudo_label_already_is_not_taken_again(labeled, unlabeled):
    taught = unlabeled.take(np.arange(5))
    both = labeled.join(taught.pool.select(taught.rows, labels_of(taught.rows)))
    model = SelfTraining(pixels=4, threshold=0.0).fit(both, unlabeled)
    assert model.record_["taken"] == [22]


def test_a_class_without_a_labelled_image_gets_no_probability(pool, unlabeled):
    model = SelfTraining(pixels=4).fit(pool.select([0, 2, 3, 5], [0, 2, 0, 2]), unlabeled)
    proba = model.predict_proba(unlabeled)
    assert (proba[:, 1] == 0).all() and proba.sum(axis=1) == pytest.approx(1)
