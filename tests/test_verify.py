"""Verify names planted leaks."""

from __future__ import annotations

import pytest

from kit.crossval import crossval
from kit.errors import LeakFound
from kit.files import read_json, write_json
from kit.predictions import Predictions, read_predictions, write_predictions
from kit.prepare import prepare
from kit.runs import fold_folder
from kit.verify import verify

RUNS = """
[runs.svm]
model = "svm"
pixels = 4

[runs.taught]
model = "svm"
pixels = 4
pseudo = { teachers = ["svm"] }
"""


@pytest.fixture
def trained(colours):
    prepared = prepare(colours(RUNS))
    return prepared, crossval(prepared, "svm"), crossval(prepared, "taught")


def test_honest_runs_pass(trained):
    prepared, teacher, student = trained
    said = verify(prepared, [teacher, student])
    assert len(said) == 3 and "no group straddles" in said[0]


def test_a_model_fitted_on_its_own_fold_is_named(trained):
    prepared, teacher, _ = trained
    path = fold_folder(teacher.folder, 1) / "provenance.json"
    ledger = read_json(path)
    stranger = prepared.held_out(1).ids[0]
    write_json(path, ledger | {"labeled": [*ledger["labeled"], stranger]})
    with pytest.raises(LeakFound, match=rf"svm fold 1: fitted on 1 images of its own fold: {stranger}"):
        verify(prepared, [teacher])


def test_pseudo_labels_from_another_folds_teacher_are_named(trained):
    prepared, _, student = trained
    path = fold_folder(student.folder, 0) / "provenance.json"
    ledger = read_json(path)
    ledger["teachers"][0]["fold"] = 2
    write_json(path, ledger)
    with pytest.raises(LeakFound, match=r"taught.1 fold 0: pseudo labels from svm's model of fold 2"):
        verify(prepared, [student])


def test_pseudo_labels_the_teachers_did_not_give_are_named(trained):
    prepared, _, student = trained
    path = fold_folder(student.folder, 0) / "provenance.json"
    ledger = read_json(path)
    ledger["pseudo"]["codes"][0] = (ledger["pseudo"]["codes"][0] + 1) % 3
    write_json(path, ledger)
    with pytest.raises(LeakFound, match=rf"not what the teachers.*{ledger['pseudo']['ids'][0]}"):
        verify(prepared, [student])


def test_a_leaking_teacher_is_found_through_its_student(trained):
    prepared, teacher, student = trained
    path = fold_folder(teacher.folder, 0) / "provenance.json"
    ledger = read_json(path)
    write_json(path, ledger | {"labeled": [*ledger["labeled"], prepared.held_out(0).ids[0]]})
    with pytest.raises(LeakFound, match="svm fold 0: fitted on"):
        verify(prepared, [student])


def test_oof_from_another_folds_model_is_named(trained):
    prepared, teacher, _ = trained
    path = teacher.folder / "oof.parquet"
    oof = read_predictions(path)
    write_predictions(path, Predictions(oof.ids, oof.classes, oof.proba[::-1]))
    with pytest.raises(LeakFound, match=r"oof.parquet is not what this fold's model said"):
        verify(prepared, [teacher])


def test_an_oof_with_holes_is_named(trained):
    prepared, teacher, _ = trained
    oof = read_predictions(teacher.folder / "oof.parquet")
    write_predictions(teacher.folder / "oof.parquet", oof.at(oof.ids[1:]))
    with pytest.raises(LeakFound, match=f"does not cover the scored images: {oof.ids[0]}"):
        verify(prepared, [teacher])


def test_a_missing_ledger_is_a_leak_until_shown_otherwise(trained):
    prepared, teacher, _ = trained
    (fold_folder(teacher.folder, 2) / "provenance.json").unlink()
    with pytest.raises(LeakFound, match="what it saw is unknown"):
        verify(prepared, [teacher])
