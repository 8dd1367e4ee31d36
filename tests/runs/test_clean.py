"""Clean lists what nobody needs, and leaves nothing half removed."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from support.warm import Warm

from kit.core.errors import InputError
from kit.core.files import write_json
from kit.data.prepared import prepare
from kit.runs.clean import list_removable, remove
from kit.runs.ensemble import ensemble, find_ensemble, members_of
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result
from kit.runs.store.find import run_key
from kit.runs.store.imported import import_predictions
from kit.runs.store.result import run_folder

RUNS = """
[runs.svm]
model = "svm"
pixels = 4

[runs.taught]
model = "svm"
pixels = 4
pseudo = { teachers = ["svm"], rounds = 3 }
"""


@pytest.fixture
def prepared(colours):
    return prepare(colours(RUNS))


def listed(prepared) -> set[Path]:
    return {folder for folder, _ in list_removable(prepared.competition, prepared)}


def test_present_runs_their_rounds_their_teachers_and_the_ensemble_stay(prepared):
    results = [crossval(prepared, name) for name in ("svm", "taught")]
    ensemble(prepared, results)
    home = prepared.competition.workspace.runs("colours")
    assert listed(prepared) == {home / "cache"}


def test_runs_and_ensembles_of_other_settings_go(colours):
    before = prepare(colours(RUNS))
    old = [crossval(before, name) for name in ("svm", "taught")]
    combined = ensemble(before, old)
    now = prepare(colours(RUNS, ("runs.svm.pixels=8",)))
    crossval(now, "svm"), crossval(now, "taught")
    assert {old[0].folder, old[1].folder, combined.folder} <= listed(now)
    assert find_result(now, "taught").folder not in listed(now)


@pytest.mark.usefixtures("no_worse_is_kept")
def test_rounds_after_a_dropped_one_are_known_and_stay(prepared):
    crossval(prepared, "svm"), crossval(prepared, "taught")
    home = prepared.competition.workspace.runs("colours")
    whole = find_result(prepared, "taught")
    assert whole.record.rounds["kept"] == 3
    dropped = next(home.glob("taught.2/*"))
    write_worse_oof(dropped)
    shutil.rmtree(whole.folder)
    again = crossval(prepared, "taught")
    assert again.record.rounds["kept"] == 1
    assert not {dropped, again.folder} & listed(prepared)


def write_worse_oof(folder: Path) -> None:
    """Turn a round's oof so that the round is dropped."""
    from kit.scoring.predictions import Predictions, read_predictions, write_predictions

    oof = read_predictions(folder / "oof.parquet")
    write_predictions(folder / "oof.parquet", Predictions(oof.ids, oof.classes, oof.proba[:, [1, 2, 0]]))


def test_a_half_made_run_of_the_present_settings_stays(prepared):
    run = prepared.competition.run("svm")
    crossval(prepared, "svm")
    folder = run_folder(prepared, run, run_key(prepared, run))
    (folder / "run.json").unlink()
    assert folder not in listed(prepared)


def test_a_run_whose_teacher_is_not_trained_yet_is_not_called_old(colours):
    before = prepare(colours(RUNS))
    crossval(before, "svm")
    student = crossval(before, "taught")
    now = prepare(colours(RUNS, ("runs.svm.pixels=8",)))
    assert student.folder not in listed(now)
    teacher = find_result(before, "svm").folder
    assert teacher not in listed(now)  # the student names it


def test_imports_stay_whatever_is_asked_for(prepared):
    svm = crossval(prepared, "svm")
    files = [svm.folder / f"{split}.parquet" for split in ("oof", "test")]
    friend = import_predictions(prepared, "friend", *files)
    everything = {folder for folder, _ in list_removable(prepared.competition, None)}
    assert svm.folder in everything and friend.folder not in everything | listed(prepared)


def test_folders_that_are_no_runs_are_left_alone(prepared):
    folder = prepared.competition.workspace.runs("colours") / "notes" / "pictures"
    folder.mkdir(parents=True)
    assert folder not in {path for path, _ in list_removable(prepared.competition, None)}


def test_an_unknown_member_is_refused_before_anything_is_called_old(colours):
    prepared = prepare(colours(RUNS, ('ensemble.members=["svn"]',)))
    with pytest.raises(InputError, match="did you mean 'svm'"):
        listed(prepared)


def test_what_was_removed_is_made_again(prepared):
    first = crossval(prepared, "svm")
    before = first.predictions("oof").proba
    remove(list_removable(prepared.competition, None))
    assert not first.folder.exists() and find_result(prepared, "svm") is None
    assert (crossval(prepared, "svm").predictions("oof").proba == before).all()


def test_a_kill_while_removing_leaves_no_run_that_looks_finished(prepared):
    result = crossval(prepared, "svm")
    code = (
        "import os, shutil, signal, sys; from pathlib import Path\n"
        "def watch(event, args):\n"  # the first file to go, whichever it is
        "    if event == 'os.remove': os.kill(os.getpid(), signal.SIGKILL)\n"
        "from kit.runs.clean import remove\n"
        "sys.addaudithook(watch); remove([(Path(sys.argv[1]), 0)])"
    )
    child = Warm(code, str(result.folder))
    _, stderr = child.communicate()
    assert child.returncode == -signal.SIGKILL, stderr
    assert find_result(prepared, "svm") is None
    left = [folder for folder in listed(prepared) if folder.name.endswith(".removed")]
    assert [folder.parent for folder in left] == [result.folder.parent]
    crossval(prepared, "svm")
    remove(list_removable(prepared.competition, prepared))
    assert list(result.folder.parent.iterdir()) == [result.folder]


def test_the_present_ensemble_is_that_of_the_members_in_their_order(colours):
    prepared = prepare(colours(RUNS, ('ensemble.members=["taught", "svm"]',)))
    crossval(prepared, "svm"), crossval(prepared, "taught")
    combined = ensemble(prepared, members_of(prepared))
    assert find_ensemble(prepared, members_of(prepared)).folder == combined.folder
    assert combined.folder not in listed(prepared)


def test_a_folder_with_the_leavings_of_an_earlier_kill_is_removed_too(prepared):
    home = prepared.competition.workspace.runs("colours")
    write_json(home / ".cache.removed" / "old.json", {})
    remove(list_removable(prepared.competition, prepared))
    assert not list(home.glob(".*removed")) and not (home / "cache").exists()
