"""What may be sent: the ledger's file, unchanged and valid."""

from __future__ import annotations

import hashlib

import pytest
from support.kaggle_site import copy_workspace

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.kaggle.submission.check import check_file
from kit.kaggle.submission.gate import pack_file
from kit.kaggle.submission.ledger import find_row, read_ledger


@pytest.fixture
def prepared(trained_workspace, tmp_path):
    return prepare(read_competition("colours", Workspace(copy_workspace(trained_workspace[0], tmp_path / "w"))))


@pytest.fixture
def path(prepared):
    return prepared.competition.workspace.submissions("colours") / "001_ensemble.csv"


def test_the_newest_file_of_a_run_is_found(prepared):
    assert find_row(prepared.competition, "ensemble")["file"] == "001_ensemble.csv"
    assert find_row(prepared.competition, "svm") is None


def test_the_file_that_was_written_may_be_sent(prepared, path):
    assert pack_file(prepared, read_ledger(prepared.competition)[0]).path == path


def test_a_deleted_file_is_named(prepared, path):
    path.unlink()
    with pytest.raises(InputError, match="is not there, the ledger names it"):
        pack_file(prepared, read_ledger(prepared.competition)[0])


def test_a_ledger_that_points_outside_the_folder_is_refused(prepared, path):
    row = read_ledger(prepared.competition)[0] | {"file": "../../data/colours/sample_submission.csv"}
    with pytest.raises(InputError, match="is not there"):
        pack_file(prepared, row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "empty"),
        (lambda text: text.replace("label", "labels", 1), "columns"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "8 rows whose ids are not the sample's 9"),
        (lambda text: "\n".join([text.splitlines()[0], *text.splitlines()[:0:-1]]), "whose ids are not the sample's"),
        (lambda text: text.replace("red", "rot"), "labels that are not classes: rot"),
        (lambda text: text.replace(",red", ","), "empty values"),
    ],
)
def test_a_file_that_kaggle_would_take_and_fail_on_is_refused_before(prepared, path, change, message):
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        check_file(prepared, path)


@pytest.mark.parametrize("value", ["nan", "inf", "1,5", "high", ""])
def test_probabilities_must_be_finite_numbers(prepared, path, value):
    sample = prepared.competition.root / "sample_submission.csv"
    ids = [line.split(",")[0] for line in sample.read_text().splitlines()[1:]]
    text = "id,blue,green,red\n" + "".join(f"{image_id},0.2,0.3,0.5\n" for image_id in ids)
    sample.write_text(text)
    path.write_text(text)
    check_file(prepared, path)
    path.write_text(text.replace("0.5", f'"{value}"', 1))
    with pytest.raises(InputError, match=r"00\d+, column 'red': .* is not a probability, 0..1|empty values"):
        check_file(prepared, path)


def test_what_is_checked_is_what_is_hashed(prepared, path):
    row = read_ledger(prepared.competition)[0]
    assert hashlib.sha256(pack_file(prepared, row).path.read_bytes()).hexdigest() == row["sha256"]
