"""The leaderboard beside the metric: what it hides, class by class, and what cannot be scored from labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.colours import FOREST_AND_SVM
from support.command import rendered

from kit.data.prepared import prepare
from kit.report.board import leaderboard, render_board
from kit.report.board.beside import Score, score_beside
from kit.runs.fit.crossval import crossval
from kit.runs.store import oof_rows
from kit.scoring.metrics import METRICS

UNBALANCED = {"macro_f1": Score(0.41, 0.02, 0.37, 0.45), "balanced_accuracy": Score(0.44, 0.03, 0.38, 0.5)}


def test_macro_f1_and_balanced_accuracy_stand_beside_accuracy(trained):
    prepared, result = trained
    beside = score_beside(prepared, result)
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    assert set(beside) == {"macro_f1", "balanced_accuracy"}
    assert {name: scored.score for name, scored in beside.items()} == {
        name: METRICS[name].score(labels, proba) for name in beside
    }


def test_accuracy_stands_beside_another_metric(colours):
    prepared = prepare(colours(FOREST_AND_SVM, ("competition.metric=macro_f1",)))
    assert set(score_beside(prepared, crossval(prepared, "svm"))) == {"accuracy", "balanced_accuracy"}


@pytest.mark.parametrize(("width", "columns"), [(60, 0), (80, 2), (120, 2)])
def test_columns_beside_the_cv_have_room_or_go(trained, width, columns):
    prepared, result = trained
    rows = [replace(row, cv=0.9, beside=UNBALANCED) for row in leaderboard(prepared, [result], {})]
    text = rendered(render_board(prepared, rows, width), width)
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
    assert "balanced" not in rendered(render_board(prepared, rows, 120), 120)
