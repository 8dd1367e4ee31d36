"""The bench of size measures neighbours against all pairs, and tells time and memory."""

from __future__ import annotations

import numpy as np

from kit.bench import size as bench_of


def test_few_rows_are_compared_exactly_and_all_neighbours_found(monkeypatch):
    monkeypatch.setenv("KIT_DEVICE", "cpu")
    (line,) = bench_of._find_neighbours(2000)
    assert line.recall == 1 and line.exact and line.processor > 0 and 0 < line.gigabytes < 8


def test_cheap_runs_are_fitted_on_a_pool_without_files(monkeypatch):
    monkeypatch.setattr(bench_of, "N_DIMS", 24)
    monkeypatch.setattr("kit.models.classic.label_spreading.FEW", 800)
    lines = bench_of._fit_cheap_runs(900)
    assert [line.task.partition(",")[0] for line in lines] == [
        "linear_probe", "linear_probe", "label_spreading", "clusters",
    ]  # fmt: skip
    assert all(line.seconds > 0 and line.exact is None for line in lines)


def test_drawn_features_are_of_unit_length_and_clustered():
    values = bench_of.draw_features(800, 64)
    assert np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
    assert np.sort(values @ values.T, axis=1)[:, -5].mean() > 0.5
