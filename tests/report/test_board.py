"""The leaderboard: paired verdicts, the local score, tables that fit."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from kit.data.prepared import prepare
from kit.kaggle.submission.write import make_submission, read_ledger
from kit.report.board import SAME, leaderboard, render_board, shorten_encoder, used_test_images
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store.imported import import_predictions


def shown(prepared, rows, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_board(prepared, rows, width))
    return console.file.getvalue()


def test_the_best_cv_comes_first_and_a_run_like_it_cannot_be_told_from_it(board):
    prepared, results = board
    rows = leaderboard(prepared, [results[1], replace(results[1], name="twin")], {})
    assert [row.verdict for row in rows] == ["best", SAME]
    rows = leaderboard(prepared, results, {})
    assert [row.cv for row in rows] == sorted((row.cv for row in rows), reverse=True)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_and_names_every_run(board, width):
    prepared, results = board
    text = shown(prepared, leaderboard(prepared, results, {}), width)
    assert max(map(len, text.splitlines())) <= width
    assert "forest" in text and "ensemble" in text and "CV ± SE" in text


def test_skipped_runs_stay_in_the_table_with_the_reason(board):
    prepared, results = board
    rows = leaderboard(prepared, results[1:], {"forest": "no weights"})
    assert rows[-1].run == "forest" and rows[-1].verdict == "skipped: no weights"
    assert "skipped" in shown(prepared, rows, 100)


def test_names_that_look_like_markup_stay_text(board):
    prepared, results = board
    rows = leaderboard(prepared, results, {})
    odd = [type(row)(**{**row.__dict__, "model": "[red]x[/red]"}) for row in rows]
    assert "[red]x[/red]" in shown(prepared, odd, 120)


@pytest.mark.parametrize(
    ("encoders", "shown"),
    [
        (["timm:tf_efficientnet_lite0@pip", "timm:tf_efficientnet_lite2@pip"], "lite0 + lite2"),
        (["open_clip:ViT-B-16/openai", "timm:resnet50"], "2 encoders"),
        (["timm:resnet50", "timm:resnet18"], "resnet50 + resnet18"),
    ],
)
def test_the_encoders_of_a_joint_run_are_shown_side_by_side_or_counted(board, encoders, shown):
    prepared, results = board
    record = results[0].record.model_copy(update={"options": {"encoders": encoders}})
    row = leaderboard(prepared, [replace(results[0], record=record)], {})[0]
    assert row.encoder == " + ".join(encoders) and shorten_encoder(row.encoder) == shown


TAUGHT = """
[runs.svm]
model = "svm"
pixels = 4

[runs.seen]
model = "svm"
pixels = 4
use_test_images = true
pseudo = { teachers = ["svm"] }

[runs.heir]
model = "svm"
pixels = 4
pseudo = { teachers = ["seen"] }
"""


def test_students_and_ensembles_inherit_the_use_of_test_images_and_the_table_shows_it(colours):
    prepared = prepare(colours(TAUGHT))
    results = [crossval(prepared, name) for name in ("svm", "seen", "heir")]
    results += [ensemble(prepared, results[:1]), ensemble(prepared, results)]
    assert [used_test_images(prepared, result) for result in results] == [False, True, True, False, True]
    rows = leaderboard(prepared, results[:3], {})
    assert {row.run: row.test_images_used for row in rows} == {"svm": False, "seen": True, "heir": True}
    text = shown(prepared, rows, 60)
    assert "uses test" in text and text.count("yes") == 2
    assert "uses test" not in shown(prepared, leaderboard(prepared, results[:1], {}), 120)


def test_an_import_among_the_members_is_no_obstacle(colours):
    prepared = prepare(colours())
    svm = crossval(prepared, "svm")
    friend = import_predictions(prepared, "friend", *[svm.folder / f"{split}.parquet" for split in ("oof", "test")])
    rows = leaderboard(prepared, [svm, friend, ensemble(prepared, [svm, friend])], {})
    assert not any(row.test_images_used for row in rows)


def test_kaggles_scores_belong_to_the_settings_that_were_sent(board):
    prepared, results = board
    make_submission(prepared, results[1])
    path = prepared.competition.workspace.submissions("colours") / "ledger.csv"
    sent = read_ledger(prepared.competition)[0]
    older = sent | {"public": "0.81", "private": "0.80"}
    latest = sent | {"file": "003_svm.csv", "public": "0.83", "private": ""}
    other = sent | {"file": "004_svm.csv", "key": "0123456789abcdef", "public": "0.99"}
    pd.DataFrame([older, latest, sent | {"file": "005_svm.csv"}, other]).to_csv(path, index=False)
    row = next(row for row in leaderboard(prepared, results, {}) if row.run == "svm")
    assert (row.public, row.private) == ("0.83", None)
