"""Thresholds of several labels: chosen by other folds, verified, kept beside the run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.channels import make_with_sample
from support.folders import write

from kit.cli import main
from kit.core.errors import InputError, LeakFound
from kit.kaggle.submission.write import make_submission
from kit.report.board import local_score, read_solution
from kit.runs.decide.decisions import decided_test, describe_decisions, write_decisions
from kit.runs.fit.crossval import crossval
from kit.runs.store import decided_rows, find_result, oof_rows
from kit.runs.verify import verify


def test_the_cv_is_after_thresholds_that_other_folds_chose_and_verifies(forests):
    prepared, (forest, _) = forests
    labels, decided = decided_rows(prepared, forest)
    assert forest.record.cv == pytest.approx(prepared.metric.score(labels, decided))
    assert set(forest.record.thresholds.per_fold) == {"0", "1", "2"}
    assert len(verify(prepared, [forest])) == 3


def test_other_thresholds_than_the_other_folds_choose_are_a_leak(forests):
    prepared, (forest, _) = forests
    thresholds = forest.record.thresholds.model_copy(update={"values": [0.123] * 3})
    with pytest.raises(LeakFound, match="other thresholds than"):
        verify(prepared, [forest.with_record(thresholds=thresholds)])


def test_one_half_on_request_scores_anew_what_was_trained(forests):
    prepared, (forest, _) = forests
    plan = prepared.competition.decision.model_copy(update={"thresholds": 0.5})
    other = replace(prepared, competition=prepared.competition.model_copy(update={"decision": plan}))
    again = find_result(other, "forest")
    labels, proba = oof_rows(prepared, forest.predictions("oof"))
    assert again.folder == forest.folder and again.record.cv == prepared.metric.score(labels, proba)
    assert decided_test(other, again).proba == pytest.approx(forest.predictions("test").proba)


def test_a_submission_is_scored_against_the_solution_as_decided(forests):
    prepared, (forest, _) = forests
    solution, test = read_solution(prepared), decided_test(prepared, forest)
    labels = np.array([solution[image_id] for image_id in test.ids])
    assert local_score(prepared, solution, test)[0] == prepared.metric.score(labels, test.proba)
    written = pd.read_csv(make_submission(prepared, forest), keep_default_na=False)
    decided = dict(zip(test.ids, test.proba >= 0.5, strict=True))
    for image_id, cell in zip(written["id"], written["label"], strict=True):
        assert cell == ";".join(np.array(prepared.classes)[decided[image_id]])


def test_decisions_are_kept_beside_the_run(forests):
    prepared, (forest, _) = forests
    picture = write_decisions(describe_decisions(prepared, forest), forest)
    facts = json.loads(picture.with_name("decisions.json").read_text())
    assert set(facts["confusions"]) == set(prepared.classes) == set(facts["thresholds"]["values"])
    assert all(0.5 < curve["auc"] <= 1 for curve in facts["roc"])


def test_the_command_prints_one_document(forests, monkeypatch, capsys):
    workspace = forests[0].competition.workspace.root
    monkeypatch.setattr(sys, "argv", ["kit", "decisions", "tiles", "forest", "--json", "--workspace", str(workspace)])
    with pytest.raises(SystemExit):
        main()
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == "forest" and document["none_of_these"] is None and Path(document["picture"]).is_file()


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ("{ red = 0.3, grean = 0.4 }", "'grean' is not a class; did you mean 'green'"),
        ("{ red = 0.3 }", "no threshold for 2 classes: blue, green; is it of other classes"),
        ('"limits.toml"', "limits.toml: 'cat', 'dog' is not a class"),
        ('"limit.toml"', "no such file; did you mean 'limits.toml'"),
        ("{ red = 1.0 }", "above 0 and below 1"),
    ],
)
def test_thresholds_of_other_classes_are_refused(tmp_path, thresholds, message):
    write(tmp_path / "competitions/tiles/limits.toml", "cat = 0.5\ndog = 0.5\n")
    with pytest.raises(InputError, match=message):
        crossval(make_with_sample(tmp_path, rest=f"[decision]\nthresholds = {thresholds}\n"), "forest")


@pytest.mark.parametrize("key", ["score", "encoder", "accept_rate"])
def test_keys_of_one_label_per_image_are_refused(tmp_path, key):
    value = 0.9 if key == "accept_rate" else '"distance"'
    with pytest.raises(InputError, match=rf"\[decision\] {key} is read with one label per image alone"):
        make_with_sample(tmp_path, rest=f"[decision]\n{key} = {value}\n")
