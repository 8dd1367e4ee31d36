"""The default competition, where the workspace holds others; next steps by what the results are worth."""

from __future__ import annotations

import json

from support.command import flat

from kit.api.stages import after_looking
from kit.data.prepared import prepare
from kit.runs.fit.crossval import crossval


def test_a_command_that_changes_things_asks_which_competition_is_meant(colours, run_command):
    workspace = colours().workspace.root
    code, _, told = run_command(workspace, "train")
    assert code == 2 and "holds colours" in flat(told) and "train colours" in flat(told)


def test_a_command_that_only_looks_takes_the_default(colours, run_command):
    workspace = colours().workspace.root
    _, _, told = run_command(workspace, "leaderboard")
    assert "which competition" not in told


def test_the_leaderboard_lists_runs_that_are_not_finished(trained, run_command):
    workspace = trained[0].competition.workspace.root
    code, printed, _ = run_command(workspace, "leaderboard", "colours", "--json")
    verdicts = {row["run"]: row["verdict"] for row in json.loads(printed)["runs"]}
    assert code == 0 and verdicts == {"svm": "best", "forest": "not trained"}


def test_triage_is_next_for_a_model_that_is_mostly_right_alone(trained, colours, toys):
    prepared, result = trained
    assert after_looking(prepared, [result])[0] == "triage"
    prepared = prepare(colours('[runs.blind]\nmodel = "memoriser"\n'))
    word, why = after_looking(prepared, [crossval(prepared, "blind")])
    assert word == "plan" and "wrong about 67%" in why


def test_a_change_in_the_wrong_case_is_shown_the_right_one(trained, run_command):
    workspace = trained[0].competition.workspace.root
    told = run_command(workspace, "train", "colours", "--set", "runs.SVM.Pixels=4")[2]
    assert "did you mean runs.svm.pixels?" in flat(told)
    told = run_command(workspace, "train", "colours", "--set", "runs.svm.c=4")[2]
    assert "did you mean 'C'?" in flat(told)
