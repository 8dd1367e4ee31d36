"""Label spreading: scikit-learn's, also where the neighbours of many images are found once for all folds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.semi_supervised import LabelSpreading as TheirSpreading
from support.clouds import clouds, split
from support.pools import labels_of, make_pool

from kit.features.cache import image_features
from kit.models.classic import label_spreading
from kit.models.classic.label_spreading import LabelSpreading


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(label_spreading, "FEW", 5)


def test_of_many_images_scikit_learn_gets_the_same_graph(tmp_path, many):
    labeled, others = split(*clouds(tmp_path))
    nodes, asked = others.take(np.arange(87)), others
    ours = LabelSpreading("given", n_neighbors=5, alpha=0.6).fit(labeled, nodes)
    values = [image_features(images, "given", {}, 16) for images in (labeled.join(nodes), asked)]
    theirs = TheirSpreading(kernel="knn", n_neighbors=5, alpha=0.6, max_iter=200)
    theirs.fit(values[0], labeled.join(nodes).labels)
    assert ours.spreading_.X_.shape[1] == 1
    assert ours.predict_proba(asked) == pytest.approx(theirs.predict_proba(values[1]), abs=1e-6)


def test_an_image_that_a_bag_draws_twice_is_one_node(tmp_path, monkeypatch):
    labeled, others = split(*clouds(tmp_path))
    drawn = labeled.take(np.append(np.arange(len(labeled)), [0, 0, 3]))
    for few in (5, len(labeled.pool)):
        monkeypatch.setattr(label_spreading, "FEW", few)
        plain, bagged = (LabelSpreading("given", n_neighbors=4).fit(images, others) for images in (labeled, drawn))
        assert (bagged.predict_proba(others) == plain.predict_proba(others)).all()


def test_all_folds_share_the_neighbours(tmp_path, many):
    labeled, others = split(*clouds(tmp_path))
    model = LabelSpreading("given", n_neighbors=4).fit(labeled, others)
    LabelSpreading("given", n_neighbors=4, alpha=0.9).fit(labeled.take(np.arange(6)), others)
    (file,) = (tmp_path / "cache" / "neighbours").glob("*.npy")
    assert np.load(file).shape == (102, 10)
    assert (model.predict_proba(labeled).argmax(axis=1) == labeled.labels).mean() > 0.9


def test_the_size_of_the_pool_decides_for_all_folds_how_images_are_compared(tmp_path, monkeypatch):
    labeled, others = split(*clouds(tmp_path))
    few, many = others.take(np.arange(3)), others
    for most, n_columns in (
        (len(labeled.pool) - 1, 1),
        (len(labeled.pool), image_features(few, "given", {}, 16).shape[1]),
    ):
        monkeypatch.setattr(label_spreading, "FEW", most)
        models = [LabelSpreading("given", n_neighbors=3).fit(labeled, nodes) for nodes in (few, many)]
        assert [model.spreading_.X_.shape[1] for model in models] == [n_columns, n_columns]


def test_many_images_without_an_encoder_are_near_by_their_pixels(tmp_path, many):
    pool = make_pool(tmp_path / "pool", n_images=36, size=8, n_labeled=9)
    labeled, others = pool.select(np.arange(9), labels_of(np.arange(9))), pool.select(np.arange(9, 36))
    model = LabelSpreading(pixels=4, n_neighbors=4).fit(labeled, others)
    assert model.spreading_.X_.shape == (36, 1)
    assert (model.predict_proba(others).argmax(axis=1) == labels_of(others.rows)).mean() > 0.9


def test_an_image_with_a_pseudo_label_is_one_node(prepared):
    training, unlabeled = prepared.training(0), prepared.unlabeled(0, False)
    taught = unlabeled.pool.select(unlabeled.rows[:2], np.zeros(2))
    model = LabelSpreading(pixels=4, n_neighbors=3).fit(training.join(taught), unlabeled)
    assert model.spreading_.X_.shape[0] == len(training) + len(unlabeled)
