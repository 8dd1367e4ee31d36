"""The log of looks and acts: whoever edits it, cuts it or deletes it is found out; what a look has seen stays seen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kit.core.errors import LeakFound
from kit.core.files import write_json
from kit.data.prepared import prepare
from kit.runs.fit.crossval import crossval
from kit.runs.store.ledger import FILE, LOST, note_act, note_again, note_finished, read_acts, read_chain, read_ledger
from kit.runs.store.result import NEXT, read_result, write_result
from kit.runs.verify import verify

SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A log of four acts."""
    home = tmp_path / "runs" / "birds"
    for number in range(4):
        note_act(home, "look", number=number)
    return home


@pytest.fixture
def finished(colours):
    prepared = prepare(colours(SVM))
    return prepared, crossval(prepared, "svm"), prepared.competition.workspace.runs("colours")


def edit(file: Path, change) -> None:
    """Change the lines of a log."""
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line}\n" for line in change(lines)))


def test_every_line_is_sealed_by_the_next_and_the_last_beside_the_folds(home):
    chain = read_chain(home)
    assert len(chain.hashes) == 4 and chain.broken is None and not chain.is_cut and not chain.lost
    assert (home.parents[1] / "folds" / "birds.log").read_text().strip() == chain.hashes[-1]
    assert [act["number"] for act in read_acts(home, "look")] == [0, 1, 2, 3]


def test_an_act_is_noted_once_for_each_content(home):
    note_act(home, "look", number=2)
    assert len(read_chain(home).hashes) == 4


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [lines[0], lines[1].replace('"number": 1', '"number": 7'), *lines[2:]], 3),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [lines[0], "{}", *lines[2:]], 2),
    ],
    ids=["edited", "taken out", "beginning", "exchanged", "emptied"],
)
def test_a_line_that_does_not_follow_from_the_one_before_is_named(home, change, line):
    edit(home / FILE, change)
    assert read_chain(home).broken == line


@pytest.mark.parametrize("kept", [0, 2])
def test_a_log_that_was_cut_is_missed_and_the_next_line_says_so_for_good(home, kept):
    edit(home / FILE, lambda lines: lines[:kept])
    assert read_chain(home).is_cut and read_chain(home).broken is None
    note_act(home, "look", number=9)
    chain = read_chain(home)
    assert not chain.is_cut and chain.broken is None and chain.lost == [kept + 1]


def test_a_line_torn_by_a_kill_is_cut_off_and_breaks_nothing(home, capsys):
    with open(home / FILE, "a") as file:
        file.write('{"act": "lo')
    assert read_chain(home).broken is None
    note_act(home, "look", number=9)
    chain = read_chain(home)
    assert len(chain.hashes) == 5 and chain.broken is None and not chain.lost
    assert "not written to the end" in capsys.readouterr().err


def test_a_finished_run_is_in_the_log_with_its_run_json(finished):
    prepared, result, home = finished
    assert list(read_ledger(home).runs) == [("svm", result.record.key)]
    assert verify(prepared, [result])[-1] == "log: 1 look and acts, each sealed by the next"


def test_a_run_json_that_was_edited_is_named(finished):
    prepared, result, _ = finished
    write_json(result.folder / "run.json", result.record.document | {"seconds": 0.5})
    with pytest.raises(LeakFound, match=r"svm: .*run\.json was edited since the run was finished"):
        verify(prepared, [result])


def test_a_run_that_came_after_a_look_that_is_gone_is_named(finished, colours):
    _, _, home = finished
    both = prepare(colours(SVM + SVM.replace("svm]", "fine]").replace("4", "8")))
    note_act(home, "look", number=1)
    fine = crossval(both, "fine")
    edit(home / FILE, lambda lines: lines[:1])
    both.competition.workspace.folds("colours").with_suffix(".log").unlink()
    note_finished(home, fine.record.document, fine.folder / "run.json")
    with pytest.raises(LeakFound, match=r"fine: it was finished after a look that is not in .*: lines were cut off"):
        verify(both, [fine])


def test_a_run_that_was_copied_from_elsewhere_is_told(finished):
    prepared, result, home = finished
    (home / FILE).unlink()
    prepared.competition.workspace.folds("colours").with_suffix(".log").unlink()
    assert "not in it, so copied from elsewhere: svm" in verify(prepared, [read_result("svm", result.folder)])[-1]


def test_a_deleted_log_is_named_and_a_new_one_tells_of_the_loss(finished, colours):
    prepared, result, home = finished
    (home / FILE).unlink()
    with pytest.raises(LeakFound, match=r"history\.jsonl: it was cut short, exchanged or deleted: colours\.log beside"):
        verify(prepared, [result])
    both = prepare(colours(SVM + SVM.replace("svm]", "fine]").replace("4", "8")))
    fine = crossval(both, "fine")
    assert LOST in json.loads((home / FILE).read_text().splitlines()[0])
    assert "before line 1 others were lost, of which nothing is known" in verify(both, [fine])[-1]


def test_a_note_may_hold_any_character(finished):
    prepared, result, home = finished
    note_again(result.folder, "svm", result.record.key, "pasted\u2028from\x85a page")
    ledger = read_ledger(home)
    assert ledger.n_torn == 0 and list(ledger.notes.values()) == ["pasted\u2028from\x85a page"]
    assert verify(prepared, [result])


def test_a_run_that_cannot_be_noted_is_not_finished_and_goes_on_later(finished):
    prepared, result, home = finished
    lines = (home / FILE).read_bytes()
    (result.folder / "run.json").unlink()
    (home / FILE).unlink()
    (home / FILE).mkdir()  # nothing can be written to it
    with pytest.raises(OSError, match=FILE):
        crossval(prepared, "svm")
    assert not (result.folder / "run.json").exists()
    (home / FILE).rmdir()
    (home / FILE).write_bytes(lines)
    assert verify(prepared, [crossval(prepared, "svm")])


def killed(source: Path, target: Path, replace=os.replace) -> None:
    """Rename a file, but for a run.json that is about to take its place."""
    if source.name == NEXT:
        raise KeyboardInterrupt
    replace(source, target)


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_kill_between_a_runs_line_and_its_run_json_raises_no_false_alarm(finished, monkeypatch, is_gone):
    prepared, result, home = finished
    before = (result.folder / "run.json").read_bytes()
    if is_gone:
        (result.folder / "run.json").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        write_result("svm", result.folder, result.record.document | {"made": "2030-01-01T00:00:00+0000"})
    assert len((home / FILE).read_text().splitlines()) == 2
    assert is_gone or (result.folder / "run.json").read_bytes() == before
    assert f"log: {3 if is_gone else 2} looks" in verify(prepared, [crossval(prepared, "svm")])[-1]
