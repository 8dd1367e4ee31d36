"""Bagging: draws keep every class, the mean predicts, a bagged run survives being read back."""

from __future__ import annotations

import numpy as np
import pytest
from support.clouds import clouds, split

from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.core.tensors import read_tensors
from kit.data.prepared import prepare
from kit.data.table import read_test
from kit.kaggle.bundle import read_bundle
from kit.kaggle.bundle.inference import as_competition, find_data, predict_table
from kit.kaggle.bundle.writing import write_bundle
from kit.models import copies as bagging
from kit.models.copies import Bagged, draw_bootstrap
from kit.models.heads.linear_probe import LinearProbe
from kit.models.training import loop
from kit.report.correlation import check_trains
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result, fold_folder
from kit.runs.verify import verify

NET = """
[runs.{name}]
model = "small_cnn"
image_size = 16
channels = [4, 8]
epochs = 2
seed = {seed}
seeds = {seeds}
"""


def runs(*each: tuple[str, int, int]) -> str:
    return "".join(NET.format(name=name, seed=seed, seeds=seeds) for name, seed, seeds in each)


@pytest.fixture
def prepared(colours):
    return prepare(colours(runs(("both", 3, 2), ("first", 3, 1), ("second", 4, 1))))


def test_a_draw_is_of_the_same_size_within_every_class(tmp_path):
    labeled, _ = split(*clouds(tmp_path, n_labeled=30))
    drawn = draw_bootstrap(labeled, seed=3)
    assert len(drawn) < len(labeled) and set(drawn.rows) <= set(labeled.rows)
    assert np.bincount(drawn.labels, weights=drawn.weights).tolist() == [10, 10, 10]
    assert np.array_equal(draw_bootstrap(labeled, seed=3).weights, drawn.weights)
    assert not np.array_equal(draw_bootstrap(labeled, seed=4).rows, drawn.rows)


def test_bagged_predictions_are_the_mean_of_different_copies(tmp_path):
    labeled, others = split(*clouds(tmp_path))
    bagged = Bagged(lambda seed: LinearProbe("given", seed=seed), 3, seed=0).fit(labeled, others)
    each = [copy.predict_proba(others) for copy in bagged.copies]
    assert not np.allclose(each[0], each[1])
    assert bagged.predict_proba(others) == pytest.approx(np.mean(each, axis=0))
    again = Bagged(lambda seed: LinearProbe("given", seed=seed), 3, seed=0).restore(bagged.tensors(), ("a", "b", "c"))
    assert np.array_equal(again.predict_proba(others), bagged.predict_proba(others))


@pytest.mark.usefixtures("toys")
def test_bags_are_an_option_of_any_run_and_make_another_run(colours):
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


def test_a_draw_of_bags_loses_no_class(tiles):
    drawn = draw_bootstrap(tiles.training(0), seed=0)
    assert (drawn.labels.any(axis=0) == tiles.training(0).labels.any(axis=0)).all()
    assert drawn.weights.sum() == len(tiles.training(0))


def test_a_run_of_two_seeds_is_the_mean_of_two_runs(prepared):
    both, first, second = (crossval(prepared, name) for name in ("both", "first", "second"))
    for name in ("oof", "test", "unlabeled"):
        expected = np.mean([result.predictions(name).proba for result in (first, second)], axis=0)
        assert both.predictions(name).proba == pytest.approx(expected, abs=1e-6)
    assert not np.allclose(first.predictions("test").proba, second.predictions("test").proba)
    verify(prepared, [both])


def test_the_number_of_seeds_makes_another_run(colours):
    crossval(prepare(colours(runs(("net", 0, 1)))), "net")
    assert find_result(prepare(colours(runs(("net", 0, 2)))), "net") is None


def test_a_run_stopped_between_two_seeds_goes_on_there(colours, prepared, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    fit = bagging.Averaged.fit

    def late(self, labeled, unlabeled):
        """Let time be up once the first copy of the first fold is trained."""
        self.copies[0].fit(labeled, unlabeled)
        set_deadline(0)
        return fit(self, labeled, unlabeled)

    monkeypatch.setattr(bagging.Averaged, "fit", late)
    with pytest.raises(TimeIsUp):
        crossval(prepared, "both")
    set_deadline(None)
    monkeypatch.setattr(bagging.Averaged, "fit", fit)
    home = prepared.competition.workspace.runs("colours") / "both"
    (folder,) = home.iterdir()
    kept = sorted(path.name for path in folder.rglob("checkpoint*"))
    assert "checkpoint_0.pt" in kept
    both, first, second = (crossval(prepared, name) for name in ("both", "first", "second"))
    expected = np.mean([result.predictions("test").proba for result in (first, second)], axis=0)
    assert both.predictions("test").proba == pytest.approx(expected, abs=1e-6)
    assert not list(folder.rglob("checkpoint*"))


def test_the_kept_weights_hold_every_seed_and_a_bundle_predicts_with_all(prepared, tmp_path):
    result = crossval(prepared, "both")
    kept = read_tensors(fold_folder(result.folder, 0) / "model.safetensors")
    assert {name.partition(".")[0] for name in kept} == {"copy_0", "copy_1"}
    folder = write_bundle(prepared, [result], "somebody").folder
    bundle, root = read_bundle(folder), prepared.competition.root
    competition = as_competition(bundle, folder, find_data(root, bundle), tmp_path / "scratch")
    predictions, known = predict_table(bundle, competition, read_test(competition))[1], result.predictions("test")
    assert predictions.at(known.ids).proba == pytest.approx(known.proba, abs=1e-5)


def test_bags_have_seeds_of_their_own(colours):
    with pytest.raises(InputError, match="every bag has a seed of its own"):
        colours('[runs.forest]\nmodel = "forest"\nbags = 2\nseeds = 2\n')


def test_seeds_are_an_option_of_any_run(colours):
    prepared = prepare(colours('[runs.forest]\nmodel = "forest"\nn_trees = 5\nseeds = 3\n'))
    verify(prepared, [crossval(prepared, "forest")])


def test_several_networks_have_no_feature_space_in_common(prepared):
    with pytest.raises(InputError, match="2 bags or seeds"):
        check_trains(prepared.competition, "both")
