"""The sheets of explain: another question lies beside the first, the same one takes its own place."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from support.colours import lay_out, write_toml

from kit.cli import main
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.report.explain import latest_sheets
from kit.report.explain.writing import name_sheet
from kit.report.page.evidence import Evidence
from kit.report.page.sections import explanations
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result

pytest.importorskip("captum")

RUNS = '[runs.forest]\nmodel = "forest"\nn_trees = 5\npixels = 4\n'


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The competition `colours`, its forest trained."""
    root = tmp_path_factory.mktemp("sheets")
    lay_out(root / "data" / "colours")
    write_toml(root / "competitions" / "colours", RUNS)
    ready = prepare(read_competition("colours", Workspace(root)))
    crossval(ready, "forest")
    return ready


@pytest.fixture
def explain(prepared, monkeypatch, capsys):
    """Return a function that asks a question and returns its sheet."""

    def ask(*arguments: str) -> Path:
        root = prepared.competition.workspace.root
        command = ["kit", "explain", "colours", "forest", "--samples", "10", "--json", "--workspace", str(root)]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        return Path(json.loads(capsys.readouterr().out)["sheet"])

    return ask


def test_another_question_keeps_the_sheet_of_the_first(prepared, explain):
    first, second = (str(image_id) for image_id in prepared.pool.ids[:2])
    plain = explain()
    kept = plain.read_bytes()
    sheets = [plain, explain("--ids", first), explain("--ids", second), explain("--class", "red")]
    assert len(set(sheets)) == 4 and plain.read_bytes() == kept and plain.name == "forest.png"
    assert all(sheet.with_suffix(suffix).exists() for sheet in sheets for suffix in (".png", ".npz", ".json"))
    assert json.loads(sheets[1].with_suffix(".json").read_text())["asked"]["ids"] == [first]


def test_the_same_question_overwrites_its_own_sheet_in_whatever_order_it_is_asked(prepared, explain):
    first, second = (str(image_id) for image_id in prepared.pool.ids[:2])
    sheet = explain("--ids", f"{first},{second}")
    before = len(latest_sheets(prepared))
    assert explain("--ids", second, "--ids", first) == sheet and len(latest_sheets(prepared)) == before
    assert explain() == explain("--n", "1"), "more or fewer mistakes are the same question"


def test_the_report_shows_the_newest_first(prepared, explain):
    asked = explain("--class", "blue")
    for age, sheet in enumerate([asked, *(sheet for sheet in latest_sheets(prepared) if sheet != asked)]):
        os.utime(sheet, (1e9 - age, 1e9 - age))
    section = explanations.build(Evidence(prepared, [find_result(prepared, "forest")], {}))
    assert section.parts[1].path == str(asked) and section.parts[1].title.startswith("forest+blue-")


@pytest.mark.parametrize(
    "asked", [{"words": ["../../up", "a/b:c*?"]}, {"words": ["狐"]}, {"ids": [f"image {i}" for i in range(99)]}]
)
def test_a_sheets_name_is_a_file_name_on_every_system(asked):
    name = name_sheet("probe_pseudo.2", asked)
    assert re.fullmatch(r"probe_pseudo\.2\+\w{0,40}-[0-9a-f]{6}", name) and name.isascii()


def test_what_is_cut_off_a_name_tells_questions_apart():
    ids = [f"image {i}" for i in range(99)]
    questions = [{"ids": ids}, {"ids": ids[:-1]}, {"words": ids}, {"class": "red"}, {"words": ["red"]}, {}]
    assert len({name_sheet("run", asked) for asked in questions}) == len(questions)
    assert name_sheet("run", {"ids": [], "words": None, "class": None}) == "run"
