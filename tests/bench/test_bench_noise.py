"""Bench noise: the user's own runs on labels that mean nothing, and what the leaderboard says of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from kit.bench import noise
from kit.bench.noise import bench_noise, bench_search_noise, list_runs, permute, render_noise
from kit.config.runs import PseudoPlan
from kit.data.prepared import prepare
from kit.report.board import describe_nesting, leaderboard, remarks_on
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.noise import Optimism, describe_search, keep_noise, measured_key, read_noise
from kit.runs.store.find import run_key, settings_key
from kit.runs.tuning.setting import change

RUNS = """
[runs.probe]
model = "linear_probe"
encoder = "given"
C = "nested"
[runs.forest]
model = "forest"
pixels = 4
n_trees = 3
[runs.network]
model = "small_cnn"
"""


@pytest.fixture
def given(embedded):
    return prepare(embedded(RUNS))


def files_of(prepared):
    runs = prepared.competition.workspace.runs(prepared.competition.name)
    return {path for path in runs.rglob("*") if path.is_file() and "cache" not in path.parts}


def test_labels_are_permuted_within_the_folds(given, tmp_path):
    noisy = permute(given, 0, tmp_path)
    assert not np.array_equal(noisy.labels, given.labels)
    for fold in given.scored:
        assert sorted(noisy.fold_labels(fold)) == sorted(given.fold_labels(fold))


def test_runs_are_measured_without_networks_and_nothing_of_the_users_is_touched(given):
    result = crossval(given, "probe")
    before, kept = files_of(given), (result.folder / "run.json").read_bytes()
    measured = {each.run: each for each in bench_noise(given, 2)}
    assert list(measured) == ["probe", "forest", "ensemble"]
    assert measured["forest"].over_fixed is None and measured["probe"].over_fixed is not None
    assert measured["probe"].key == result.record.key
    assert files_of(given) == before and (result.folder / "run.json").read_bytes() == kept


def test_what_was_measured_of_an_ensemble_is_not_told_of_one_of_other_members(given):
    results = [crossval(given, name) for name in ("probe", "forest")]
    keep_noise(given, bench_noise(given, 2))
    assert all(read_noise(given, each) is not None for each in (*results, ensemble(given, results)))
    assert read_noise(given, ensemble(given, results[:1])) is None
    runs = given.competition.runs
    changed = {"forest": runs["forest"].model_copy(update={"options": {"pixels": 4, "n_trees": 4}})}
    other = dataclasses.replace(given, competition=given.competition.model_copy(update={"runs": runs | changed}))
    results = [crossval(other, name) for name in ("probe", "forest")]
    told = [read_noise(other, each) is not None for each in (*results, ensemble(other, results))]
    assert told == [True, False, False]


def test_what_decides_a_taught_run_is_told_by_words_weights_and_teachers_before_it_is_trained(given):
    taught = given.competition.run("probe").model_copy(
        update={"name": "taught", "pseudo": PseudoPlan(teachers=["forest"]), "exclude": "left.csv"}
    )
    left = given.competition.folder / "left.csv"

    def key(**options) -> str:
        forest = given.competition.run("forest")
        forest = forest.model_copy(update={"options": forest.options | options})
        runs = given.competition.runs | {"forest": forest}
        other = dataclasses.replace(given, competition=given.competition.model_copy(update={"runs": runs}))
        return settings_key(other, taught)

    left.write_text(f"id\n{given.pool.ids[given.labeled[0]]}\n")
    first = key()
    assert key() == first != key(n_trees=4)
    left.write_text(f"id\n{given.pool.ids[given.labeled[1]]}\n")
    assert key() != first
    assert settings_key(given, given.competition.run("probe")) == run_key(given, given.competition.run("probe"))


def test_what_was_measured_under_other_thresholds_is_not_told(several):
    prepared, result = several
    keep_noise(prepared, [Optimism(result.name, result.record.key, 0.1, 0.01, 0.1, 0.01, 9)])
    assert read_noise(prepared, result) is not None
    decision = prepared.competition.decision.model_copy(update={"thresholds": 0.3})
    other = prepared.competition.model_copy(update={"decision": decision})
    assert read_noise(dataclasses.replace(prepared, competition=other), result) is None
    (prepared.competition.workspace.runs(prepared.competition.name) / "noise.json").unlink()  # others share it


def test_the_ensemble_that_is_measured_has_the_members_of_the_users(embedded):
    given = prepare(embedded(RUNS, '[ensemble]\nmembers = ["probe"]\n'))
    assert "ensemble" not in {each.run for each in bench_noise(given, 2)}  # one alone is no ensemble


def test_networks_are_made_where_they_are_asked_for(given):
    assert "network" in list_runs(given, with_networks=True)


def test_what_exceeds_one_standard_error_is_marked_and_nothing_else(given):
    result = crossval(given, "probe")
    for value, is_marked in ((0.02, True), (0.005, False)):
        keep_noise(given, [Optimism("probe", result.record.key, value, 0.01, 0.5, 0.01, 9)])
        marks = [remark for remark in remarks_on(given, result, None) if "labels mean nothing" in remark]
        assert bool(marks) is is_marked
    assert read_noise(given, result.with_record(key="another")) is None


def test_the_command_prints_and_keeps_what_it_measured(given, run_command):
    code, out, _ = run_command(given.competition.workspace.root, "bench", "noise", "colours", "--draws", "2", "--json")
    printed = json.loads(out)
    assert code == 0 and {row["run"] for row in printed} == {"probe", "forest", "ensemble"}
    kept = json.loads((given.competition.workspace.runs("colours") / "noise.json").read_text())
    assert [row["over_chance"] for row in kept["runs"]] == [row["over_chance"] for row in printed]


def test_thresholds_are_told_of_against_chance_since_they_pay_on_noise_too(given):
    measured = Optimism("probe", measured_key(given, "probe"), 0.2, 0.01, 0.004, 0.01, 9, has_thresholds=True)
    assert measured.told == (0.004, 0.01) and not measured.exceeds
    keep_noise(given, [measured])
    noted = read_noise(given, crossval(given, "probe"))
    assert noted is not None and noted.has_thresholds


def test_a_search_is_measured_on_folds_that_it_did_not_use_and_nothing_is_left(given):
    before = files_of(given)
    (measured,) = bench_search_noise(given, ["forest"], 2, 2)
    assert (measured.run, measured.n_draws, measured.n_trials) == ("forest", 2, 2)
    assert measured.over_chance is None and measured.told == (measured.over_fixed, measured.over_fixed_se)
    assert files_of(given) == before and render_noise([measured]).row_count == 1


def test_what_tune_reports_says_by_how_much_it_flatters_or_that_nobody_measured_it(given):
    key = run_key(given, change(given.competition.run("probe"), {}))
    assert "bench noise colours --tune probe" in describe_search(given, "probe", key)
    for value, is_marked in ((0.02, True), (0.005, False)):
        keep_noise(given, [Optimism("probe", key, value, 0.01, None, None, 9, n_trials=5)])
        told = describe_search(given, "probe", key)
        assert told.startswith("* ") is is_marked and f"{value:+.4f} ± 0.0100" in told and "9 draws of 5 trials" in told
    assert "bench noise" in describe_search(given, "probe", "another key")


def test_what_was_measured_of_a_search_stays_beside_what_is_measured_of_runs(given):
    result = crossval(given, "probe")
    keep_noise(given, [Optimism("probe", "any", 0.02, 0.01, None, None, 9, n_trials=5)])
    keep_noise(given, [Optimism("probe", result.record.key, 0.01, 0.02, 0.0, 0.01, 7)])
    assert describe_search(given, "probe", "any").startswith("* ")
    assert read_noise(given, result) == Optimism("probe", result.record.key, 0.01, 0.02, 0.0, 0.01, 7)


def test_the_leaderboard_says_what_is_not_nested_to_the_letter_and_what_is_known_of_it(given):
    results = [crossval(given, name) for name in ("probe", "forest")]
    results.append(ensemble(given, results))
    (told,) = describe_nesting(given, leaderboard(given, results, {}))
    assert told.startswith("chosen for each fold on the other folds' oof") and "bench noise colours" in told
    members = ["probe", "forest"]
    key = measured_key(given, "ensemble", members)
    keep_noise(given, [Optimism("ensemble", key, 0.01, 0.02, 0.0, 0.01, 9, members)])
    rows = leaderboard(given, results, {})
    (told,) = describe_nesting(given, rows)
    assert "ensemble; by at most one SE above nothing" in told
    assert {row.run: row.flattered for row in rows} == {"probe": None, "forest": None, "ensemble": 0.01}


def test_thresholds_that_oof_chose_are_named(several):
    prepared, result = several
    (row,) = leaderboard(prepared, [result], {})
    assert result.record.nested is None and row.nested == "folds"


def test_a_killed_call_goes_on_with_the_next_draw(given, monkeypatch):
    first = bench_noise(given, 2)
    draws = []
    measure = noise._measure
    monkeypatch.setattr(
        noise, "_measure", lambda prepared, names, draw: draws.append(draw) or measure(prepared, names, draw)
    )
    assert bench_noise(given, 2) == first and not draws
    bench_noise(given, 3)
    assert draws == [2]
