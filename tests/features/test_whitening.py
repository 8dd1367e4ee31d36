"""Whitening: it agrees with scikit-learn, changes nothing where it is off, and is fitted on the images named alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from support.clouds import clouds, split

from kit.features.cache import encode_images
from kit.features.joint import encode_jointly
from kit.features.neighbours import read_neighbours
from kit.features.whitening import MAX_AXES, fit_whitening


def whitened_by_scikit_learn(values, power, whiten):
    """Return what the features should become."""
    values = normalize(np.sign(values) * np.abs(values) ** power)
    pca = PCA(svd_solver="full").fit(values)
    variances = pca.explained_variance_ * (len(values) - 1) / len(values)
    return normalize(pca.transform(values) * variances ** (-whiten / 2))


def test_whitened_features_agree_with_scikit_learn(tmp_path):
    pool, codes = clouds(tmp_path)
    nodes = split(pool, codes)[1]
    values = encode_images(nodes, "given").values
    ours = fit_whitening(nodes, "given", {}, 0.5, 0.7)(values)
    theirs = whitened_by_scikit_learn(values.astype(np.float64), 0.5, 0.7)
    assert ours @ ours.T == pytest.approx(theirs @ theirs.T, abs=1e-4)  # the axes' signs are free


def test_full_whitening_gives_every_axis_the_same_spread(tmp_path):
    pool, codes = clouds(tmp_path)
    nodes = split(pool, codes)[1]
    whitening = fit_whitening(nodes, "given", {}, 1.0, 1.0)
    along = (encode_images(nodes, "given").values - whitening.basis[0]) @ whitening.basis[1:].T
    assert np.cov(along.T, bias=True) == pytest.approx(np.eye(8), abs=1e-2)


def test_a_power_of_1_without_whitening_changes_nothing(tmp_path):
    pool, codes = clouds(tmp_path)
    _, others = split(pool, codes)
    whitening = fit_whitening(others, "given", {}, 1.0, 0.0)
    plain = encode_jointly(others, [("given", {})])
    assert np.array_equal(encode_jointly(others, [("given", {})], [whitening]), plain)


def test_axes_along_which_nothing_varies_are_left_out(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    few = labeled.take(range(4))  # 3 axes, in 8 dimensions
    whitening = fit_whitening(few, "given", {}, 0.5, 1.0)
    assert (np.abs(whitening.basis[1:]).max(axis=1) > 0).sum() == 3
    assert np.isfinite(whitening(encode_images(others, "given").values)).all()


def test_many_dimensions_are_cut(tmp_path):
    pool, codes = clouds(tmp_path)
    values = np.random.default_rng(0).normal(size=(len(pool), 2 * MAX_AXES)).astype(np.float32)
    object.__setattr__(pool, "embeddings", values)
    _, others = split(pool, codes)
    whitening = fit_whitening(others, "given", {}, 0.5, 0.25)
    assert whitening(encode_images(others, "given").values).shape == (len(others), MAX_AXES)


def test_models_of_the_same_images_share_a_whitening_and_others_have_their_own(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    first = fit_whitening(labeled.join(others), "given", {}, 0.5, 0.25)
    again = fit_whitening(others.join(labeled), "given", {}, 0.5, 0.25)
    alone = fit_whitening(others, "given", {}, 0.5, 0.25)
    assert first.key == again.key != alone.key
    assert len(list((pool.cache / "whitening").glob("*.npy"))) == 2


def test_whitening_reads_no_image_but_those_it_is_given_and_no_label(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    first = fit_whitening(others, "given", {}, 0.5, 0.5)
    pool.embeddings[labeled.rows] = 1.0  # the images that it may not know
    (file,) = (pool.cache / "whitening").glob("*.npy")
    file.unlink()
    again = fit_whitening(pool.select(others.rows, codes[others.rows]), "given", {}, 0.5, 0.5)
    assert np.array_equal(first.basis, again.basis)


def test_neighbours_are_those_in_the_whitened_features(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    everything = labeled.join(others)
    whitening = fit_whitening(everything, "given", {}, 0.5, 1.0)
    neighbours = read_neighbours(pool, "given", {}, 5, True, whitening)
    values = whitened_by_scikit_learn(encode_images(everything, "given").values.astype(np.float64), 0.5, 1.0)
    _, rows = NearestNeighbors(metric="cosine", n_neighbors=5).fit(values).kneighbors()
    plain = read_neighbours(pool, "given", {}, 5, True)
    assert (neighbours["row"] == rows).mean() > 0.99
    assert (neighbours["row"] != plain["row"]).mean() > 0.1  # they lie in a file of their own
