"""Where a team stands: rank correlation, the noise of a public score, the two to choose."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr
from support.channels import CODED, ONE, ONE_FOREST, TESTED, make_by_turns
from support.kaggle_site import copy_workspace

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.kaggle.submission.ledger import LEDGER_COLUMNS
from kit.kaggle.submission.listing import render_submissions
from kit.kaggle.submission.standing import _disagreement, correlate_cv, pick_two, public_error, warn_of_noise
from kit.runs.decide.decisions import decided_test
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result
from kit.scoring.predictions import Predictions, write_predictions


@pytest.fixture
def prepared(trained_workspace, tmp_path):
    return prepare(read_competition("colours", Workspace(copy_workspace(trained_workspace[0], tmp_path / "w"))))


def row(run: str, cv: float | str, public: float | str, ref: int = 1, key: str = "", **more: str) -> dict[str, str]:
    row = {"file": f"{ref:03d}_{run}.csv", "run": run, "cv": str(cv), "se": "0.05", "public": str(public)}
    return dict.fromkeys(LEDGER_COLUMNS, "") | row | {"ref": str(ref), "key": key, "status": "COMPLETE"} | more


def change_test_labels(prepared, run: str, n_images: int) -> None:
    """Let a run label some test images otherwise."""
    result = find_result(prepared, run)
    test = result.predictions("test")
    proba = test.proba.copy()
    proba[:n_images] = np.roll(proba[:n_images], 1, axis=1)
    write_predictions(result.folder / "test.parquet", Predictions(test.ids, test.classes, proba))


def keyed(prepared, run: str, cv: float, public: float, ref: int) -> dict[str, str]:
    return row(run, cv, public, ref, find_result(prepared, run).record.key)


def test_the_rank_correlation_is_scipys_and_lies_in_its_interval():
    cvs, publics = [0.5, 0.6, 0.7, 0.8, 0.9, 0.75], [0.52, 0.58, 0.74, 0.72, 0.91, 0.7]
    correlation = correlate_cv(
        [row("r", cv, public, i) for i, (cv, public) in enumerate(zip(cvs, publics, strict=True))]
    )
    assert correlation.rho == pytest.approx(spearmanr(cvs, publics).statistic)
    assert -1 <= correlation.low <= correlation.rho <= correlation.high <= 1 and correlation.n == 6


def test_draws_that_repeat_one_submission_leave_the_interval_a_number():
    pairs = [(0.92, 0.80), (0.88, 0.86), (0.90, 0.82), (0.91, 0.88), (0.84, 0.84)]
    correlation = correlate_cv([row("r", cv, public, i) for i, (cv, public) in enumerate(pairs)])
    assert correlation.rho == pytest.approx(-0.3) and -1 <= correlation.low < correlation.high <= 1


def test_three_submissions_are_too_few_for_a_rank_correlation():
    correlation = correlate_cv(
        [row("r", i, i, i) for i in range(3)] + [row("hand", "", 0.5, 9), row("pending", 0.5, "", 10)]
    )
    assert correlation.rho is None and "3 scored submissions with a CV, too few" in str(correlation)


def test_scores_that_never_change_have_no_rank_correlation():
    assert "have no ranks" in str(correlate_cv([row("r", 0.5, i, i) for i in range(5)]))


def test_the_error_of_an_accuracy_is_binomial_over_the_public_images(prepared):
    assert public_error(prepared, row("r", 0.8, 0.75), 1.0) == pytest.approx(math.sqrt(0.75 * 0.25 / 9))
    assert public_error(prepared, row("r", 0.8, ""), 1.0) is None


def test_choosing_by_less_than_the_noise_is_warned_of(prepared):
    rows = [row("svm", 0.90, 0.80, 1), row("forest", 0.85, 0.81, 2)]
    message = warn_of_noise(prepared, rows, 0.5)
    assert "forest (002_forest.csv) is ahead of svm (001_svm.csv), the best by CV, by 0.0100" in message
    assert "taking 50% of the test images as public" in message


def test_a_lead_beyond_the_noise_is_not_warned_of(prepared):
    assert warn_of_noise(prepared, [row("svm", 0.9, 0.01, 1), row("forest", 0.8, 0.99, 2)], 1.0) is None


def test_the_noise_of_two_runs_is_that_of_the_images_they_label_differently(prepared):
    change_test_labels(prepared, "forest", 1)
    rows = [keyed(prepared, "svm", 0.9, 0.5, 1), keyed(prepared, "forest", 0.8, 0.6, 2)]
    assert f"{1.96 * math.sqrt(1 / 9 / 9):.4f} at 95 %" in warn_of_noise(prepared, rows, 1.0)


def test_public_scores_that_agree_with_cv_are_not_warned_of(prepared):
    assert warn_of_noise(prepared, [row("svm", 0.9, 0.8, 1), row("forest", 0.8, 0.7, 2)], 1.0) is None
    assert warn_of_noise(prepared, [], 1.0) is None


def test_the_best_cv_and_the_most_different_good_one_are_chosen(prepared):
    change_test_labels(prepared, "forest", 4)
    rows = [keyed(prepared, "svm", 1.0, 0.5, 1), keyed(prepared, "forest", 0.9, 0.6, 2)]
    first, second = pick_two(prepared, [*rows, row("hand", "", 0.99, 3)])
    assert (first.ref, second.ref) == ("1", "2") and "other labels on 44.4% of the test images" in second.why


def test_a_run_that_is_worse_is_not_chosen_however_different(prepared):
    result = find_result(prepared, "forest")
    oof = result.predictions("oof")
    write_predictions(result.folder / "oof.parquet", Predictions(oof.ids, oof.classes, np.roll(oof.proba, 1, axis=1)))
    rows = [keyed(prepared, "svm", 1.0, 0.5, 1), keyed(prepared, "forest", 0.1, 0.6, 2)]
    assert [pick.ref for pick in pick_two(prepared, rows)] == ["1"]


def test_a_run_that_labels_all_test_images_the_same_is_no_second_choice(prepared):
    rows = [keyed(prepared, "svm", 1.0, 0.5, 1), keyed(prepared, "forest", 0.9, 0.6, 2)]
    assert [pick.ref for pick in pick_two(prepared, rows)] == ["1"]


def test_nothing_scored_means_nothing_to_choose(prepared):
    assert pick_two(prepared, [row("svm", 0.9, "", 1, status="PENDING")]) == []


def test_the_table_shows_what_others_wrote_as_it_is():
    console = Console(file=io.StringIO(), width=132)
    console.print(render_submissions([row("", "", 0.5, message="[bold]x[/bold]\x1b[2J")], [], "t"))
    assert "[bold]x[/bold]?[2J" in console.file.getvalue() and "by hand" in console.file.getvalue()


def test_runs_that_reject_other_images_disagree(tmp_path):
    runs = ONE_FOREST + '[runs.other]\nmodel = "forest"\nn_trees = 10\nseed = 1\n'
    choosy = '[decision]\nnone_of_these = "none"\naccept_rate = 0.4'
    prepared = make_by_turns(tmp_path, "id,label\n{id},{code}", ONE, CODED + TESTED + choosy, runs)
    results = [crossval(prepared, name) for name in ("forest", "other")]
    sent = [decided_test(prepared, result).proba.argmax(axis=1) for result in results]
    assert any((codes == len(prepared.classes)).any() for codes in sent)
    assert _disagreement(prepared, *results) == pytest.approx(np.mean(sent[0] != sent[1]))


def test_runs_that_label_one_class_otherwise_disagree_on_that_image(paints, tmp_path):
    prepared, result = paints
    test = result.predictions("test")
    proba = test.proba.copy()
    proba[0, 4] = 1 - proba[0, 4].round()
    write_predictions(tmp_path / "test.parquet", replace(test, proba=proba))
    assert _disagreement(prepared, result, replace(result, folder=tmp_path)) == pytest.approx(1 / len(test))
