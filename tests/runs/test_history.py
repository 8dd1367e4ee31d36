"""The history: every finished run stays, is compared, and its settings come back."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import read_json, write_json
from kit.data.prepared import prepare
from kit.runs.clean import describe_removable, list_removable, remove
from kit.runs.fit.crossval import crossval
from kit.runs.history import adopt, compare, find_entry, find_one, list_entries, sort_entries
from kit.runs.store import compare_runs
from kit.runs.store.ledger import FILE, note_again, noting, read_ledger

RUNS = """
# my best idea so far
[runs.svm]
model = "svm"
pixels = 4  # enough for colours
C = 3

[runs.forest]
model = "forest"
n_trees = 20
"""


@pytest.fixture
def twice(colours):
    """The same run with two settings; today the first counts."""
    later = prepare(colours(RUNS, ("runs.svm.pixels=8", "runs.svm.C=0.01")))
    with noting("fewer pixels"):
        first = crossval(prepare(colours(RUNS)), "svm")
    return prepare(colours(RUNS)), first, crossval(later, "svm")


def entries_of(prepared, key: str):
    return find_entry(prepared, list_entries(prepared), key)


def test_every_setting_stays_with_what_differs_from_today(twice):
    prepared, first, second = twice
    ours, theirs = (entries_of(prepared, result.record.key) for result in (first, second))
    assert (ours.is_today, ours.note, ours.differs) == (True, "fewer pixels", ())
    differs = {each.key: (each.ours, each.theirs) for each in theirs.differs}
    assert differs == {"pixels": ("8", "4"), "C": ("0.01", "3.0")}
    assert not theirs.is_today and theirs.cv == second.record.cv and theirs.machine


def test_a_run_outlives_its_folder_and_can_still_be_compared(twice):
    prepared, first, second = twice
    before = compare(prepared, entries_of(prepared, "svm"), entries_of(prepared, second.record.key))
    remove(list_removable(prepared.competition, prepared))
    assert first.folder.exists() and not second.folder.exists()
    after = compare(prepared, entries_of(prepared, "svm"), entries_of(prepared, second.record.key))
    assert (after.difference, after.se) == (before.difference, before.se) == compare_runs_of(prepared, first, before)
    assert {each.key for each in after.settings} == {"pixels", "C"}


def compare_runs_of(prepared, first, comparison):
    """Return what the kit's own paired test says of the two runs, read from where the second's oof lies now."""
    folder = first.folder.parent / "copy"
    shutil.copytree(first.folder, folder, dirs_exist_ok=True)
    kept = prepared.competition.workspace.runs("colours") / "history" / f"svm-{comparison.theirs.key}.parquet"
    shutil.copy(kept, folder / "oof.parquet")
    result = compare_runs(prepared, first, type(first)("svm", folder, first.record))
    shutil.rmtree(folder)
    return result


def test_runs_of_an_earlier_kit_without_a_ledger_are_listed_and_kept_by_clean(twice):
    prepared, _, second = twice
    home = prepared.competition.workspace.runs("colours")
    (home / FILE).unlink()
    assert {entry.key for entry in list_entries(prepared)} == {second.record.key, entries_of(prepared, "svm").key}
    remove(list_removable(prepared.competition, prepared))
    assert entries_of(prepared, second.record.key).cv == second.record.cv


def test_a_torn_last_line_is_left_out_said_and_cut_off(twice, capsys):
    prepared, _, second = twice
    ledger = prepared.competition.workspace.runs("colours") / FILE
    whole = ledger.read_text()
    ledger.write_text(whole + '{"name": "svm", "key": "12')
    assert len(list_entries(prepared)) == 2
    assert "1 of its lines are not whole" in capsys.readouterr().err
    note_again(second.folder, "svm", second.record.key, "worse")
    assert "is cut off" in capsys.readouterr().err
    assert ledger.read_text().startswith(whole) and read_ledger(ledger.parent).n_torn == 0
    assert entries_of(prepared, second.record.key).note == "worse"


def write_many(folder: Path, number: int) -> None:
    for i in range(20):
        note_again(folder, f"run{number}", f"{i:016d}", "x" * 2000)


def test_lines_of_several_processes_do_not_mix(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path / "run" / "key", n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    ledger = read_ledger(tmp_path)
    assert len(ledger.notes) == 60 and ledger.n_torn == 0


def test_changed_folds_are_said(twice, colours):
    _, first, _ = twice
    changed = colours(RUNS, ("folds.seed=5",))
    (changed.workspace.folds("colours")).unlink()
    entry = entries_of(prepare(changed), first.record.key)
    assert entry.since == ("folds or labels changed",) and not entry.is_best


def test_adopt_brings_settings_back_and_keeps_comments(twice):
    prepared, first, second = twice
    adopted = adopt(prepared, entries_of(prepared, second.record.key))
    text = prepared.competition.file.read_text()
    assert adopted.is_found and {each.key for each in adopted.changes} == {"pixels", "C"}
    assert "# my best idea so far" in text and "pixels = 8  # enough for colours" in text and "n_trees = 20" in text
    back = adopt(prepared, entries_of(prepared, first.record.key))
    assert back.is_found and "C = 3\n" in prepared.competition.file.read_text()


@pytest.mark.parametrize("name", ["svm", "svm_low"])
def test_adopt_keeps_the_byte_order_mark_and_the_line_ends_of_windows(twice, name):
    prepared, _, second = twice
    file = prepared.competition.file
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    adopt(prepared, entries_of(prepared, second.record.key), name)
    written = file.read_bytes()
    assert written.startswith(b"\xef\xbb\xbf") and written.count(b"\n") == written.count(b"\r\n") > 10
    assert b"# enough for colours\r\n" in written
    assert read_competition("colours", prepared.competition.workspace).runs[name].options["pixels"] == 8


def test_adopt_writes_a_run_that_is_gone_or_of_another_name_as_a_new_table(twice):
    prepared, _, second = twice
    adopted = adopt(prepared, entries_of(prepared, second.record.key), "svm_low")
    competition = read_competition("colours", prepared.competition.workspace)
    assert adopted.is_new and competition.runs["svm_low"].options == {"pixels": 8, "C": 0.01}
    assert competition.runs["svm"] == prepared.competition.runs["svm"]


def test_adopt_writes_new_keys_below_the_runs_own_last_one(twice):
    prepared, _, second = twice
    file = prepared.competition.file
    text = file.read_text().replace("pixels = 4  # enough for colours\nC = 3\n", "C = 3  # mine\n")
    file.write_text(text.replace("[runs.forest]", "# a forest for comparison\n[runs.forest]"))
    adopt(prepared, entries_of(prepared, second.record.key))
    assert "C = 0.01  # mine\npixels = 8\n\n# a forest for comparison\n[runs.forest]\n" in file.read_text()


def test_adopt_refuses_a_member_of_a_grid_and_what_has_no_settings(colours):
    prepared = prepare(colours('[runs.svm]\nmodel = "svm"\npixels = 4\ngrid = { C = [1, 3] }\n'))
    result = crossval(prepared, "svm_3")
    before = prepared.competition.file.read_text()
    with pytest.raises(InputError, match=r"belongs to the grid svm; .*--as svm_adopted"):
        adopt(prepared, entries_of(prepared, result.record.key))
    assert prepared.competition.file.read_text() == before


def test_an_older_record_without_its_table_gives_what_differs_from_the_defaults(twice):
    prepared, _, second = twice
    home = prepared.competition.workspace.runs("colours")
    (home / FILE).unlink()
    document = read_json(second.folder / "run.json")
    write_json(second.folder / "run.json", {key: value for key, value in document.items() if key != "settings"})
    adopted = adopt(prepared, entries_of(prepared, second.record.key))
    assert adopted.is_found


def lower(result) -> None:
    """Let a run have a worse CV, as run.json and an earlier kit without a ledger say."""
    (result.folder.parents[1] / FILE).unlink()
    write_json(result.folder / "run.json", result.record.document | {"cv": 0.5})


def test_clean_shows_scores_and_says_where_the_best_of_a_name_would_go(twice):
    prepared, first, second = twice
    lower(second)
    scores = describe_removable(prepared.competition, list_removable(prepared.competition, None))
    assert scores[first.folder] == f"accuracy {first.record.cv:.4f} +- {first.record.se:.4f}, the best of svm"
    assert scores[second.folder] == f"accuracy 0.5000 +- {second.record.se:.4f}"


def test_runs_are_sorted_and_found_by_a_part_of_the_key(twice):
    prepared, first, second = twice
    lower(first)
    entries = list_entries(prepared)
    assert [entry.cv for entry in sort_entries(entries, "cv")] == [second.record.cv, 0.5]
    assert [entry.cv for entry in sort_entries(entries, "cv", sign=-1)] == [0.5, second.record.cv]
    assert find_entry(prepared, entries, second.record.key[:6]).key == second.record.key
    shared = [dataclasses.replace(entries[0], name="pseudo.0"), dataclasses.replace(entries[0], name="svm")]
    for rounds in (shared, shared[::-1]):  # a round 0 and the run that it is
        assert find_entry(prepared, rounds, first.record.key[:6]).name == "svm"
    with pytest.raises(InputError, match=r"svm .*other .*; write the name"):
        find_entry(prepared, [shared[1], dataclasses.replace(entries[0], name="other")], first.record.key)
    with pytest.raises(InputError, match="--sort size: "):
        sort_entries(entries, "size")
    with pytest.raises(InputError, match="svn: no finished run of this name or key; did you mean 'svm'"):
        find_entry(prepared, entries, "svn")


def test_a_name_of_runs_that_scored_differently_is_adopted_by_its_key_only(twice, run_command):
    prepared, first, second = twice
    entries = list_entries(prepared)
    assert first.record.cv == second.record.cv and find_one(prepared, entries, "svm").key == first.record.key
    code, out, err = run_command(prepared.competition.workspace.root, "adopt", "colours", "svm")
    assert code == 0 and f"as svm {first.record.key} has it" in out and f"the same: {second.record.key}" in err
    lower(second)
    entries = list_entries(prepared)
    with pytest.raises(
        InputError, match=f"2 finished runs.*{first.record.key} 1.0000 .*today; {second.record.key} 0.5"
    ):
        find_one(prepared, entries, "svm")
    assert find_one(prepared, entries, second.record.key).key == second.record.key


def test_the_commands_print_tables_and_json(twice, run_command):
    prepared, _, second = twice
    workspace = prepared.competition.workspace.root
    code, out, err = run_command(workspace, "history", "colours")
    assert code == 0 and "pixels 8 (now 4)" in " ".join(out.split()) and "fewer pixels" in out
    code, out, err = run_command(workspace, "history", "colours", "svm", second.record.key, "--json")
    assert code == 0 and json.loads(out)["theirs"]["key"] == second.record.key
    code, out, err = run_command(workspace, "adopt", "colours", second.record.key)
    assert code == 0 and "C = 0.01 (was 3)" in out and "nothing has to be trained" in err
    code, out, err = run_command(workspace, "train", "colours", "svm", "--note", "went back")
    code, out, err = run_command(workspace, "history", "colours", "svm")
    assert "note: went back" in out and "pixels = 8" in out
