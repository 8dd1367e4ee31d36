"""The ledger: every submission at Kaggle is in exactly one row."""

from __future__ import annotations

from support.folders import competition_of, write

from kit.kaggle.submission.ledger import LEDGER_COLUMNS, join_ledger, mark, read_ledger, write_ledger

ROW = dict.fromkeys(LEDGER_COLUMNS, "") | {"file": "001_svm.csv", "run": "svm", "cv": "0.7", "sha256": "s"}
SIZES = {"001_svm.csv": 10}


def listed(ref: str, message: str = "m", file: str = "001_svm.csv", n_bytes: int | None = 10, **more: str) -> dict:
    submission = {"ref": ref, "date": "2025-01-01T00:00:00", "message": message, "file": file, "bytes": n_bytes}
    return submission | {"status": "COMPLETE", "public": "0.5", "private": "", "error": "", "team": "t"} | more


def test_an_older_ledger_is_read_and_its_new_columns_are_empty(tmp_path):
    competition = competition_of(tmp_path, 'labeled = "train"')
    path = competition.workspace.submissions(competition.name) / "ledger.csv"
    write(path, "file,run,key\n001_svm.csv,svm,k\n")
    assert read_ledger(competition)[0]["token"] == ""


def test_what_is_written_is_read(tmp_path):
    competition = competition_of(tmp_path, 'labeled = "train"')
    write_ledger(competition, [ROW | {"message": 'a, "b"\nc'}])
    assert read_ledger(competition) == [ROW | {"message": 'a, "b"\nc'}]


def test_a_submission_is_known_by_its_token_whatever_its_file_is_called():
    joined = join_ledger([ROW | {"token": "0123456789"}], [listed("7", mark("m", "0123456789"), "other.csv")], SIZES)
    assert len(joined) == 1 and joined[0]["ref"] == "7" and joined[0]["message"] == "m" and joined[0]["cv"] == "0.7"


def test_a_submission_made_by_hand_is_joined_by_its_files_name():
    assert [row["ref"] for row in join_ledger([ROW], [listed("7")], SIZES)] == ["7"]


def test_another_file_of_the_same_name_is_not_taken_for_ours():
    joined = join_ledger([ROW], [listed("7", n_bytes=11)], SIZES)
    assert [row["ref"] for row in joined] == ["", "7"] and joined[1]["cv"] == ""


def test_a_file_sent_twice_has_two_rows_with_its_cv():
    joined = join_ledger([ROW], [listed("8"), listed("7")], SIZES)
    assert [(row["ref"], row["cv"]) for row in joined] == [("7", "0.7"), ("8", "0.7")]


def test_joining_again_changes_nothing():
    once = join_ledger([ROW], [listed("8"), listed("7"), listed("9", file="x.csv")], SIZES)
    assert join_ledger(once, [listed("9", file="x.csv"), listed("7"), listed("8")], SIZES) == once


def test_a_private_score_that_appears_later_is_taken_up():
    once = join_ledger([ROW], [listed("7")], SIZES)
    assert join_ledger(once, [listed("7", private="0.4")], SIZES)[0]["private"] == "0.4"
