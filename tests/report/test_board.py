"""The leaderboard: paired verdicts, the local score, tables that fit."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.kaggle.submission.write import make_submission, read_ledger
from kit.report.board import SAME, leaderboard, read_solution, render, used_test_images
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store.imported import import_predictions


@pytest.fixture
def trained(colours):
    prepared = prepare(colours())
    results = [crossval(prepared, name) for name in ("forest", "svm")]
    return prepared, [*results, ensemble(prepared, results)]


def shown(prepared, rows, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(prepared, rows, width))
    return console.file.getvalue()


def test_the_best_cv_comes_first_and_a_run_like_it_cannot_be_told_from_it(trained):
    prepared, results = trained
    rows = leaderboard(prepared, [results[1], replace(results[1], name="twin")], {})
    assert [row.verdict for row in rows] == ["best", SAME]
    rows = leaderboard(prepared, results, {})
    assert [row.cv for row in rows] == sorted((row.cv for row in rows), reverse=True)


def test_the_local_score_is_that_of_the_written_labels(trained):
    prepared, results = trained
    solution = pd.read_csv(prepared.competition.root / "solution.csv", dtype=str).set_index("id")["label"]
    test = results[0].predictions("test")
    labels = [prepared.classes[code] for code in test.proba.argmax(axis=1)]
    expected = (solution[list(test.ids)].to_numpy() == labels).mean()
    rows = {row.run: row for row in leaderboard(prepared, results, {})}
    assert rows["forest"].local == pytest.approx(expected)


def test_a_solution_that_misses_a_test_image_is_refused(trained):
    prepared, _ = trained
    path = prepared.competition.root / "solution.csv"
    table = pd.read_csv(path, dtype=str)
    table.iloc[1:].to_csv(path, index=False)
    with pytest.raises(InputError, match=f"1 test images are not in it: {table['id'][0]}"):
        read_solution(prepared)
    table.assign(label="pink").to_csv(path, index=False)
    with pytest.raises(InputError, match="labels that are not classes: pink"):
        read_solution(prepared)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_and_names_every_run(trained, width):
    prepared, results = trained
    text = shown(prepared, leaderboard(prepared, results, {}), width)
    assert max(map(len, text.splitlines())) <= width
    assert "forest" in text and "ensemble" in text and "CV ± SE" in text


def test_skipped_runs_stay_in_the_table_with_the_reason(trained):
    prepared, results = trained
    rows = leaderboard(prepared, results[1:], {"forest": "no weights"})
    assert rows[-1].run == "forest" and rows[-1].verdict == "skipped: no weights"
    assert "skipped" in shown(prepared, rows, 100)


def test_names_that_look_like_markup_stay_text(trained):
    prepared, results = trained
    rows = leaderboard(prepared, results, {})
    odd = [type(row)(**{**row.__dict__, "model": "[red]x[/red]"}) for row in rows]
    assert "[red]x[/red]" in shown(prepared, odd, 120)


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
    assert {row.run: row.test_images_used for row in rows} == {"svm": False, "seen.1": True, "heir.1": True}
    text = shown(prepared, rows, 60)
    assert "uses test" in text and text.count("yes") == 2
    assert "uses test" not in shown(prepared, leaderboard(prepared, results[:1], {}), 120)


def test_an_import_among_the_members_is_no_obstacle(colours):
    prepared = prepare(colours())
    svm = crossval(prepared, "svm")
    friend = import_predictions(prepared, "friend", *[svm.folder / f"{split}.parquet" for split in ("oof", "test")])
    rows = leaderboard(prepared, [svm, friend, ensemble(prepared, [svm, friend])], {})
    assert not any(row.test_images_used for row in rows)


def test_kaggles_scores_belong_to_the_settings_that_were_sent(trained):
    prepared, results = trained
    make_submission(prepared, results[1])
    path = prepared.competition.workspace.submissions("colours") / "ledger.csv"
    sent = read_ledger(prepared.competition)[0]
    older = sent | {"public": "0.81", "private": "0.80"}
    latest = sent | {"file": "003_svm.csv", "public": "0.83", "private": ""}
    other = sent | {"file": "004_svm.csv", "key": "0123456789abcdef", "public": "0.99"}
    pd.DataFrame([older, latest, sent | {"file": "005_svm.csv"}, other]).to_csv(path, index=False)
    row = next(row for row in leaderboard(prepared, results, {}) if row.run == "svm")
    assert (row.public, row.private) == ("0.83", None)


def test_broken_test_images_are_scored_as_they_are_sent(colours):
    competition = colours()
    for path in sorted((competition.root / "test").iterdir())[:4]:
        path.write_bytes(b"not an image")
    prepared = prepare(competition)
    result = crossval(prepared, "svm")
    row = leaderboard(prepared, [result], {})[0]
    written, solution = (
        pd.read_csv(path, dtype=str).set_index("id")["label"]
        for path in (make_submission(prepared, result), competition.root / "solution.csv")
    )
    assert len(prepared.broken_test) == 4 and row.local < 1
    assert row.local == pytest.approx((written == solution[written.index]).mean())


def test_a_solution_that_went_away_is_named(trained):
    prepared, results = trained
    (prepared.competition.root / "solution.csv").rename(prepared.competition.root / "solutions.csv")
    with pytest.raises(InputError, match=r"solution\.csv.*did you mean 'solutions\.csv'"):
        leaderboard(prepared, results, {})


def test_a_solution_of_one_column_is_refused(trained):
    prepared, _ = trained
    (prepared.competition.root / "solution.csv").write_text("id\n00001\n")
    with pytest.raises(InputError, match=r"solution\.csv: only one column"):
        read_solution(prepared)


def test_a_competition_without_a_solution_has_no_local_score(colours):
    competition = colours()
    toml = competition.folder / "competition.toml"
    toml.write_text(toml.read_text().replace('solution = "solution.csv"\n', ""))
    prepared = prepare(read_competition(competition.name, competition.workspace))
    assert leaderboard(prepared, [crossval(prepared, "svm")], {})[0].local is None
