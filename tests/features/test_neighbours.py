"""Neighbours: they agree with scikit-learn, and only allowed images are nodes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from support.clouds import clouds, split

from kit.features.neighbours import SPARE, Graph, read_neighbours


def test_neighbours_agree_with_scikit_learn(tmp_path):
    pool, _ = clouds(tmp_path)
    neighbours = read_neighbours(pool, "given", {}, 5, with_test=True)
    unit = pool.embeddings / np.linalg.norm(pool.embeddings, axis=1, keepdims=True)
    distances, rows = NearestNeighbors(metric="cosine", n_neighbors=5).fit(unit).kneighbors()
    assert (neighbours["row"] == rows).mean() > 0.99  # but for ties
    assert neighbours["cosine"] == pytest.approx(1 - distances, abs=1e-5)


def test_neighbours_are_searched_once(tmp_path):
    pool, _ = clouds(tmp_path)
    first = read_neighbours(pool, "given", {}, 5, with_test=True)
    (file,) = (pool.cache / "neighbours").glob("*.npy")
    written = file.stat().st_mtime_ns
    assert np.array_equal(read_neighbours(pool, "given", {}, 5, with_test=True), first)
    assert file.stat().st_mtime_ns == written


def test_test_images_are_neighbours_only_where_they_may_be(tmp_path):
    pool, _ = clouds(tmp_path)
    pool.splits[60:] = "test"
    assert read_neighbours(pool, "given", {}, 5, with_test=False)["row"].max() < 60
    assert read_neighbours(pool, "given", {}, 5, with_test=True)["row"].max() >= 60


def test_a_node_has_as_many_neighbours_as_asked_for_and_the_affinity_is_symmetric(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    graph = Graph(labeled.join(others), [("given", {})], 4)
    assert (graph.attach(graph.nodes) > 0).sum(axis=1).max() == 4
    assert abs(graph.affinity - graph.affinity.T).max() < 1e-6
    left_out = Graph(others, [("given", {})], SPARE)
    assert left_out.attach(labeled).shape == (len(labeled), len(others))


def test_diffusion_solves_its_equation(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    graph = Graph(labeled.join(others), [("given", {})], 5)
    source = np.random.default_rng(0).dirichlet(np.ones(3), len(graph.nodes))
    exact = np.linalg.solve(np.eye(len(source)) - 0.8 * graph.affinity.toarray(), 0.2 * source)
    assert graph.diffuse(source, 0.8) == pytest.approx(exact / exact.sum(axis=1, keepdims=True), abs=5e-3)
    assert graph.diffuse(source, 0.0) is source
