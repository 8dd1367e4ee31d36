"""Bench explain: planted evidence is where it is said to be, and trained networks' maps point there."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from torch import nn

from kit.bench import bench_explain, describe_explain, explain, render_explain
from kit.bench.explain import half_of, mass_share, plant, randomise
from kit.cli import main
from kit.core.errors import InputError
from kit.core.files import Workspace


@pytest.fixture(scope="module")
def pointed(tmp_path_factory):
    """A small bench: few pictures, few epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "N_PLANTED", 120)
        return bench_explain(None, Workspace(tmp_path_factory.mktemp("bench")), n_explained=6, n_samples=100)


def test_trained_networks_point_at_planted_evidence_and_random_ones_do_not(pointed):
    by_key = {(row.method, row.is_random): row for row in pointed}
    for method in ("lime", "gradcam"):
        trained, control = by_key[method, False], by_key[method, True]
        assert trained.hits.mean() >= 0.9 and trained.shares.mean() > 0.7
        assert control.shares.mean() < trained.shares.mean() - 0.15


def test_half_a_picture_is_half_and_the_patch_lies_in_it():
    draws = np.random.default_rng(0)
    for half in ("left", "right", "top", "bottom"):
        for _ in range(20):
            changed = (plant(np.zeros((30, 30, 3), np.uint8), (9, 9, 9), half, draws) > 0).any(axis=2)
            assert changed.any() and half_of((30, 30), half)[changed].all()
        assert half_of((30, 30), half).mean() == 0.5
    assert mass_share(np.zeros((4, 4)), half_of((4, 4), "left")) == 0.5


def test_random_weights_are_others_and_the_same_each_time():
    networks = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)) for _ in range(3)]
    for network in networks[:2]:
        randomise(network)
    first, second, other = (network[0].weight for network in networks)
    assert (first == second).all() and (first != other).any()


def test_the_table_and_the_json_say_the_same(pointed):
    table, rows = render_explain(pointed), describe_explain(pointed)
    assert table.row_count == len(rows) == 4
    assert [row["weights"] for row in rows] == ["trained", "trained", "random", "random"]
    assert json.loads(json.dumps(rows))[0]["n_images"] == 6


def test_what_it_lacks_is_named(tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match="trashnet/ is not there"):
        bench_explain(tmp_path, Workspace(tmp_path))
    monkeypatch.setattr(sys, "argv", ["kit", "bench", "explain", "--seed", "1"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and "--set and --seed change nothing there" in capsys.readouterr().err
