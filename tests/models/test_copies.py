"""Bagging: draws keep every class, the mean predicts, a bagged run survives being read back."""

from __future__ import annotations

import numpy as np
import pytest
from support.clouds import clouds, split
from support.toys import Dialled

from kit.data.prepared import prepare
from kit.models import MODELS
from kit.models.copies import Bagged, draw
from kit.models.heads.linear_probe import LinearProbe
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result, fold_folder
from kit.runs.verify import verify


def test_a_draw_is_of_the_same_size_within_every_class(tmp_path):
    labeled, _ = split(*clouds(tmp_path, n_labeled=30))
    drawn = draw(labeled, seed=3)
    assert len(drawn) < len(labeled) and set(drawn.rows) <= set(labeled.rows)
    assert np.bincount(drawn.labels, weights=drawn.weights).tolist() == [10, 10, 10]
    assert np.array_equal(draw(labeled, seed=3).weights, drawn.weights)
    assert not np.array_equal(draw(labeled, seed=4).rows, drawn.rows)


def test_bagged_predictions_are_the_mean_of_different_copies(tmp_path):
    labeled, others = split(*clouds(tmp_path))
    bagged = Bagged(lambda seed: LinearProbe("given", seed=seed), 3, seed=0).fit(labeled, others)
    each = [copy.predict_proba(others) for copy in bagged.copies]
    assert not np.allclose(each[0], each[1])
    assert bagged.predict_proba(others) == pytest.approx(np.mean(each, axis=0))
    again = Bagged(lambda seed: LinearProbe("given", seed=seed), 3, seed=0).restore(bagged.tensors(), ("a", "b", "c"))
    assert np.array_equal(again.predict_proba(others), bagged.predict_proba(others))


def test_bags_are_an_option_of_any_run_and_make_another_run(colours, monkeypatch):
    monkeypatch.setitem(MODELS, "dialled", Dialled)
    runs = '[runs.bagged]\nmodel = "dialled"\nbags = 3\n[runs.forest]\nmodel = "forest"\nn_trees = 5\nbags = 2\n'
    prepared = prepare(colours(runs))
    results = [crossval(prepared, name) for name in ("bagged", "forest")]
    assert find_result(prepared, "bagged").folder == results[0].folder
    assert (fold_folder(results[0].folder, 0) / "sweep.npy").exists()
    verify(prepared, results)
    plain = prepare(colours(runs.replace("bags = 2", "")))
    assert find_result(plain, "forest") is None


def test_a_bagged_network_leaves_no_checkpoint(colours):
    run = """
    [runs.net]
    model = "fine_tune"
    encoder = "timm:mobilenetv3_small_050"
    pretrained = false
    epochs = 1
    bags = 2
    encoder_args = { pretrained_cfg_overlay = { input_size = [3, 32, 32] } }
    """
    result = crossval(prepare(colours(run)), "net")
    assert not list(result.folder.rglob("checkpoint*"))
