"""Remarks: what makes a CV better than new images will score is said of a run, and of what is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.curate.triage import choose_run
from kit.curate.triage.effect import measure_exclusion
from kit.data.prepared import prepare
from kit.report.board import leaderboard
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.seen import note_chosen
from kit.runs.tuning import tune
from kit.runs.verify import verify

PROBE = '[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\n'
CLEAN = '[runs.clean]\nmodel = "linear_probe"\nencoder = "given"\nexclude = "out.csv"\n'
TAUGHT = '[runs.taught]\nmodel = "linear_probe"\nencoder = "given"\npseudo = { teachers = ["clean"] }\n'
FOREST = '[runs.forest]\nmodel = "forest"\nn_trees = 5\n'
SEARCH = "search = { n_trees = { low = 2, high = 9 } }\n"
SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'


@pytest.fixture
def given(colours, tmp_path):
    """Return a function that makes `colours` ready with embeddings of noise, and two images to leave out."""

    def make(runs: str, changes: tuple[str, ...] = ()):
        competition = colours(runs, changes)
        values = np.random.default_rng(0).normal(size=(18 + 12 + 9, 4)).astype(np.float32)
        np.save(competition.root / "embeddings.npy", values)
        (competition.root / "out.csv").write_text("id,weight\n00001,0\n00007,0.5\n00008,1\n")
        return prepare(read_competition("colours", Workspace(tmp_path), ('data.embeddings="embeddings.npy"', *changes)))

    return make


def remarks_of(prepared, results) -> dict[str, str]:
    return {row.run: "; ".join(row.remarks) for row in leaderboard(prepared, results, {})}


def test_images_left_out_of_training_mark_the_cv_and_all_that_is_made_of_the_run(given):
    prepared = given(PROBE + CLEAN + TAUGHT)
    results = [crossval(prepared, name) for name in ("probe", "clean", "taught")]
    remarks = remarks_of(prepared, [*results, ensemble(prepared, results[:2])])
    told = "CV optimistic: 2 images are left out of training by out.csv; where oof told which, as triage does"
    assert "optimistic" not in remarks["probe"]
    assert all(told in remarks[name] for name in ("clean", "taught", "ensemble"))


def test_encoders_that_a_plan_chose_by_the_labels_mark_the_cv_of_all_that_reads_them(given):
    prepared = given(PROBE + FOREST)
    results = [crossval(prepared, name) for name in ("probe", "forest")]
    home = prepared.competition.workspace.runs(prepared.competition.name)
    note_chosen(home, [[("given", {}), ("timm:other", {})]])
    assert "optimistic" not in remarks_of(prepared, results)["probe"]  # it reads one of those that were joined
    note_chosen(home, [[("given", {})]])
    remarks = remarks_of(prepared, [*results, ensemble(prepared, results)])
    told = "the labels that are scored had a say in the encoders, or in what these see of an image"
    assert told in remarks["probe"] and told in remarks["ensemble"] and "optimistic" not in remarks["forest"]


def test_run_json_names_the_list_and_how_many_images_it_leaves_out(given):
    prepared = given(CLEAN)
    result = crossval(prepared, "clean")
    assert (result.record.exclude["file"], result.record.exclude["n_images"]) == ("out.csv", 2)
    assert "2 images left out of training by out.csv, whose choice nothing checks" in verify(prepared, [result])[1]


def test_weights_of_one_leave_nothing_out_and_mark_nothing(given):
    prepared = given(CLEAN)
    (prepared.competition.root / "out.csv").write_text("id,weight\n00001,1\n")
    assert "optimistic" not in remarks_of(prepared, [crossval(prepared, "clean")])["clean"]


def test_the_effect_of_leaving_out_says_where_it_leans_and_gives_no_verdict(given):
    prepared = given(PROBE)
    message = str(measure_exclusion(prepared, "probe", prepared.competition.root / "out.csv"))
    assert "both lean up" in message and "the second down, since what the run got wrong is left out" in message
    assert not any(verdict in message for verdict in ("better", "worse", "distinguishable"))


def test_triage_asks_the_run_of_the_lowest_loss(given):
    prepared = given(PROBE + SVM, ('competition.metric="log_loss"',))
    results = [crossval(prepared, name) for name in ("probe", "svm")]
    assert choose_run(prepared, results, None) == min(results, key=lambda result: result.record.cv)


def test_an_ensemble_of_refitted_members_names_them(colours):
    prepared = prepare(colours(SVM + "refit = true\n" + FOREST))
    results = [crossval(prepared, name) for name in ("svm", "forest")]
    remarks = remarks_of(prepared, [*results, ensemble(prepared, results)])
    assert remarks["forest"] == ""
    assert "CV not measured: sent is one model refitted on everything, the CV" in remarks["svm"]
    assert "CV not measured: sent is one model refitted on everything for svm, the CV" in remarks["ensemble"]


def test_settings_that_tune_has_searched_on_these_folds_mark_the_cv(colours):
    tuned = tune(prepare(colours(FOREST + SEARCH)), "forest", 3)
    other = next(trial.options["n_trees"] for trial in tuned.trials if trial.options["n_trees"] != 5)
    pasted = f'[runs.forest_tuned]\nmodel = "forest"\nn_trees = {other}\n'
    prepared = prepare(colours(FOREST + pasted + SVM))
    results = [crossval(prepared, name) for name in ("forest", "forest_tuned", "svm")]
    remarks = remarks_of(prepared, [*results, ensemble(prepared, results)])
    told = "CV optimistic: the settings of forest_tuned were searched by tune on these folds"
    assert told in remarks["forest_tuned"] and told in remarks["ensemble"]
    assert remarks["forest"] == remarks["svm"] == ""


def test_a_found_setting_stays_marked_when_the_run_takes_it_over_and_is_tuned_again(colours):
    tuned = tune(prepare(colours(FOREST + SEARCH)), "forest", 3)
    other = next(trial.options["n_trees"] for trial in tuned.trials if trial.options["n_trees"] != 5)
    prepared = prepare(colours(FOREST.replace("5", str(other)) + SEARCH))
    tune(prepared, "forest", 3)
    assert "searched by tune" in remarks_of(prepared, [crossval(prepared, "forest")])["forest"]


def test_settings_searched_on_other_folds_mark_nothing(colours):
    tuned = tune(prepare(colours(FOREST + SEARCH)), "forest", 3)
    other = next(trial.options["n_trees"] for trial in tuned.trials if trial.options["n_trees"] != 5)
    competition = colours(FOREST.replace("5", str(other)), ("folds.seed=7",))
    competition.workspace.folds("colours").unlink()
    prepared = prepare(competition)
    assert remarks_of(prepared, [crossval(prepared, "forest")])["forest"] == ""
