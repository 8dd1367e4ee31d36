"""The table of one run class by class."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.command import rendered

from kit.cli import main
from kit.report.board import leaderboard, render_classes, score_classes


def test_classes_of_the_lowest_f1_come_first_and_the_table_fits(trained):
    prepared, result = trained
    scores = score_classes(prepared, result)
    assert [row.name for row in scores] == list(prepared.classes) and all(row.support == 6 for row in scores)
    scores[2] = replace(scores[2], f1=0.25, recall=0.5, recall_se=0.125)
    for width in (36, 80):
        text = rendered(render_classes(prepared, result, scores, width), width)
        assert max(map(len, text.splitlines())) <= width and "0.500 ± 0.125" in text
        places = [text.index(name) for name in (prepared.classes[2], *prepared.classes[:2])]
        assert places == sorted(places)


def test_the_command_shows_one_run_class_by_class(trained, capsys, monkeypatch):
    prepared, _ = trained

    def run(arguments: list[str]) -> int:
        monkeypatch.setattr("sys.argv", ["kit", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    workspace = ["--workspace", str(prepared.competition.workspace.root), "--json", "--quiet"]
    assert run(["leaderboard", "colours", "--per-class", "svm", *workspace]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == "svm" and [row["name"] for row in document["classes"]] == list(prepared.classes)
    assert set(document["classes"][0]) == {
        *("name", "support", "said"),
        *(name + end for name in ("precision", "recall", "f1") for end in ("", "_se")),
    }
    assert run(["leaderboard", "colours", *workspace]) == 0
    row = json.loads(capsys.readouterr().out)["runs"][0]
    assert set(row["beside"]["macro_f1"]) == {"score", "se", "low", "high"}
    assert run(["leaderboard", "colours", "--per-class", "svn", *workspace]) == 2
    assert "no finished run of this name; did you mean 'svm'?" in capsys.readouterr().err


def test_a_class_that_the_metric_leaves_out_is_said(trained):
    prepared, result = trained
    row = leaderboard(prepared, [result.with_record(left_out=["red"])], {})[0]
    assert "CV leaves out red: no scored image, or every one, is of the class" in row.remarks


def test_every_class_of_several_has_its_line(paints):
    prepared, result = paints
    scores = score_classes(prepared, result)
    assert [row.name for row in scores] == list(prepared.classes)
    assert [row.support for row in scores] == prepared.labels.sum(axis=0).tolist()
