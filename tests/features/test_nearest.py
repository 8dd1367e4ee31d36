"""Nearest: an index finds nearly what comparing all pairs finds, always the same, and only what is allowed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from kit.features import nearest
from kit.features.nearest import choose_search, is_indexed, search_exact, search_indexed

faiss = pytest.importorskip("faiss")

NOBODY = None
K = 10


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    monkeypatch.setenv("KIT_DEVICE", "cpu")


@pytest.fixture(scope="module")
def values():
    """Return 1,000 features of 18 numbers around 40 centres, which no code of four numbers divides."""
    draws = np.random.default_rng(0)
    drawn = draws.normal(0, 1, (40, 18))[draws.integers(0, 40, 1000)] + draws.normal(0, 0.7, (1000, 18))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_an_index_finds_nearly_all_that_comparing_all_pairs_finds(values):
    every = np.arange(len(values))
    exact = search_exact(values, every, NOBODY, K)
    search = search_indexed(values, every, NOBODY, K, exact)
    assert search is not None
    (found, cosines), (truth, _) = search(every), exact(every)
    assert (found[:, :, None] == truth[:, None, :]).any(axis=1).mean() > 0.97
    assert cosines == pytest.approx(np.einsum("ijk,ik->ij", values[found], values), abs=2e-3)
    assert (np.diff(cosines, axis=1) <= 0).all() and not (found == every[:, None]).any()


def test_threads_do_not_change_what_an_index_finds(values):
    every, before = np.arange(len(values)), faiss.omp_get_max_threads()
    answers = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            search = search_indexed(values, every, NOBODY, K, search_exact(values, every, NOBODY, K))
            assert search is not None
            answers.append(search(every[:300])[0])
    finally:
        faiss.omp_set_num_threads(before)
    assert np.array_equal(*answers)


def test_only_what_is_allowed_and_not_barred_is_found(values, monkeypatch):
    monkeypatch.setattr(nearest, "MOST_EXACT", 100)
    allowed, every = np.arange(0, len(values), 2), np.arange(len(values))
    nearby = search_exact(values, allowed, NOBODY, 1)(every[:50:2])[0][:, 0]
    barred = np.full(len(values), -1)
    barred[every[:50:2]] = barred[nearby] = 3
    found = choose_search(values, allowed, barred, K)(every)[0]
    assert (found % 2 == 0).all()
    assert not np.isin(found[:50:2], nearby).any() and np.isin(found[50:], nearby).any()
    assert np.array_equal(found[:50:2], search_exact(values, allowed, barred, K)(every[:50:2])[0])


def test_features_whose_neighbours_no_index_finds_are_compared_one_by_one(values, monkeypatch, capsys):
    monkeypatch.setattr(nearest, "MOST_EXACT", 100)
    monkeypatch.setattr(nearest, "N_BEST", 1)
    shuffled = np.random.default_rng(0).normal(0, 1, values.shape).astype(np.float32)
    shuffled /= np.linalg.norm(shuffled, axis=1, keepdims=True)
    every = np.arange(len(values))
    found, exact = choose_search(shuffled, every, NOBODY, K), search_exact(shuffled, every, NOBODY, K)
    assert np.array_equal(found(every)[0], exact(every)[0])
    assert "all pairs are compared" in capsys.readouterr().err


def test_few_rows_and_a_kit_without_faiss_need_no_index(monkeypatch, capsys):
    assert not is_indexed(nearest.MOST_EXACT)
    assert is_indexed(nearest.MOST_EXACT + 1)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert not is_indexed(nearest.MOST_EXACT + 1)
    assert "faiss-cpu" in capsys.readouterr().err


def test_a_group_of_half_of_all_rows_costs_no_pairs(values):
    """20,000 rows of one group are 400,000,000 pairs; a code for each row is all that is kept."""
    import tracemalloc

    many = np.tile(values, (20, 1))
    groups = np.where(np.arange(len(many)) % 2 == 0, 0, -1)
    tracemalloc.start()
    found = search_exact(many, np.arange(len(many)), groups, K)(np.arange(200))[0]
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert (found[::2] % 2 == 1).all()
