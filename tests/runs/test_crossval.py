"""Cross-validation: a memoriser scores at chance, oof covers each image once, nothing is done twice."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from support.journal import FITS

from kit.core.errors import InputError, LeakFound, MissingWeights
from kit.core.files import read_json
from kit.data.images import names_of
from kit.data.prepared import prepare
from kit.runs.fit.crossval import crossval
from kit.runs.fit.fold import fold_seed
from kit.runs.store import find_result, fold_folder, oof_rows
from kit.runs.store.build import build_model
from kit.runs.store.find import run_key
from kit.runs.verify import verify
from kit.scoring.metrics import METRICS
from kit.scoring.predictions import Predictions, write_predictions

MEMORISER = """
[runs.memoriser]
model = "memoriser"

[runs.student]
model = "memoriser"
use_test_images = true
pseudo = { teachers = ["memoriser"], keep_rate = 1.0, rounds = 2 }
"""


pytestmark = pytest.mark.usefixtures("toys")


def test_a_memoriser_scores_at_chance(colours):
    prepared = prepare(colours(MEMORISER))
    labels, proba = oof_rows(prepared, crossval(prepared, "memoriser").predictions("oof"))
    assert proba == pytest.approx(np.full(proba.shape, 1 / 3))
    assert METRICS["log_loss"].score(labels, proba) == pytest.approx(np.log(3))


def test_a_leaking_cross_validation_scores_a_memoriser_at_one(colours, monkeypatch):
    """The guard can fail: were the fold's own images in the training, this is what it would say."""
    prepared = prepare(colours(MEMORISER))
    leak = prepared.pool.select(prepared.labeled, prepared.labels)
    monkeypatch.setattr(type(prepared), "training", lambda self, fold: leak)
    result = crossval(prepared, "memoriser")
    assert result.record.cv == 1.0
    monkeypatch.undo()
    with pytest.raises(LeakFound, match="memoriser fold 0: fitted on"):
        verify(prepared, [result])


def test_a_memoriser_taught_by_a_memoriser_scores_at_chance(colours):
    prepared = prepare(colours(MEMORISER))
    crossval(prepared, "memoriser")
    _, proba = oof_rows(prepared, crossval(prepared, "student").predictions("oof"))
    # With use_test_images its own fold's images are in the pool, labelled by models that know nothing of them:
    # every one as the first class.
    assert set(proba.argmax(axis=1)) == {0}


def test_oof_covers_every_labeled_image_once(colours):
    prepared = prepare(colours())
    oof = crossval(prepared, "svm").predictions("oof")
    assert sorted(oof.ids) == sorted(prepared.pool.ids[prepared.labeled])


def test_test_predictions_are_the_mean_of_the_folds(colours):
    prepared = prepare(colours())
    result = crossval(prepared, "svm")
    parts = [result.fold_predictions(fold, "test").proba for fold in prepared.scored]
    assert result.predictions("test").proba == pytest.approx(np.mean(parts, axis=0), abs=1e-6)


def test_a_finished_run_is_not_fitted_again(colours):
    prepared = prepare(colours(MEMORISER))
    crossval(prepared, "memoriser")
    crossval(prepared, "memoriser")
    assert len(FITS) == 3


def test_a_killed_run_goes_on_at_the_missing_fold(colours):
    prepared = prepare(colours(MEMORISER))
    result = crossval(prepared, "memoriser")
    before = result.predictions("oof")
    (result.folder / "run.json").unlink()
    shutil.rmtree(fold_folder(result.folder, 1))
    again = crossval(prepared, "memoriser")
    assert len(FITS) == 4 and FITS[3] == FITS[1]
    assert (again.predictions("oof").at(before.ids).proba == before.proba).all()


def test_another_option_is_another_folder_and_going_back_costs_nothing(colours):
    first = crossval(prepare(colours(MEMORISER)), "memoriser")
    other = crossval(prepare(colours(MEMORISER, ("runs.memoriser.bias=1.0",))), "memoriser")
    assert first.folder != other.folder
    assert crossval(prepare(colours(MEMORISER)), "memoriser") == first
    assert len(FITS) == 6


def test_another_seed_is_another_run(colours):
    prepared = prepare(colours(MEMORISER))
    run = prepared.competition.run("memoriser")
    assert run_key(prepared, run) != run_key(prepared, run.model_copy(update={"seed": 1}))


def test_a_retrained_teacher_makes_the_student_stale(colours):
    prepared = prepare(colours(MEMORISER))
    crossval(prepared, "memoriser")
    crossval(prepared, "student")
    changed = prepare(colours(MEMORISER, ("runs.memoriser.bias=1.0",)))
    assert find_result(changed, "student") is None


def test_an_untrained_teacher_is_named(colours):
    with pytest.raises(InputError, match=r"teacher memoriser has not been trained"):
        crossval(prepare(colours(MEMORISER)), "student")


@pytest.mark.usefixtures("no_worse_is_kept")
def test_pseudo_labels_come_from_the_same_folds_models(colours):
    prepared = prepare(colours(MEMORISER))
    crossval(prepared, "memoriser")
    student = crossval(prepared, "student")
    for fold in prepared.scored:
        ledger = read_json(fold_folder(student.folder, fold) / "provenance.json")
        assert {teacher["fold"] for teacher in ledger["teachers"]} == {fold}
        assert not set(ledger["labeled"]) & set(names_of(prepared.held_out(fold)))
    verify(prepared, [student])


def test_a_swept_setting_is_chosen_on_the_other_folds(colours):
    prepared = prepare(colours('[runs.dialled]\nmodel = "dialled"'))
    result = crossval(prepared, "dialled")
    assert set(result.record.chosen["per_fold"].values()) == {1.0}
    assert result.record.cv == 1.0
    sweep = fold_folder(result.folder, 0) / "sweep.npy"
    spoiled = np.load(sweep)[::-1]  # fold 0 alone now prefers 0: its own choice must not change
    np.save(sweep, spoiled)
    for file in ("run.json", "fold_0/settled.json", "fold_1/settled.json", "fold_2/settled.json"):
        (result.folder / file).unlink()
    again = crossval(prepared, "dialled")
    assert again.record.chosen["per_fold"]["0"] == 1.0


def test_a_single_hold_out_takes_the_default_because_nothing_may_be_chosen_on_it(colours):
    runs = '[runs.dialled]\nmodel = "dialled"'
    prepared = prepare(colours(runs, ("folds.use=[0]",)))
    result = crossval(prepared, "dialled")
    assert result.record.chosen["per_fold"] == {"0": 0.5}
    assert len(result.predictions("oof")) == (prepared.folds == 0).sum()


def test_a_value_the_user_fixed_is_taken_with_a_single_hold_out_too(colours):
    runs = '[runs.dialled]\nmodel = "dialled"\ndial = 1.0'
    result = crossval(prepare(colours(runs, ("folds.use=[0]",))), "dialled")
    assert result.record.chosen["per_fold"] == {"0": 1.0} and result.record.cv == 1.0


def test_another_metric_scores_finished_runs_anew_without_fitting(colours):
    first = crossval(prepare(colours(MEMORISER)), "memoriser")
    again = crossval(prepare(colours(MEMORISER, ("competition.metric=log_loss",))), "memoriser")
    assert len(FITS) == 3 and first.folder == again.folder
    assert again.record.cv == pytest.approx(np.log(3)) and again.record.metric == "log_loss"


def test_another_metric_chooses_a_swept_setting_anew(colours):
    runs = '[runs.dialled]\nmodel = "dialled"'
    first, again = (prepare(colours(runs, changes)) for changes in ((), ("competition.metric=log_loss",)))
    assert run_key(first, first.competition.run("dialled")) != run_key(again, again.competition.run("dialled"))


def test_equal_ids_in_different_splits_stay_apart(colours):
    competition = colours(MEMORISER)
    for split in ("unlabeled", "test"):
        for number, path in enumerate(sorted((competition.root / split).iterdir())):
            path.rename(path.with_name(f"{number + 1:05d}.png"))  # as the training images are called
    sample = "id,label\n" + "".join(f"{number + 1:05d},red\n" for number in range(9))
    (competition.root / "sample_submission.csv").write_text(sample)
    prepared = prepare(competition)
    results = [crossval(prepared, name) for name in ("memoriser", "student")]
    assert verify(prepared, results)
    assert results[1].record.cv == pytest.approx(1 / 3)


def test_a_run_that_lost_a_file_is_made_whole(colours):
    prepared = prepare(colours(MEMORISER))
    result = crossval(prepared, "memoriser")
    (result.folder / "oof.parquet").unlink()
    (fold_folder(result.folder, 2) / "test.parquet").unlink()
    assert find_result(prepared, "memoriser") is None
    assert len(crossval(prepared, "memoriser").predictions("oof")) == 18 and len(FITS) == 4


def test_a_wrong_option_is_refused_and_not_taken_for_an_untrained_run(colours):
    crossval(prepare(colours(MEMORISER)), "memoriser")
    with pytest.raises(InputError, match="no option 'bais'"):
        find_result(prepare(colours(MEMORISER, ("runs.memoriser.bais=1.0",))), "memoriser")


def test_other_embeddings_are_another_run(colours):
    prepared = prepare(colours(MEMORISER))
    run = prepared.competition.run("memoriser")
    keys = set()
    for value in (None, np.zeros((39, 2), np.float32), np.ones((39, 2), np.float32)):
        pool = dataclasses.replace(prepared.pool, embeddings=value)
        keys.add(run_key(dataclasses.replace(prepared, pool=pool), run))
    assert len(keys) == 3


def test_fold_seeds_differ_and_fit_scikit_learn():
    seeds = {fold_seed(seed, fold) for seed in (0, 1, 1000, 20231122) for fold in range(5)}
    assert len(seeds) == 20 and all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.usefixtures("no_worse_is_kept")
def test_rounds_are_runs_of_their_own(colours):
    prepared = prepare(colours(MEMORISER))
    crossval(prepared, "memoriser")
    crossval(prepared, "student")
    home = prepared.competition.workspace.runs("colours")
    assert {path.name for path in home.iterdir()} >= {"student.1", "student.2", "memoriser"}


@pytest.mark.usefixtures("no_worse_is_kept")
def test_a_round_worse_than_the_one_before_is_dropped(colours):
    prepared = prepare(colours(MEMORISER))
    crossval(prepared, "memoriser")
    kept = crossval(prepared, "student")
    assert kept.record.rounds["kept"] == 2
    ids = prepared.pool.ids[prepared.labeled[prepared.scored_rows]]
    right = Predictions(ids, prepared.classes, np.eye(3)[prepared.labels[prepared.scored_rows]])
    first = next((kept.folder.parents[1] / "student.1").iterdir())
    write_predictions(first / "oof.parquet", right)
    shutil.rmtree(kept.folder)
    assert crossval(prepared, "student").record.rounds["kept"] == 1


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ('[runs.a]\nmodel = "forrest"', r"\[runs.a\] model = 'forrest' is not a model; did you mean 'forest'"),
        ('[runs.a]\nmodel = "forest"\nn_tree = 3', r"no option 'n_tree'; did you mean 'n_trees'"),
        ('[runs.a]\nmodel = "forest"\nn_trees = "3"', r"n_trees = '3'"),
        ('[runs.a]\nmodel = "forest"\nn_trees = 0', r"n_trees = 0.*greater than or equal to 1"),
        ('[runs.a]\nmodel = "zero_shot"', r"needs 'encoder'"),
    ],
)
def test_wrong_options_are_refused_with_table_and_key(colours, runs, message):
    competition = colours(runs)
    with pytest.raises(InputError, match=message):
        build_model(competition, competition.run("a"))


def test_weights_that_do_not_exist_are_found_before_any_work(colours):
    from kit.runs.fit.crossval import check_run

    runs = '[runs.a]\nmodel = "linear_probe"\nencoder = "timm:resnet18@nowhere.safetensors"'
    with pytest.raises(MissingWeights, match=r"nowhere\.safetensors"):
        check_run(prepare(colours(runs)), "a")


def test_provenance_names_everything_a_fold_was_fitted_on(colours):
    prepared = prepare(colours(MEMORISER))
    result = crossval(prepared, "memoriser")
    ledger = read_json(fold_folder(result.folder, 0) / "provenance.json")
    assert sorted(ledger["labeled"]) == sorted(names_of(prepared.training(0)))
