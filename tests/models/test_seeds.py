"""Several seeds as one run: the mean of runs that differ in their seed alone, kept, resumed and bundled as one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.core.tensors import read_tensors
from kit.data.prepared import prepare
from kit.data.table import read_test
from kit.kaggle.bundle import read_bundle
from kit.kaggle.bundle.inference import as_competition, find_data, predict_table
from kit.kaggle.bundle.writing import write_bundle
from kit.models import copies as bagging
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


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Spare tiny networks the waiting of threads for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    set_deadline(None)


@pytest.fixture
def prepared(colours):
    return prepare(colours(runs(("both", 3, 2), ("first", 3, 1), ("second", 4, 1))))


def test_a_run_of_two_seeds_is_the_mean_of_two_runs(prepared):
    both, first, second = (crossval(prepared, name) for name in ("both", "first", "second"))
    for split in ("oof", "test", "unlabeled"):
        expected = np.mean([own.predictions(split).proba for own in (first, second)], axis=0)
        assert both.predictions(split).proba == pytest.approx(expected, abs=1e-6)
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
    expected = np.mean([own.predictions("test").proba for own in (first, second)], axis=0)
    assert both.predictions("test").proba == pytest.approx(expected, abs=1e-6)
    assert not list(folder.rglob("checkpoint*"))


def test_the_kept_weights_hold_every_seed_and_a_bundle_predicts_with_all(prepared, tmp_path):
    result = crossval(prepared, "both")
    kept = read_tensors(fold_folder(result.folder, 0) / "model.safetensors")
    assert {name.partition(".")[0] for name in kept} == {"copy_0", "copy_1"}
    folder = write_bundle(prepared, [result], "somebody").folder
    bundle, root = read_bundle(folder), prepared.competition.root
    competition = as_competition(bundle, folder, find_data(root, bundle), tmp_path / "scratch")
    said, known = predict_table(bundle, competition, read_test(competition))[1], result.predictions("test")
    assert said.at(known.ids).proba == pytest.approx(known.proba, abs=1e-5)


def test_bags_have_seeds_of_their_own(colours):
    with pytest.raises(InputError, match="every bag has a seed of its own"):
        colours('[runs.forest]\nmodel = "forest"\nbags = 2\nseeds = 2\n')


def test_seeds_are_an_option_of_any_run(colours):
    prepared = prepare(colours('[runs.forest]\nmodel = "forest"\nn_trees = 5\nseeds = 3\n'))
    verify(prepared, [crossval(prepared, "forest")])


def test_several_networks_have_no_feature_space_in_common(prepared):
    with pytest.raises(InputError, match="2 bags or seeds"):
        check_trains(prepared.competition, "both")
