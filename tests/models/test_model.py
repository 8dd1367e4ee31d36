"""Every light model: rows follow the images, priors that do harm are left out, two classes work."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kit.config.competition import HOME
from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.data.images import Images, Pool
from kit.data.prepared import prepare
from kit.features import cache as features
from kit.features.cache import encode_images, image_features
from kit.kaggle.bundle.manifest import read_bundle
from kit.kaggle.bundle.writing import write_bundle
from kit.models import MODELS
from kit.models.classic.forest import Forest
from kit.models.classic.label_spreading import LabelSpreading
from kit.models.classic.svm import SVM
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.zero_shot import ZeroShot
from kit.runs.fit.crossval import check_run, crossval
from kit.runs.store import find_result

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
    assert model.keeps_weights
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


@pytest.fixture
def half_grey(tmp_path) -> Pool:
    """Images of two classes; the first twelve are grey, the last eight coloured."""
    paths, draws = [], np.random.default_rng(0)
    for i in range(20):
        pixels = np.repeat(draws.integers(0, 120, (9, 9, 1)) + 120 * (i % 2), 3, axis=2)
        pixels[..., 0] += 10 * (i >= 12)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    ids = np.array([f"{i:02d}" for i in range(20)], dtype=object)
    splits = np.array(["labeled"] * 20, dtype=object)
    paths = np.array(paths, dtype=object)
    return Pool(ids, splits, paths, ids, np.arange(20), ("dark", "light"), tmp_path / "cache", tmp_path)


@pytest.mark.parametrize("name", ["forest", "svm", "label_spreading"])
def test_what_was_fitted_on_grey_images_predicts_coloured_ones(half_grey, name):
    grey = half_grey.select(np.arange(12), np.arange(12) % 2)
    model = LIGHT[name]().fit(grey, half_grey.select(np.zeros(0)))
    proba = model.predict_proba(half_grey.select(np.arange(12, 20)))
    assert (proba.argmax(axis=1) == np.arange(12, 20) % 2).all()


def test_pixel_features_do_not_depend_on_which_images_are_asked_for(half_grey, monkeypatch):
    everything = image_features(half_grey.select(np.arange(20)), None, {}, 8)
    monkeypatch.setattr(features, "BLOCK", 3)
    rows = np.array([5, 19, 2, 5, 0, 7, 13])
    assert (image_features(half_grey.select(rows), None, {}, 8) == everything[rows]).all()
    assert image_features(half_grey.select(rows[:0]), None, {}, 8).shape == (0, everything.shape[1])


def test_pixel_features_are_pixels_and_histograms_in_single_precision(half_grey):
    values = image_features(half_grey.select(np.arange(20)), None, {}, 8)
    assert values.dtype == np.float32 and values.shape == (20, 3 * 64 + 3 * 8)
    pixels, histograms = values[:, :192], values[:, 192:].reshape(20, 8, 3)
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert histograms.sum(axis=1) == pytest.approx(np.ones((20, 3)))


def embed(pool: Pool, missing: tuple[int, ...] = ()) -> Pool:
    values = np.random.default_rng(0).normal(size=(len(pool), 5)).astype(np.float32)
    values[list(missing)] = np.nan
    return replace(pool, embeddings=values)


def test_given_embeddings_are_brought_to_unit_length(half_grey):
    pool = embed(half_grey)
    values = encode_images(pool.select(np.array([4, 1])), "given").values
    assert np.linalg.norm(values, axis=1) == pytest.approx(np.ones(2))
    assert values[0] == pytest.approx(pool.embeddings[4] / np.linalg.norm(pool.embeddings[4]))


def test_an_image_without_an_embedding_is_refused_by_name(half_grey):
    pool = embed(half_grey, missing=(3, 7))
    with pytest.raises(InputError, match=r"no row for 2 of 20 images: .*03.*07"):
        encode_images(pool.select(np.arange(20)), "given")
    assert np.isfinite(encode_images(pool.select(np.arange(3)), "given").values).all()


def test_the_time_limit_stops_encoding_between_blocks_and_a_later_call_goes_on(prepared, monkeypatch):
    everything = prepared.pool.select(np.arange(len(prepared.pool)))  # 39 images
    monkeypatch.setattr(features, "BLOCK", 20)
    set_deadline(0)
    try:
        with pytest.raises(TimeIsUp):
            encode_images(everything, TINY_CLIP)
        values = encode_images(everything, TINY_CLIP).values
    finally:
        set_deadline(None)
    assert np.linalg.norm(values, axis=1) == pytest.approx(np.ones(39), abs=2e-3)


def test_the_model_in_contributing_works_as_it_is_printed(colours, monkeypatch):
    readme = (HOME.parents[1] / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = readme.partition("```python\n")[2].partition("```")[0]
    module = types.ModuleType("nearest_mean")
    monkeypatch.setitem(sys.modules, "nearest_mean", module)
    monkeypatch.setattr("inspect.getsource", lambda _: source)  # it has no file here
    exec(compile(source, "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(MODELS, "nearest_mean", module.NearestMean)
    prepared = prepare(colours(f'[runs.nearest_mean]\nmodel = "nearest_mean"\nencoder = "{TINY_CLIP}"'))
    check_run(prepared, "nearest_mean")
    result = crossval(prepared, "nearest_mean")
    assert find_result(prepared, "nearest_mean") == result and len(result.predictions("oof")) == 18
    bundle = read_bundle(write_bundle(prepared, [result], "somebody").folder)
    assert [(own.name, own.kept) for own in bundle.members] == [("nearest_mean", False)]
