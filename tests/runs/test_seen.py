"""What was seen of the scores is remembered: searched values, prompt lists after a look, files of an older run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.colours import SVM, forest, lay_out, write_toml

from kit.config.reader import read_competition
from kit.core.files import Workspace, read_json
from kit.data.prepared import Prepared, prepare
from kit.report.board import leaderboard
from kit.runs.fit.crossval import crossval
from kit.runs.seen import SEARCHED, TUNE
from kit.runs.tuning import tune

SEARCH = "search = { n_trees = [5, 7] }\n"
N_WRITTEN, N_SEARCHED = 5, 7
LAST_STEPS = ("refit = true\n", "seeds = 2\n", "use_test_images = true\n")


def is_marked(prepared: Prepared, name: str) -> bool:
    """Return whether the leaderboard says of a run that its settings were searched."""
    rows = leaderboard(prepared, [crossval(prepared, name)], {})
    return any("were searched by tune on these folds" in remark for row in rows for remark in row.remarks)


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """Search the forest's number of trees once: its own value is 5, tried is 7 beside it."""
    root = tmp_path_factory.mktemp("searched")
    lay_out(root / "data" / "colours")
    write_toml(root / "competitions" / "colours", forest(N_WRITTEN, SEARCH))
    tuned = tune(prepare(read_competition("colours", Workspace(root))), "forest", 4)
    assert {trial.options["n_trees"] for trial in tuned.trials} == {N_WRITTEN, N_SEARCHED}
    return root


@pytest.fixture
def tuned(searched, tmp_path, colours):
    """Return `colours` in a copy of the workspace after the search."""
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    return colours


def test_a_found_value_stays_marked_whatever_else_the_run_changes(tuned):
    for step in LAST_STEPS:
        assert is_marked(prepare(tuned(forest(N_SEARCHED, step))), "forest"), step
    assert is_marked(prepare(tuned(forest(N_SEARCHED, "refit = true\n", "forest_tuned"))), "forest_tuned")
    assert is_marked(prepare(tuned(forest(N_SEARCHED, "refit = true\n", "final"))), "final"), (
        "all of its options are alike"
    )


def test_the_runs_own_values_stay_unmarked_whatever_else_it_changes(tuned):
    for step in LAST_STEPS:
        assert not is_marked(prepare(tuned(forest(N_WRITTEN, step))), "forest"), step


def test_another_option_beside_the_searched_ones_leaves_the_mark(tuned):
    assert is_marked(prepare(tuned(forest(N_SEARCHED, pixels=5))), "forest")
    assert not is_marked(prepare(tuned(forest(N_WRITTEN, pixels=5))), "forest")


def test_another_run_that_only_shares_the_searched_value_is_not_marked(tuned):
    assert not is_marked(prepare(tuned(forest(N_SEARCHED, name="other", pixels=5))), "other")


def test_a_run_of_another_model_or_other_folds_is_not_marked(tuned):
    assert not is_marked(prepare(tuned(SVM.replace("svm]", "forest]"))), "forest")
    competition = tuned(forest(N_SEARCHED, "refit = true\n"), ("folds.seed=7",))
    competition.workspace.folds("colours").unlink()
    assert not is_marked(prepare(competition), "forest")


def test_the_rounds_of_a_tuned_run_are_marked(tuned):
    taught = 'pseudo = { teachers = ["svm"] }\n'
    prepared = prepare(tuned(SVM + forest(N_SEARCHED, taught)))
    crossval(prepared, "svm")
    assert is_marked(prepared, "forest")


def test_a_second_search_with_another_setting_makes_nothing_the_runs_own(tuned):
    prepared = prepare(tuned(forest(N_SEARCHED, "refit = true\n" + SEARCH)))
    tune(prepared, "forest", 4)
    assert is_marked(prepared, "forest")
    assert not is_marked(prepare(tuned(forest(N_WRITTEN, "refit = true\n"))), "forest"), (
        "it was the run's before any search"
    )


def test_the_memory_outlives_the_search(tuned):
    prepared = prepare(tuned(forest(N_SEARCHED, "refit = true\n")))
    for study in _studies(prepared):
        shutil.rmtree(study)
    assert is_marked(prepared, "forest")


def test_a_search_without_the_memory_is_known_by_its_keys(tuned):
    prepared = prepare(tuned(forest(N_SEARCHED)))
    (file,) = _memory(prepared)
    for text in ("", "[1]", '[{"model": "forest"}]', '{"x": 1}', "null", "{"):
        file.write_text(text)
        assert is_marked(prepared, "forest"), text
    assert not is_marked(prepare(tuned(forest(N_WRITTEN))), "forest")


def test_a_search_that_goes_on_after_its_memory_was_lost_knows_the_runs_own_values(tuned):
    prepared = prepare(tuned(forest(N_SEARCHED, SEARCH)))
    for file in _memory(prepared):
        file.unlink()
    tune(prepared, "forest", 5)
    assert is_marked(prepare(tuned(forest(N_SEARCHED, "refit = true\n"))), "forest")


def test_a_search_notes_a_setting_once(tuned):
    prepared = prepare(tuned(forest(N_WRITTEN, SEARCH)))
    tune(prepared, "forest", 6)
    (file,) = _memory(prepared)
    assert [(trial["options"]["n_trees"], trial["own"]) for trial in read_json(file)] == [
        (N_WRITTEN, True),
        (N_SEARCHED, False),
    ]


def _memory(prepared: Prepared) -> list[Path]:
    return list((prepared.competition.workspace.runs("colours") / TUNE).glob(f"*/{SEARCHED}"))


def _studies(prepared: Prepared) -> list[Path]:
    return [path for path in (prepared.competition.workspace.runs("colours") / TUNE).glob("*/*") if path.is_dir()]
