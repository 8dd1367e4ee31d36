"""The leaderboard: paired verdicts, the local score, tables that fit."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from kit.crossval import crossval
from kit.ensemble import ensemble
from kit.errors import InputError
from kit.leaderboard import SAME, leaderboard, read_solution, render
from kit.prepare import prepare


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
