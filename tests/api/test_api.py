"""The kit from Python: the same numbers, files and words as on the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.colours import FOREST_AND_SVM

import kit
from kit.config.competition import Competition as Settings
from kit.core.deadline import seconds_left
from kit.runs.store.ledger import read_ledger


@pytest.fixture
def opened(colours: Callable[..., Settings]) -> kit.Competition:
    """The competition `colours` with a trained SVM, and a forest that is not trained."""
    settings = colours(FOREST_AND_SVM)
    competition = kit.open("colours", workspace=settings.workspace.root, quiet=True)
    competition.train("svm")
    return competition


@pytest.fixture
def workspace(opened: kit.Competition) -> Path:
    """Its workspace."""
    return opened.file.parents[2]


def test_importing_the_kit_brings_nothing_heavy():
    code = (
        "import sys, kit; print(sorted({'torch', 'sklearn', 'pandas', 'numpy', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_the_leaderboard_has_the_numbers_of_the_command_line(opened, workspace, run_command):
    board = opened.leaderboard()
    _, printed, _ = run_command(workspace, "leaderboard", "colours", "--json")
    first = json.loads(printed)["runs"][0]
    assert board.loc[0, ["run", "cv", "se"]].tolist() == [first["run"], first["cv"], first["se"]]
    assert board["cv"].dtype == np.float64


def test_an_untrained_run_is_refused_in_the_words_of_the_command_line(opened, workspace, run_command):
    with pytest.raises(kit.InputError) as refusal:
        opened.submission("forest")
    _, _, told = run_command(workspace, "submission", "colours", "forest")
    assert str(refusal.value) in told


def test_a_change_that_is_at_fault_is_named_in_place_of_the_file(workspace):
    with pytest.raises(kit.InputError, match=r"^--set runs\.svm\.pixel=4: .*did you mean 'pixels'"):
        kit.open("colours", workspace=workspace, changes={"runs.svm.pixel": 4}, quiet=True)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (3, r"^changes is 3 \(int\); it is to look like \{\"runs.probe.C\": 3\} or"),
        ({"runs.svm.C": None}, r"^changes\['runs.svm.C'\] is None \(NoneType\); a value is a text, a number"),
        ({3: 1}, r"^a key of changes is .*; it is to look like \{"),
        ([("runs.svm.C", 3)], r"^changes is \[.*\]"),
    ],
)
def test_changes_of_a_wrong_type_are_refused_with_the_right_form(workspace, changes, refusal):
    with pytest.raises(kit.InputError, match=refusal):
        kit.open("colours", workspace=workspace, changes=changes, quiet=True)


def test_runs_and_data_of_a_wrong_type_are_refused_with_the_right_form(opened, workspace):
    with pytest.raises(kit.InputError, match=r'^runs is 3 \(int\); it is to look like "probe" or'):
        opened.train(3)
    with pytest.raises(kit.InputError, match=r"^workspace is 3 \(int\); it is to look like"):
        kit.open("colours", workspace=3)
    with pytest.raises(kit.InputError, match=r"^data is a dict; give a folder, an archive, or a DataFrame: pandas"):
        kit.new({"path": []}, "theirs", workspace=workspace)
    kit.open("colours", workspace=workspace, changes={"runs.svm.C": np.float64(3)}, quiet=True)


def test_a_quiet_competition_prints_nothing(opened, capsys):
    assert opened.leaderboard().columns.tolist()[:3] == ["run", "cv", "se"]  # pandas leaves out those in the middle
    opened.submission("svm")
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", "")


def test_one_that_is_not_quiet_tells_its_stages_on_stderr_alone(opened, capsys):
    opened.quiet = False
    opened.submission("svm")
    streams = capsys.readouterr()
    assert streams.out == "" and "001_svm.csv" in streams.err


def test_new_files_are_predicted_as_the_same_test_images_were(opened):
    images = opened.images
    test = images.loc[images["split"] == "test"]
    fresh = opened.predict(test["path"], "svm").set_index("id")
    sent = pd.read_csv(opened.submission("svm"), dtype=str).set_index("id")
    assert fresh.loc[sent.index, "label"].tolist() == sent["label"].tolist()


def test_a_picture_an_array_and_a_file_are_predicted_alike(opened):
    path = opened.images.loc[0, "path"]
    with Image.open(path) as picture:
        forms = [path, picture.copy(), np.array(picture)]
    proba = [opened.predict(form, "svm").iloc[0, 2:].to_numpy(dtype=float) for form in forms]
    np.testing.assert_allclose(proba, [proba[0]] * 3)


def test_a_file_that_is_no_image_gets_no_label(opened, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = opened.predict([opened.images.loc[0, "path"], tmp_path / "broken.png"], "svm")
    assert rows["id"].tolist()[1] == "broken" and rows["label"].isna().tolist() == [False, True]


def test_oof_holds_each_image_once_with_its_fold_and_a_column_per_class(opened):
    oof = opened.oof("svm")
    assert oof.columns.tolist() == ["id", "label", "fold", "blue", "green", "red"]
    assert oof["id"].is_unique and len(oof) == 18
    np.testing.assert_allclose(oof[["blue", "green", "red"]].sum(axis=1), 1, rtol=1e-5)


def test_runs_tell_what_is_finished(opened):
    assert dict(zip(opened.runs["run"], opened.runs["state"], strict=True)) == {
        "forest": "not trained",
        "svm": "finished",
    }


def test_images_tell_their_split_and_fold(opened):
    images = opened.images
    assert images["split"].value_counts().to_dict() == {"labeled": 18, "unlabeled": 12, "test": 9}
    assert images["fold"].notna().sum() == 18 == images["label"].notna().sum()


def test_mistakes_are_a_contact_sheet_in_a_notebook(opened):
    mistakes = opened.mistakes("svm")
    sheet = Image.open(io.BytesIO(mistakes._repr_png_()))
    oof = opened.oof("svm").set_index("id")
    said = oof[["blue", "green", "red"]].idxmax(axis=1)
    assert sheet.format == "PNG"
    assert set(mistakes.table["id"]) == set(oof.index[said != oof["label"]])


def test_a_competition_shows_itself_with_its_runs_in_a_notebook(opened):
    assert "18 labeled" in opened._repr_html_() and "<table" in opened._repr_html_()


def test_the_report_shows_in_a_frame(opened):
    page = opened.report()
    assert page.path.is_file()
    assert page._repr_html_()[:40].startswith('<iframe srcdoc="&lt;!DOCTYPE html')


def test_what_a_run_tries_is_noted_and_kept_in_the_history(opened, workspace):
    opened.train("svm", note="as it is")
    opened.all(note="all of them")
    notes = read_ledger(workspace / "runs" / "colours").notes
    assert {name: note for (name, _), note in notes.items()} == {
        "svm": "as it is",
        "forest": "all of them",
        "ensemble": "all of them",
    }


def test_a_package_that_is_absent_is_named_with_its_remedy(opened, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(kit.InputError, match=r"^plotly is not installed; pip install plotly.*: this call needs it$"):
        opened.report()


def test_a_time_limit_ends_with_its_call(opened):
    opened.train("svm", time_limit="10m")
    assert seconds_left() is None


@pytest.mark.usefixtures("quick_looks")
def test_a_table_of_paths_and_labels_becomes_a_competition(opened, workspace):
    images = opened.images
    table = images.loc[images["split"] != "test", ["path", "label"]]
    test = images.loc[images["split"] == "test", ["path"]]
    made = kit.new(table, "mine", test=test, preset="quick", workspace=workspace, quiet=True)
    assert made.images["split"].value_counts().to_dict() == {"labeled": 18, "unlabeled": 12, "test": 9}
    assert made.classes == ("blue", "green", "red")


def test_a_table_without_a_column_of_files_is_refused(tmp_path):
    table = pd.DataFrame({"path": ["nowhere.png"], "label": ["red"]})
    with pytest.raises(kit.InputError, match="no column holds paths of image files"):
        kit.new(table, "mine", workspace=tmp_path, quiet=True)


def test_a_cell_that_runs_twice_spends_no_second_submission(site):
    competition = kit.open("colours", workspace=site.workspace, quiet=True)
    run = competition.leaderboard()["run"].iloc[0]
    first = competition.submit(run, "once")
    with pytest.raises(kit.InputError, match="again=True sends it"):
        competition.submit(run, "twice")
    assert first["ref"] and len(site.server.submissions) == 1
