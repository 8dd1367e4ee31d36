"""The leaderboard beside the metric: what it hides, class by class, and what cannot be scored from labels."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from kit.cli import main
from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.report.board import leaderboard, local_score, read_solution, render, render_classes, score_classes, why_cv_only
from kit.report.board.beside import Score, score_beside
from kit.runs.fit.crossval import crossval
from kit.runs.store import oof_rows
from kit.runs.store.imported import import_predictions
from kit.scoring.metrics import METRICS

RUNS = '[runs.forest]\nmodel = "forest"\nn_trees = 20\n\n[runs.svm]\nmodel = "svm"\npixels = 4\n'
UNBALANCED = {"macro_f1": Score(0.41, 0.02), "balanced_accuracy": Score(0.44, 0.03)}


def shown(table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


@pytest.fixture
def trained(colours):
    prepared = prepare(colours(RUNS))
    return prepared, crossval(prepared, "svm")


def test_macro_f1_and_balanced_accuracy_stand_beside_accuracy(trained):
    prepared, result = trained
    beside = score_beside(prepared, result)
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    assert set(beside) == {"macro_f1", "balanced_accuracy"}
    assert {name: own.score for name, own in beside.items()} == {
        name: METRICS[name].score(labels, proba) for name in beside
    }


def test_accuracy_stands_beside_another_metric(colours):
    prepared = prepare(colours(RUNS, ("competition.metric=macro_f1",)))
    assert set(score_beside(prepared, crossval(prepared, "svm"))) == {"accuracy", "balanced_accuracy"}


@pytest.mark.parametrize(("width", "columns"), [(60, 0), (80, 2), (120, 2)])
def test_columns_beside_the_cv_have_room_or_go(trained, width, columns):
    prepared, result = trained
    rows = [replace(row, cv=0.9, beside=UNBALANCED) for row in leaderboard(prepared, [result], {})]
    text = shown(render(prepared, rows, width), width)
    assert max(map(len, text.splitlines())) <= width and "svm" in text and "0.900" in text
    assert text.count("0.410") + text.count("0.440") == columns
    assert ("macro F1 ± SE" in text) == (width == 120)
    assert ("no room for macro F1, balanced: a wider terminal or --json shows them" in " ".join(text.split())) == (
        width == 60
    )


def test_a_column_that_says_what_the_cv_says_is_left_out(trained):
    prepared, result = trained
    rows = leaderboard(prepared, [result], {})
    assert rows[0].cv == rows[0].beside["balanced_accuracy"].score  # as many images of every class
    assert "balanced" not in shown(render(prepared, rows, 120), 120)


def test_classes_of_the_lowest_f1_come_first_and_the_table_fits(trained):
    prepared, result = trained
    scores = score_classes(prepared, result)
    assert [own.name for own in scores] == list(prepared.classes) and all(own.support == 6 for own in scores)
    scores[2] = replace(scores[2], f1=0.25, recall=0.5, recall_se=0.125)
    for width in (36, 80):
        text = shown(render_classes(prepared, result, scores, width), width)
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
    assert document["run"] == "svm" and [own["name"] for own in document["classes"]] == list(prepared.classes)
    assert set(document["classes"][0]) == {
        *("name", "support", "said"),
        *(name + end for name in ("precision", "recall", "f1") for end in ("", "_se")),
    }
    assert run(["leaderboard", "colours", *workspace]) == 0
    row = json.loads(capsys.readouterr().out)["runs"][0]
    assert set(row["beside"]["macro_f1"]) == {"score", "se"}
    assert run(["leaderboard", "colours", "--per-class", "svn", *workspace]) == 2
    assert "no finished run of this name; did you mean 'svm'?" in capsys.readouterr().err


def test_a_metric_of_probabilities_is_not_scored_from_a_submission_of_labels(colours):
    prepared = prepare(colours(RUNS, ("competition.metric=log_loss",)))
    result = crossval(prepared, "svm")
    row = leaderboard(prepared, [result], {})[0]
    assert row.local is None and row.cv is not None
    assert "no local score: log_loss needs probabilities and cannot be scored from labels" in row.remarks[0]
    with pytest.raises(InputError, match=r"colours: log_loss needs probabilities and cannot be scored from labels.*CV"):
        local_score(prepared, read_solution(prepared), result.predictions("test"))


def test_a_metric_of_probabilities_is_scored_from_a_submission_of_them(colours):
    competition = colours(RUNS, ("competition.metric=log_loss",))
    path = competition.root / "sample_submission.csv"
    ids = pd.read_csv(path, dtype=str)["id"]
    pd.DataFrame({"id": ids, "blue": "0.3", "green": "0.3", "red": "0.4"}).to_csv(path, index=False)
    prepared = prepare(competition)
    assert why_cv_only(prepared) is None
    assert leaderboard(prepared, [crossval(prepared, "svm")], {})[0].local > 0


def write_labels(prepared, folder) -> list:
    """Write the true labels of the oof and of the test images, as someone who has labels alone would."""
    ids = prepared.pool.ids[prepared.labeled]
    labels = np.array(prepared.classes)[prepared.labels]
    pd.DataFrame({"id": ids, "label": labels}).to_csv(folder / "oof.csv", index=False)
    pd.read_csv(prepared.competition.root / "solution.csv", dtype=str).to_csv(folder / "test.csv", index=False)
    return [folder / "oof.csv", folder / "test.csv"]


def test_labels_are_imported_where_the_metric_needs_no_more(colours, tmp_path):
    prepared = prepare(colours(RUNS))
    result = import_predictions(prepared, "friend", *write_labels(prepared, tmp_path))
    assert result.record.cv == 1 and set(np.unique(result.predictions("oof").proba)) == {0, 1}


def test_labels_are_refused_where_the_metric_needs_probabilities(colours, tmp_path):
    prepared = prepare(colours(RUNS, ("competition.metric=macro_auc",)))
    with pytest.raises(InputError, match=r"oof\.csv: holds labels; metric macro_auc needs probabilities"):
        import_predictions(prepared, "friend", *write_labels(prepared, tmp_path))


def test_a_class_that_the_metric_leaves_out_is_said(trained):
    prepared, result = trained
    row = leaderboard(prepared, [result.with_record(left_out=["red"])], {})[0]
    assert "CV leaves out red: no scored image, or every one, is of the class" in row.remarks
