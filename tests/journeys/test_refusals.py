"""Refusals and odd inputs: numbers without an end, links to nowhere, ids in another form, metrics that print."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pandas as pd
import pytest
from support.folders import touch, write

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.triage import find_sheets
from kit.data.folds.file import read_folds
from kit.data.prepared import prepare
from kit.data.table import read_table
from kit.kaggle.submission.sample import read_sample
from kit.report.board import read_solution
from kit.report.explain import latest_sheets
from kit.report.page import refresh_report, write_report
from kit.runs.ensemble import ensemble
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import read_exclusion
from kit.runs.store.imported import import_predictions
from kit.runs.train import train_runs
from kit.scoring.metrics import find_metric
from kit.scoring.predictions import Predictions

PRINTS_AND_ENDS = """
import sys
print("loaded")
def score(labels, proba):
    print("scored")
    return float((proba.argmax(1) == labels).mean())
def stops(labels, proba):
    sys.exit(3)
"""
# a metric that looks whether the workspace is held while it is asked
LOOKS = """
import fcntl
def score(labels, proba):
    with open({lock!r}, "a") as file, open({seen!r}, "a") as seen:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seen.write("free\\n")
        except BlockingIOError:
            seen.write("held\\n")
    return float((proba.argmax(1) == labels).mean())
"""


@pytest.fixture
def kit(colours, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""
    competition = colours('[runs.svm]\nmodel = "svm"\n')

    def call(*arguments: str) -> tuple[int, str, str]:
        return run_command(competition.workspace.root, *arguments)

    call.competition = competition
    return call


def set_metric(kit, text: str, function: str = "score") -> None:
    """Give the competition a metric of its own."""
    file = kit.competition.folder / "competition.toml"
    file.write_text(file.read_text().replace('title = "colours"', f'title = "colours"\nmetric = "mine.{function}"'))
    (kit.competition.folder / "mine.py").write_text(text)


def test_all_scores_are_read_while_the_workspace_is_held(kit, tmp_path):
    seen = tmp_path / "seen.txt"
    lock = kit.competition.workspace.runs("colours") / ".lock"
    set_metric(kit, LOOKS.format(lock=str(lock), seen=str(seen)))
    for command in ("all", "leaderboard", "verify", "report"):
        assert kit(command, "colours")[0] == 0
    assert set(seen.read_text().split()) == {"held"}


@pytest.mark.parametrize("seed", [-1, 2**31 + 1, 10**23])
def test_a_seed_that_no_library_takes_is_refused(colours, seed):
    with pytest.raises(InputError, match=r"\[folds\] seed: must be"):
        colours(changes=(f"folds.seed={seed}",))
    with pytest.raises(InputError, match=r"\[runs.svm\] seed: must be"):
        colours(changes=(f"runs.svm.seed={seed}",))


def test_the_largest_seed_splits_and_trains(colours):
    prepared = prepare(colours(changes=(f"folds.seed={2**31}", f"runs.svm.seed={2**31}")))
    assert train_runs(prepared, ["svm"], strict=True)[0][0].record.cv == 1


@pytest.mark.parametrize("value", ["inf", "1e400", "nan", "-inf"])
def test_a_number_without_an_end_is_refused(colours, value):
    competition = colours(changes=(f"runs.svm.C={value}",))
    with pytest.raises(InputError, match=r"C = (nan|-?inf): must be (a finite number|greater than 0)"):
        build_model(competition, competition.run("svm"))
    pseudo = f'runs.forest.pseudo={{ teachers = ["svm"], total_weight = {value} }}'
    with pytest.raises(InputError, match=r"total_weight: must be"):
        colours(changes=(pseudo,))


def test_no_teacher_is_refused_in_plain_words(colours):
    with pytest.raises(InputError, match=r"pseudo.teachers: must not be empty \(it is \[\]\)"):
        colours(changes=("runs.svm.pseudo={ teachers = [] }",))


def test_a_folder_named_data_in_the_workspace_is_not_taken_for_the_competitions_own(tmp_path):
    touch(tmp_path / "mine/data", "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "train/dog/4.jpg")
    toml = '[competition]\ntitle = "mine"\n[data]\nroot = "data"\nlabeled = "train"\n'
    (tmp_path / "mine/competition.toml").write_text(toml)
    (tmp_path / "workspace/data/another").mkdir(parents=True)
    competition = read_competition(str(tmp_path / "mine"), Workspace(tmp_path / "workspace"))
    assert len(read_table(competition)) == 4
    digits = read_competition("digits", Workspace(tmp_path / "workspace"))
    assert digits.root == tmp_path / "workspace/data/digits"


def test_what_a_users_metric_prints_does_not_spoil_the_json(kit):
    set_metric(kit, PRINTS_AND_ENDS)
    assert kit("train", "colours")[0] == 0
    code, out, err = kit("leaderboard", "colours", "--json")
    assert code == 0 and json.loads(out)["metric"] == "mine.score" and "scored" in err


def test_a_users_metric_that_ends_python_is_named(tmp_path):
    (tmp_path / "mine.py").write_text(PRINTS_AND_ENDS)
    with pytest.raises(InputError, match=r"mine\.py: stops failed \(SystemExit: 3\)"):
        find_metric("mine.stops", [tmp_path]).score(np.array([0, 1]), np.eye(2))
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(InputError, match=r"ends\.py: cannot be run \(SystemExit"):
        find_metric("ends.score", [tmp_path])


def test_a_solution_may_write_the_suffixes_that_the_sample_may_write(colours):
    prepared = prepare(colours())
    file = prepared.competition.root / "solution.csv"
    plain = read_solution(prepared)
    rows = pd.read_csv(file, dtype=str)
    rows.assign(id=rows["id"] + ".png").to_csv(file, index=False)
    assert read_solution(prepared) == plain
    write(file, f"id,label\n{rows['id'][0]}.png,red\n{rows['id'][0]},red\n")
    with pytest.raises(InputError, match=r"solution\.csv: 8 test images are not in it"):
        read_solution(prepared)


def test_a_solution_that_does_not_fit_is_refused_before_anything_is_trained(kit):
    write(kit.competition.root / "solution.csv", "id,label\n00001,red\n")
    code, _, err = kit("all", "colours")
    assert code == 2 and "9 test images are not in it" in err and "svm" not in err


def test_a_reason_that_keeps_several_sections_from_the_report_is_said_once(kit):
    assert kit("all", "colours")[0] == 0
    write(kit.competition.root / "solution.csv", "id,label\n00001,red\n")
    code, _, err = kit("report", "colours")
    assert code == 0 and err.count("test images are not in it") == 1 and "headline, board, " in err


@pytest.mark.parametrize("owner", ["../../x", "", "a b", "me/you", "é"])
def test_an_owner_that_is_no_name_at_kaggle_is_refused(kit, owner):
    code, _, err = kit("bundle", "colours", "--owner", owner)
    assert code == 2 and f"--owner {owner}: a name at Kaggle" in err


def test_ids_of_another_unicode_form_than_their_files_find_them(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = tmp_path / "data"
    touch(root, f"images/{apart}1.jpg", "images/2.jpg", "images/3.jpg", "images/4.jpg", f"test/{apart}.jpg")
    write(root / "train.csv", f"id,label\n{composed}1,cat\n2,cat\n3,dog\n4,dog\n")
    toml = '[competition]\ntitle = "a"\n[data]\nroot = "data"\ntest = "test"\n'
    toml += 'labeled = { csv = "train.csv", images = "images" }\n'
    write(tmp_path / "competition.toml", toml)
    table = read_table(read_competition(str(tmp_path), Workspace(tmp_path))).set_index("id")
    assert table.loc[f"{composed}1", "path"] == f"{root}/images/{apart}1.jpg"
    touch(root, f"images/{apart}5.jpg", f"images/{apart}5.png")
    write(root / "train.csv", f"id,label\n{composed}5,cat\n2,cat\n3,dog\n4,dog\n")
    with pytest.raises(InputError, match=rf"row 2: id .{composed}5. fits {apart}5\.jpg, {apart}5\.png"):
        read_table(read_competition(str(tmp_path), Workspace(tmp_path)))


def test_a_sample_of_another_unicode_form_keeps_its_own_ids(colours):
    competition = colours()
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    sample = competition.root / "sample_submission.csv"
    first = pd.read_csv(sample, dtype=str)["id"][0]
    (competition.root / f"test/{first}.png").rename(competition.root / f"test/{apart}.png")
    for file in (sample, competition.root / "solution.csv"):
        write(file, file.read_text().replace(first, composed))
    prepared = prepare(competition)
    sample = read_sample(prepared)
    assert sample.rows.iloc[0, 0] == composed and sample.ids[0] == apart and apart in read_solution(prepared)


def test_a_probability_below_zero_is_named_where_the_row_sums_to_one(colours, tmp_path):
    prepared = prepare(colours())
    ids = prepared.pool.ids[prepared.labeled]
    table = pd.DataFrame({"id": ids, "blue": 0.5, "green": 0.5, "red": 0.0})
    table.loc[4, ["blue", "green"]] = (-0.5, 1.5)
    table.to_csv(tmp_path / "oof.csv", index=False)
    with pytest.raises(InputError, match=rf"oof\.csv: probabilities must be 0\.\.1; one of '{ids[4]}' is -0\.5"):
        import_predictions(prepared, "friend", tmp_path / "oof.csv", tmp_path / "oof.csv")
    with pytest.raises(ValueError, match="sum to 1"):
        Predictions(np.array(["a"]), ("x", "y"), np.array([[0.2, 0.2]]))


def test_an_exclusion_of_two_id_columns_is_refused(colours):
    competition = colours()
    prepared = prepare(competition)
    write(competition.folder / "out.csv", "id,id\n00001,00001\n")
    run = competition.run("svm").model_copy(update={"exclude": "out.csv"})
    with pytest.raises(InputError, match=r"out\.csv: 2 columns are named 'id'; rename all but one"):
        read_exclusion(prepared, run)
    write(competition.folder / "out.csv", "image\n00001\n")
    with pytest.raises(InputError, match=r"out\.csv: no column 'id'"):
        read_exclusion(prepared, run)


def test_a_fold_file_that_is_a_link_to_nowhere_is_refused_and_stays(colours):
    competition = colours()
    file = competition.workspace.folds("colours")
    file.parent.mkdir()
    file.symlink_to("/nowhere/colours.csv")
    table = read_table(competition)
    with pytest.raises(InputError, match=r"a link to /nowhere/colours\.csv, which is not there; bring it back"):
        read_folds(competition, table, np.arange(len(table)))
    assert file.is_symlink() and not file.exists()


def test_a_contact_sheet_that_is_a_link_to_nowhere_is_left_out_of_the_report(colours, capsys):
    prepared = prepare(colours('[runs.svm]\nmodel = "svm"\n'))
    results, _ = train_runs(prepared, ["svm"], strict=True)
    results.append(ensemble(prepared, results))
    home = prepared.competition.workspace.runs("colours")
    for place in ("triage/labels.png", "explain/svm.png"):
        (home / place).parent.mkdir()
        (home / place).symlink_to("/nowhere/a.png")
    assert refresh_report(prepared, results, {}).is_file() and write_report(prepared, results, {}).is_file()
    assert find_sheets(prepared) == latest_sheets(prepared) == []
    assert "explain/svm.png: a link that leads nowhere; left out" in capsys.readouterr().err
