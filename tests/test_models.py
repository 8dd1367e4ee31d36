"""Every light model: rows follow the images, priors that do harm are left out, two classes work."""

from __future__ import annotations

import numpy as np
import pytest

from kit.competition import HOME
from kit.features import encode_images
from kit.images import Images
from kit.models import Kept
from kit.models.forest import Forest
from kit.models.label_spreading import LabelSpreading
from kit.models.linear_probe import LinearProbe
from kit.models.svm import SVM
from kit.models.zero_shot import ZeroShot
from kit.prepare import prepare

TINY_CLIP = "open_clip:local-dir:" + str(HOME / "digits" / "tiny-clip")
LIGHT = {
    "forest": lambda: Forest(n_trees=10, pixels=4),
    "extra": lambda: Forest(n_trees=10, pixels=4, trees="extra"),
    "svm": lambda: SVM(pixels=4),
    "label_spreading": lambda: LabelSpreading(pixels=4, n_neighbors=3),
    "zero_shot": lambda: ZeroShot(TINY_CLIP),
    "linear_probe": lambda: LinearProbe(TINY_CLIP),
    "linear_probe_prior": lambda: LinearProbe(TINY_CLIP, prompts="names", prior=0.5),
}


@pytest.fixture
def prepared(colours):
    return prepare(colours())


def fitted(name: str, prepared, labeled: Images | None = None):
    model = LIGHT[name]()
    return model.fit(prepared.training(0) if labeled is None else labeled, prepared.unlabeled(0, False))


@pytest.mark.parametrize("name", LIGHT)
def test_predictions_follow_the_images_whatever_their_order(prepared, name):
    model = fitted(name, prepared)
    images = prepared.pool.select(prepared.split("test"))
    order = np.random.default_rng(0).permutation(len(images))
    assert model.predict_proba(images.take(order)) == pytest.approx(model.predict_proba(images)[order], abs=1e-6)


@pytest.mark.parametrize("name", LIGHT)
def test_probabilities_sum_to_one_even_when_a_class_was_never_seen(prepared, name):
    training = prepared.training(0)
    model = fitted(name, prepared, training.take(np.flatnonzero(training.labels != 1)))
    proba = model.predict_proba(prepared.held_out(0))
    assert proba.shape[1] == 3 and proba.sum(axis=1) == pytest.approx(np.ones(len(proba)), abs=1e-5)
    if name != "zero_shot" and "prior" not in name:
        assert proba[:, 1].max() < 0.05


@pytest.mark.parametrize("name", [name for name in LIGHT if name != "zero_shot"])
def test_two_classes_are_told_apart(prepared, name):
    training = prepared.training(0)
    two = training.take(np.flatnonzero(training.labels < 2))
    proba = fitted(name, prepared, two).predict_proba(two)
    assert (proba.argmax(axis=1) == two.labels).mean() > 0.7


def test_an_image_of_tiny_weight_hardly_counts(prepared):
    from dataclasses import replace

    training = prepared.training(0)
    wrong = replace(training, labels=(training.labels + 1) % 3, weights=np.full(len(training), 1e-4, np.float32))
    clean = LinearProbe(TINY_CLIP).fit(training, training)
    noisy = LinearProbe(TINY_CLIP).fit(training.join(wrong), training)
    images = prepared.held_out(0)
    assert noisy.predict_proba(images) == pytest.approx(clean.predict_proba(images), abs=0.05)


def test_a_prior_of_weight_0_is_plain_logistic_regression(prepared):
    images = prepared.held_out(0)
    plain = LinearProbe(TINY_CLIP).fit(prepared.training(0), images)
    with_prior = LinearProbe(TINY_CLIP, prompts="names").fit(prepared.training(0), images)
    assert with_prior.predict_sweep(images)[0] == pytest.approx(plain.predict_proba(images), abs=1e-6)


def test_the_probe_agrees_with_scikit_learn(prepared):
    from sklearn.linear_model import LogisticRegression

    training, images = prepared.training(0), prepared.held_out(0)
    theirs = LogisticRegression(C=30, max_iter=2000).fit(encode_images(training, TINY_CLIP).values, training.labels)
    ours = LinearProbe(TINY_CLIP, C=30.0).fit(training, images)
    expected = theirs.predict_proba(encode_images(images, TINY_CLIP).values)
    assert ours.predict_proba(images) == pytest.approx(expected, abs=1e-6)


def test_a_restored_probe_predicts_the_same(prepared):
    model = fitted("linear_probe", prepared)
    assert isinstance(model, Kept)
    restored = LIGHT["linear_probe"]().restore(model.tensors(), prepared.classes)
    images = prepared.held_out(0)
    assert (restored.predict_proba(images) == model.predict_proba(images)).all()


def test_features_are_cached_unit_length_and_follow_the_rows(prepared):
    everything = prepared.pool.select(np.arange(len(prepared.pool)))
    values = encode_images(everything, TINY_CLIP).values
    assert np.linalg.norm(values, axis=1) == pytest.approx(np.ones(len(values)), abs=2e-3)
    files = list((prepared.pool.cache / "features").glob("*.npy"))
    assert len(files) == 1
    rows = np.array([5, 1, 5, 0])
    assert (encode_images(prepared.pool.select(rows), TINY_CLIP).values == values[rows]).all()


def test_a_large_pool_is_sampled_for_label_spreading(prepared):
    model = LabelSpreading(pixels=4, n_neighbors=3, max_unlabeled=2)
    model.fit(prepared.training(0), prepared.unlabeled(0, False))
    assert model.spreading_.X_.shape[0] == len(prepared.training(0)) + 2
