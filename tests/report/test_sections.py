"""What the report says beyond its first sections: errors of every class, balance, decisions, levels, words."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.report.page import write_report
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Gallery, charts_of
from kit.report.page.sections import SECTIONS
from kit.runs.fit.crossval import crossval
from kit.runs.train import find_finished

BALANCED = """
[runs.svm]
model = "svm"
balance = "over"

[runs.forest]
model = "forest"
n_trees = 10
"""


def sections_of(prepared) -> dict:
    evidence = Evidence(prepared, find_finished(prepared))
    return {section.key: section for build in SECTIONS if (section := build(evidence)) is not None}


@pytest.fixture
def unbalanced(colours, tmp_path):
    """The competition `colours` with half as many red images, one run of it evened out by resampling."""

    def make(*arguments, **options):
        colours()
        for file in sorted((tmp_path / "data" / "colours" / "train" / "red").glob("*"))[:3]:
            file.unlink(missing_ok=True)
        prepared = prepare(colours(BALANCED, *arguments, **options))
        for name in ("svm", "forest"):
            crossval(prepared, name)
        return prepared

    return make


def test_classes_are_drawn_before_and_after_resampling(unbalanced):
    prepared = unbalanced()
    drawn = [chart for chart in charts_of(sections_of(prepared)["data"].parts) if chart.key.startswith("balance")]
    assert [chart.key for chart in drawn] == ["balance-svm"]  # the forest leaves the images as they are
    before, after = drawn[0].series
    assert dict(zip(before.x, before.y, strict=True)) == {"blue": 6, "green": 6, "red": 3}
    assert list(after.y) == [6, 6, 6]


def test_images_of_none_of_the_classes_are_told_and_shown(unbalanced):
    prepared = unbalanced(rest='[decision]\nnone_of_these = "nothing"\nscore = "max_probability"\naccept_rate = 0.5')
    parts = sections_of(prepared)["decisions"].parts
    assert "none of these" in parts[1].text.lower() and "test images are rejected" in parts[1].text
    n_rejected = int(parts[1].text.rpartition("; ")[2].split()[0])
    assert n_rejected > 0 and len(parts[2].tiles) == n_rejected
    tiles = sections_of(prepared)["examples"].parts[-1].tiles  # all test images
    assert sum(tile.lines[0] == "said nothing" for tile in tiles) == n_rejected


def test_where_nothing_is_decided_beyond_the_most_probable_class_nothing_is_said_of_it(unbalanced):
    assert "decisions" not in sections_of(unbalanced())


def test_an_image_that_is_gone_leaves_its_tile_empty_and_the_page_whole(unbalanced, capsys):
    prepared = unbalanced()
    for path in prepared.pool.paths[prepared.split("test")][:2]:
        Path(path).unlink()
    Path(prepared.pool.paths[prepared.split("test")][2]).write_bytes(b"no image any more")
    text = write_report(prepared, find_finished(prepared), {}).read_text()
    assert text.count("cannot be read</span>") == 6  # three images in two galleries
    assert 'id="runs"' in text and "a thumbnail is left out" in capsys.readouterr().err


def test_a_page_without_test_images_is_written(colours, tmp_path):
    colours()
    shutil.rmtree(tmp_path / "data" / "colours" / "test")
    competition = tmp_path / "competitions" / "colours" / "competition.toml"
    kept = [
        line
        for line in competition.read_text().splitlines()
        if not line.startswith(("test =", "sample_submission", "solution"))
    ]
    competition.write_text("\n".join(kept))
    prepared = prepare(read_competition("colours", Workspace(tmp_path)))
    crossval(prepared, "svm")
    titles = [part.title for part in sections_of(prepared)["examples"].parts if isinstance(part, Gallery)]
    assert "An ordinary sample of test images" not in titles
    write_report(prepared, find_finished(prepared), {})


def test_on_mined_labels_the_page_says_agreement(unbalanced):
    prepared = unbalanced()
    competition, results = prepared.competition, find_finished(prepared)
    data = competition.data.model_copy(update={"labels_are_mined": True})
    mined = replace(prepared, competition=competition.model_copy(update={"data": data}))
    evidence = Evidence(mined, results)
    headline, board = (build(evidence).parts for build in SECTIONS[:2])
    assert "agreement ± SE" in board[0].columns and "CV ± SE" not in board[0].columns
    assert board[1].series[0].name == "agreement" and "CV" not in headline[0].text + headline[1].text


def test_a_class_without_a_scored_image_leaves_the_page_whole(colours):
    prepared = prepare(colours(BALANCED))
    file = prepared.competition.workspace.folds("colours")
    header, *rows = file.read_text().splitlines()
    rows = [",".join([*row.split(",")[:2], "1"]) if ",red," in row else row for row in rows]
    file.write_text("\n".join([header, *rows]) + "\n")
    prepared = prepare(colours(BALANCED, ("folds.use=[0]",)))
    assert prepared.classes.index("red") not in prepared.labels[prepared.scored_rows]
    crossval(prepared, "svm")
    assert {"headline", "leaderboard", "data", "examples", "runs"} <= set(sections_of(prepared))
    write_report(prepared, find_finished(prepared), {}, png=True)


def test_codes_of_classes_have_their_words_behind_them(colours):
    competition = colours(data='names = "names.json"')
    (competition.root / "names.json").write_text('{"red": "like blood", "green": "green"}')
    prepared = prepare(competition)
    crossval(prepared, "forest")
    names = charts_of(sections_of(prepared)["data"].parts)[0].series[0].x
    assert "red like blood" in names and "green" in names
