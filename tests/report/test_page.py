"""The report: one page that holds everything, says the numbers of the runs, and keeps names text."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from support.channels import CODED, ONE, make_by_turns
from support.colours import COLOURS, draw

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.report.page import write_report
from kit.report.page.curves import calibrate_nested, order_by_similarity, reliability
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Heatmap, Plot, Series, charts_of
from kit.report.page.plotly_json import to_json
from kit.report.page.sections import SECTIONS
from kit.runs.ensemble import ensemble, leave_one_out
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result
from kit.runs.train import find_better, find_finished
from kit.scoring.metrics import paired_difference
from kit.scoring.predictions import write_predictions

NASTY = {"blue": "<script>alert(1)</script>", "green": 'a"b&c', "red": "$x_1$ {{ 7 * 7 }}"}
RUNS = """
[competition]
title = "Colours </title><script>alert(2)</script>"

[data]
root = "data"
labeled = { csv = "train.csv", images = "images" }
unlabeled = "unlabeled"
test = "test"
solution = "solution.csv"
embeddings = "embeddings.npy"

[folds]
n = 3

[runs.forest]
model = "forest"
n_trees = 10

[runs.probe]
model = "linear_probe"
encoder = "given"
smooth = "nested"

[runs.taught]
model = "linear_probe"
encoder = "given"
pseudo = { teachers = ["probe"], rounds = 2, strategy = "top_k", k = 2 }

[runs.groups]
model = "clusters"
encoder = "given"
"""


def _lay_out(home: Path) -> None:
    """Write nine images of each colour, their labels in a CSV whose class names are hostile."""
    draws, number = np.random.default_rng(0), 0
    rows, solution = [], []
    for folder, n in (("images", 9), ("test", 3), ("unlabeled", 5)):
        (home / "data" / folder).mkdir(parents=True)
        for colour in COLOURS:
            for _ in range(n):
                number += 1
                draw(COLOURS[colour], draws).save(home / "data" / folder / f"{number:04d}.png")
                if folder == "images":
                    wrong = len(rows) % 9 == 8  # one label of each class is wrong
                    rows.append((f"{number:04d}", NASTY["green" if wrong and colour == "red" else colour]))
                elif folder == "test":
                    solution.append((f"{number:04d}", NASTY[colour]))
    for name, content in (("train.csv", rows), ("solution.csv", solution)):
        with open(home / "data" / name, "w", newline="") as file:
            csv.writer(file).writerows([("id", "label"), *content])
    (home / "competition.toml").write_text(RUNS)
    values = np.random.default_rng(0).normal(size=(number, 8)).astype(np.float32)
    values[:, 0] += 2 * np.resize([0, 1, 2], number)
    np.save(home / "data" / "embeddings.npy", values)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained competition with hostile names, made ready."""
    home = tmp_path_factory.mktemp("report")
    _lay_out(home)
    prepared = prepare(read_competition(str(home), Workspace(home)))
    results = [crossval(prepared, name) for name in ("forest", "probe", "taught", "groups")]
    ensemble(prepared, results)
    return prepared


@pytest.fixture(scope="module")
def page(trained):
    """The report of it."""
    return write_report(trained, find_finished(trained), {}, png=True)


@pytest.fixture(scope="module")
def evidence(trained):
    return Evidence(trained, find_finished(trained))


def sections_of(evidence: Evidence) -> dict:
    return {section.key: section for build in SECTIONS if (section := build(evidence)) is not None}


def test_the_page_is_one_small_file_that_asks_for_nothing(page):
    text = page.read_text()
    beyond_plotly = re.sub(r"<script>/\*\*.*?plotly\.js.*?</script>", "", text, flags=re.DOTALL)
    assert len(text.encode()) < 8e6
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", beyond_plotly)
    assert "default-src 'none'" in text


def test_hostile_names_stay_text(page):
    text = page.read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "49" not in re.findall(r"<td[^>]*>\$x_1\$ (.*?)</td>", text)


def test_every_section_is_there_whose_data_exists(evidence):
    wanted = {
        "headline",
        "leaderboard",
        "data",
        "examples",
        "runs",
        "ensemble",
        "rounds",
        "settings",
        "clusters",
        "times",
    }
    assert wanted <= set(sections_of(evidence))
    assert "correlation" not in sections_of(evidence)


def test_the_headline_names_the_single_run_that_all_would_have_sent(trained, tmp_path):
    forest = find_result(trained, "forest")
    shutil.copytree(forest.folder, tmp_path / "weaker")
    oof = forest.predictions("oof")
    write_predictions(tmp_path / "weaker" / "oof.parquet", replace(oof, proba=oof.proba[:, [1, 2, 0]]))
    weaker = replace(forest, name="ensemble", folder=tmp_path / "weaker").with_record(cv=0.1, model="ensemble")
    results = [forest, weaker]
    better = find_better(trained, results, weaker)
    assert better == forest and Evidence(trained, results).headline == forest
    assert SECTIONS[0](Evidence(trained, results)).parts[0].text.startswith("Run forest: ")
    assert find_better(trained, results, replace(forest, name="ensemble")) is None


def test_the_headline_says_the_score_of_the_ensemble(evidence):
    headline = sections_of(evidence)["headline"].parts[0].text
    record = evidence.headline.record
    assert f"{record.cv:.4f} ± {record.se:.4f}" in headline and "local score" in headline


def test_confusions_count_every_scored_image_once(evidence):
    maps = [chart for chart in charts_of(sections_of(evidence)["runs"].parts) if chart.key.startswith("confusion")]
    assert len(maps) == len(evidence.drawn)
    assert all(image_map.values.sum() == len(evidence.labels) for image_map in maps)
    first = maps[0]
    accuracy = np.trace(first.values) / first.values.sum()
    assert accuracy == pytest.approx(evidence.headline.record.cv)


def test_roc_areas_agree_with_scikit_learn(evidence):
    chart = next(chart for chart in charts_of(sections_of(evidence)["runs"].parts) if chart.key == "roc-probe")
    proba = evidence.oof(next(result for result in evidence.results if result.name == "probe"))
    for series in chart.series:
        name = series.name.rpartition(": ")[0]
        is_of_class = evidence.labels == evidence.prepared.classes.index(name)
        assert float(series.name.rpartition(": ")[2]) == pytest.approx(
            roc_auc_score(is_of_class, proba[:, evidence.prepared.classes.index(name)]), abs=1e-3
        )


def test_what_a_member_adds_is_the_ensemble_against_the_others(trained):
    members = [result for result in find_finished(trained) if result.name in ("forest", "probe")]
    lost = leave_one_out(trained, members, ["forest"])
    alone = ensemble(trained, members[1:]).predictions("oof").proba
    both = ensemble(trained, members).predictions("oof").proba
    labels = trained.labels[trained.scored_rows]
    assert lost["forest"] == pytest.approx(paired_difference("accuracy", labels, both, alone))


def test_every_chart_leaves_a_picture_and_its_numbers(page, evidence):
    charts = charts_of([part for section in sections_of(evidence).values() for part in section.parts])
    assert len({chart.key for chart in charts}) == len(charts)
    for chart in charts:
        with Image.open(page.with_suffix("") / f"{chart.key}.png") as picture:
            assert picture.width > 300
        with open(page.with_suffix("") / f"{chart.key}.csv", newline="") as file:
            assert len(list(csv.DictReader(file))) == len(chart.rows())


def test_a_damaged_section_is_named_and_the_others_stand(trained, capsys, tmp_path):
    broken = replace(trained, competition=trained.competition)
    results = find_finished(trained)
    copy = tmp_path / "groups"
    section = next(result for result in results if result.name == "groups")
    shutil.copytree(section.folder, copy)
    fold = next(copy.glob("fold_*"))
    (fold / "model.safetensors").write_bytes(b"no")
    results = [replace(section, folder=copy) if result is section else result for result in results]
    text = write_report(broken, results, {}).read_text()
    assert "clusters is left out" in capsys.readouterr().err
    assert 'id="clusters"' not in text and 'id="leaderboard"' in text


def test_nothing_trained_yet_is_refused_with_the_command_that_helps(trained):
    with pytest.raises(InputError, match=r"no finished run of .*; \./run\.sh all"):
        write_report(trained, [], {})


def test_sure_and_right_models_are_reliable_and_a_temperature_mends_the_unsure():
    labels = np.resize([0, 1], 400)
    draws = np.random.default_rng(0)
    right = draws.random(400) < 0.8
    predicted = np.where(right, labels, 1 - labels)
    proba = np.where(predicted[:, None] == [0, 1], 0.99, 0.01)
    before = reliability(labels, proba)
    after = reliability(labels, calibrate_nested(labels, proba, np.resize(np.arange(5), 400)))
    assert before.error == pytest.approx(0.99 - right.mean())
    assert after.error < 0.05
    assert calibrate_nested(labels, proba, np.zeros(400)) is None


def test_classes_that_are_confused_stand_side_by_side():
    counts = np.array([[5, 0, 4, 0], [0, 9, 0, 1], [4, 0, 5, 0], [0, 1, 0, 9]])
    order = order_by_similarity(counts)
    assert abs(order.index(0) - order.index(2)) == 1 and sorted(order) == [0, 1, 2, 3]


def test_names_that_are_cut_alike_stay_apart():
    names = ["x" * 35 + "1" + "x" * 35, "x" * 35 + "2" + "x" * 35]
    figure = json.loads(to_json(Plot("k", "t", series=[Series("s", names, [1, 2], kind="bars")])))
    assert len(set(figure["data"][0]["x"])) == 2
    heat = json.loads(to_json(Heatmap("h", "t", row_names=names, column_names=names, values=np.eye(2))))
    assert len(set(heat["heatmap"]["rows"])) == 2


def test_the_report_takes_the_record_of_every_model(tmp_path):
    data = CODED + 'unlabeled = "test"\n'
    prepared = make_by_turns(tmp_path, "id,label\n{id},{code}", ONE, data, '[runs.taught]\nmodel = "self_training"\n')
    result = crossval(prepared, "taught")
    assert write_report(prepared, [result, ensemble(prepared, [result])], {}).is_file()
    assert find_result(prepared, "taught").record.cv == result.record.cv
