"""The clusters model: matched on the training labels alone, honest about what clusters cannot tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from support.pools import labels_of, make_pool

from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.models.classic.clusters import Clusters, describe_clusters, match_one_to_one
from kit.runs.fit.crossval import crossval
from kit.runs.train import find_finished
from kit.runs.verify import verify

GIVEN = {"encoder": "given", "sharpness": 20.0}
RUN = """
[runs.clusters]
model = "clusters"
encoder = "given"
n_clusters = "nested"
"""


def blobs(pool, spread: float = 0.2, n_dims: int = 8) -> np.ndarray:
    """Return embeddings in three well separated heaps, one per true class."""
    centres = np.eye(n_dims)[:3]
    noise = np.random.default_rng(0).normal(0, spread / np.sqrt(n_dims), (len(pool), n_dims))
    return (centres[labels_of(np.arange(len(pool)))] + noise).astype(np.float32)


@pytest.fixture
def pool(tmp_path):
    pool = make_pool(tmp_path / "pool", n_images=60, size=2, n_labeled=12)
    object.__setattr__(pool, "embeddings", blobs(pool))
    return pool


@pytest.fixture
def seen(pool):
    """What a fold's model may see: nine labelled images and all the unlabelled ones."""
    labeled, unlabeled = np.arange(9), np.arange(12, 60)
    return pool.select(labeled, labels_of(labeled)), pool.select(unlabeled)


def accuracy(model: Clusters, pool) -> float:
    everything = pool.select(np.arange(len(pool)))
    return float((model.predict_proba(everything).argmax(axis=1) == labels_of(everything.rows)).mean())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pca": 4},
        {"n_clusters": 6},
        {"n_clusters": 6, "matching": "majority"},
        {"representative": 20},
        {"matching": "shares"},
    ],
)
def test_classes_that_are_heaps_are_found(pool, seen, options):
    model = Clusters(**GIVEN, **options).fit(*seen)
    assert accuracy(model, pool) == 1
    proba = model.predict_proba(pool.select(np.arange(60)))
    assert proba.sum(axis=1) == pytest.approx(1) and (proba > 0).all()


def test_the_same_seed_gives_the_same_clusters(pool, seen):
    images = pool.select(np.arange(60))
    first, second = (Clusters(**GIVEN, n_clusters=7).fit(*seen).predict_proba(images) for _ in range(2))
    assert np.array_equal(first, second)


def test_labels_take_no_part_in_the_clustering(pool, seen):
    labeled, unlabeled = seen
    wrong = pool.select(labeled.rows, np.roll(labeled.labels, 1))
    right, other = (Clusters(**GIVEN).fit(images, unlabeled) for images in (labeled, wrong))
    assert np.array_equal(right.tensors()["centres.0"], other.tensors()["centres.0"])


def test_a_subset_as_large_as_the_pool_is_the_pool(pool, seen):
    whole, subset = (Clusters(**GIVEN, representative=n).fit(*seen) for n in (0, 57))
    assert np.array_equal(whole.tensors()["centres.0"], subset.tensors()["centres.0"])


def test_all_principal_components_change_nothing(pool, seen):
    images = pool.select(np.arange(60))
    plain, rotated = (Clusters(**GIVEN, pca=n).fit(*seen).predict_proba(images) for n in (0, 8))
    assert plain == pytest.approx(rotated, abs=1e-3)


def test_one_to_one_gives_every_class_a_cluster_of_its_own():
    counts = np.array([[9.0, 8, 0], [8, 0, 0], [0, 0, 5]])
    assert np.array_equal(match_one_to_one(counts), [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_one_to_one_refuses_another_number_of_clusters(seen):
    with pytest.raises(InputError, match=r"as many clusters as classes \(3\), not 4"):
        Clusters(**GIVEN, n_clusters=4, matching="one_to_one").fit(*seen)


def test_a_cluster_without_a_label_stands_for_the_classes_as_they_are_spread(pool, seen):
    _, unlabeled = seen
    only = pool.select([0, 1], labels_of([0, 1]))
    model = Clusters(**GIVEN, matching="shares").fit(only, unlabeled)
    red = pool.select(np.flatnonzero(labels_of(np.arange(60)) == 2))
    assert model.predict_proba(red).mean(axis=0) == pytest.approx([0.5, 0.5, 0], abs=0.05)


def test_the_limits_name_classes_that_share_a_cluster_and_those_that_lead_none():
    counts = np.array([[5.0, 4, 0], [0, 1, 0], [0, 0, 6], [0, 0, 0]])
    limits = describe_clusters(counts, ("cat", "dog", "owl"))
    assert limits == {
        "n_clusters": 4,
        "purity": 12 / 16,
        "sharing": [["cat", "dog"]],
        "homeless": [],
        "unlabeled": 1,
    }
    assert describe_clusters(counts[[0, 2]], ("cat", "dog", "owl"))["homeless"] == ["dog"]


def test_the_limits_are_noted_for_every_fold(pool, seen, capsys):
    model = Clusters(**GIVEN).fit(*seen)
    assert model.record_[0]["purity"] == 1
    assert "3 of purity 1.00 (0 classes share one, 0 lead none, 0 without a label)" in capsys.readouterr().err


def test_fewer_images_than_clusters_are_a_cluster_each(pool):
    labeled = pool.select([0, 1, 2], [0, 1, 2])
    model = Clusters(**GIVEN, n_clusters=50).fit(labeled, pool.select([3, 4]))
    assert model.record_[0]["n_clusters"] == 5


def test_a_restored_model_predicts_as_the_fitted_one(pool, seen):
    images = pool.select(np.arange(60))
    model = Clusters(**GIVEN, n_clusters="nested", pca=3).fit(*seen)
    again = Clusters(**GIVEN, n_clusters="nested", pca=3).restore(model.tensors(), pool.classes)
    assert np.array_equal(model.predict_sweep(images), again.predict_sweep(images))


def test_a_nested_run_is_cross_validated_and_verified(colours):
    competition = colours(RUN)
    root = competition.root
    n_images = sum(1 for _ in root.rglob("*.png"))
    np.save(root / "embeddings.npy", np.random.default_rng(0).normal(size=(n_images, 5)))
    prepared = prepare(colours(RUN, data='embeddings = "embeddings.npy"'))
    result = crossval(prepared, "clusters")
    assert {"per_class", "sharpness"} <= set(result.record.chosen["default"])
    assert any("clusters" in verdict for verdict in verify(prepared, find_finished(prepared)))


def test_more_clusters_than_images_are_lowered_and_the_user_is_told(embedded, capsys):
    prepared = prepare(embedded('[runs.many]\nmodel = "clusters"\nencoder = "given"\nn_clusters = 5000'))
    model = Clusters(encoder="given", n_clusters=5000).fit(prepared.training(0), prepared.unlabeled(0, False))
    assert model.record_[0]["n_clusters"] == 24
    assert "5000 are asked for of 24 images; lowered" in capsys.readouterr().err
