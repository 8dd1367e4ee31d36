"""Verify names planted faults: every claim of a run is derived again."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kit.runs.verify.sources
from kit.config.reader import read_competition
from kit.core.errors import InputError, LeakFound
from kit.core.files import read_json, write_json
from kit.data.images import names_of
from kit.data.prepared import Prepared, prepare
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.pseudo.rounds import finished_rounds
from kit.runs.store import Result, find_result, fold_folder
from kit.runs.store.imported import import_predictions
from kit.runs.store.pairs import pair_folder
from kit.runs.store.result import write_result
from kit.runs.verify import verify
from kit.runs.verify.derivation import verify_settled
from kit.scoring.predictions import Predictions, read_predictions, write_predictions

RUNS = """
[runs.svm]
model = "svm"
pixels = 4

[runs.taught]
model = "svm"
pixels = 4
pseudo = { teachers = ["svm"] }
"""
DIALLED = '[runs.dialled]\nmodel = "dialled"\n[runs.svm]\nmodel = "svm"\npixels = 4\n'


@pytest.fixture
def trained(colours):
    prepared = prepare(colours(RUNS))
    teacher, _ = crossval(prepared, "svm"), crossval(prepared, "taught")
    return prepared, teacher, finished_rounds(prepared, "taught")[1]


@pytest.fixture
def dialled(colours, toys):
    prepared = prepare(colours(DIALLED))
    return prepared, crossval(prepared, "dialled")


@pytest.fixture
def combined(trained):
    prepared, *results = trained
    return prepared, ensemble(prepared, results)


def edit_ledger(result: Result, fold: int, **changes: Any) -> dict[str, Any]:
    """Change a fold's provenance.json; return it as it was."""
    path = fold_folder(result.folder, fold) / "provenance.json"
    ledger = read_json(path)
    write_json(path, ledger | changes)
    return ledger


def claim(result: Result, **changes: Any) -> Result:
    """Return the result as its run.json would be read after a change."""
    return write_result(result.name, result.folder, result.record.document | changes)


def rewrite(path: Path, proba: np.ndarray | None = None, ids: np.ndarray | None = None) -> None:
    """Write other probabilities or ids into a file of predictions."""
    predictions = read_predictions(path)
    proba, ids = predictions.proba if proba is None else proba, predictions.ids if ids is None else ids
    write_predictions(path, Predictions(ids, predictions.classes, proba))


def duplicate_an_image(prepared: Prepared) -> tuple[str, Path]:
    """Give the first labelled image a twin; return the image's id and the fold file, which is made anew."""
    first = Path(prepared.pool.paths[prepared.labeled[0]])
    shutil.copy(first, first.with_name(f"9{first.name}"))
    folds = prepared.competition.workspace.folds("colours")
    folds.unlink()
    prepare(prepared.competition)
    return first.stem, folds


def test_honest_runs_pass(trained):
    prepared, teacher, student = trained
    verdicts = verify(prepared, [teacher, student, ensemble(prepared, [teacher, student])])
    assert [sentence.partition(":")[0] for sentence in verdicts] == ["folds", "svm", "taught.1", "ensemble", "log"]
    assert verdicts[0] == "folds: 18 labelled images, checked on reading"
    assert "pseudo labels from the same folds' models" in verdicts[2] and "its 2 members" in verdicts[3]


def test_an_honest_swept_run_passes_and_says_what_was_chosen(dialled):
    prepared, result = dialled
    assert "dial chosen on the other folds" in verify(prepared, [result])[1]


def test_an_honest_import_passes_as_a_member_too(trained):
    prepared, teacher, _ = trained
    friend = import_predictions(prepared, "friend", *[teacher.folder / f"{split}.parquet" for split in ("oof", "test")])
    verdicts = verify(prepared, [ensemble(prepared, [teacher, friend])])
    assert [sentence.partition(":")[0] for sentence in verdicts] == ["folds", "ensemble", "svm", "friend", "log"]
    assert "its training is unknown" in verdicts[3]


def test_honest_runs_pass_where_one_hold_out_is_scored(colours):
    prepared = prepare(colours(RUNS, ("folds.use=[0]",)))
    results = [crossval(prepared, name) for name in ("svm", "taught")]
    assert len(verify(prepared, [*results, ensemble(prepared, results)])) == 7  # rounds 0 and 1 too


def test_honest_runs_pass_without_test_images(colours):
    competition = colours(RUNS, data="").model_copy()
    data = competition.data.model_copy(update={"test": None, "sample_submission": None, "solution": None})
    prepared = prepare(competition.model_copy(update={"data": data}))
    results = [crossval(prepared, name) for name in ("svm", "taught")]
    assert len(verify(prepared, results)) == 6


def test_a_group_that_straddles_folds_is_refused_on_reading(trained):
    prepared, _, _ = trained
    image, folds = duplicate_an_image(prepared)
    rows = [line.split(",") for line in folds.read_text().splitlines()]
    changed = [[*row[:2], str((int(row[2]) + 1) % 3)] if row[0] == f"9{image}" else row for row in rows]
    assert changed != rows
    folds.write_text("".join(",".join(row) + "\n" for row in changed))
    with pytest.raises(InputError, match=rf"near-duplicates straddle folds.*{image}.*9{image}"):
        prepare(prepared.competition)


def test_a_model_fitted_on_its_own_fold_is_named(trained):
    prepared, teacher, _ = trained
    leaked = names_of(prepared.held_out(1))[0]
    ledger = edit_ledger(teacher, 1)
    edit_ledger(teacher, 1, labeled=[*ledger["labeled"], leaked])
    with pytest.raises(LeakFound, match=rf"svm fold 1: fitted on 1 images of its own fold: {leaked}"):
        verify(prepared, [teacher])


def test_a_model_fitted_on_test_images_as_labelled_ones_is_named(trained):
    prepared, teacher, _ = trained
    ledger = edit_ledger(teacher, 1)
    edit_ledger(teacher, 1, labeled=[*ledger["labeled"], "test/00031"])
    with pytest.raises(LeakFound, match="svm fold 1: fitted on images outside the training folds: test/00031"):
        verify(prepared, [teacher])


def test_pseudo_labels_from_another_folds_teacher_are_named(trained):
    prepared, _, student = trained
    (teacher,) = edit_ledger(student, 0)["teachers"]
    edit_ledger(student, 0, teachers=[teacher | {"fold": 2}])
    with pytest.raises(LeakFound, match=r"taught.1 fold 0: pseudo labels from svm's model of fold 2"):
        verify(prepared, [student])


@pytest.mark.parametrize("change", [{"key": "0123456789abcdef"}, {"name": "stranger"}, None])
def test_a_ledger_that_names_other_teachers_than_run_json_is_named(trained, change):
    prepared, _, student = trained
    (teacher,) = edit_ledger(student, 1)["teachers"]
    edit_ledger(student, 1, teachers=[] if change is None else [teacher | change])
    with pytest.raises(LeakFound, match=r"taught.1 fold 1: provenance.json and run.json name other teachers: .*svm"):
        verify(prepared, [student])


@pytest.mark.usefixtures("no_worse_is_kept")
def test_a_run_of_rounds_passes_with_them_and_its_ledger_must_be_theirs(trained):
    prepared, _, _ = trained
    whole = find_result(prepared, "taught")
    verdicts = verify(prepared, [whole])
    assert [sentence.partition(":")[0] for sentence in verdicts] == [
        "folds",
        "taught",
        "taught.0",
        "taught.1",
        "svm",
        "log",
    ]
    assert "how many rounds are kept is chosen on the other folds" in verdicts[1]
    edit_ledger(whole, 1, labeled=[])
    with pytest.raises(LeakFound, match=r"taught fold 1: provenance.json is not that of taught\.1"):
        verify(prepared, [whole])


def test_pseudo_labels_the_teachers_did_not_give_are_named(trained):
    prepared, _, student = trained
    pseudo = edit_ledger(student, 0)["pseudo"]
    codes = [(pseudo["codes"][0] + 1) % 3, *pseudo["codes"][1:]]
    edit_ledger(student, 0, pseudo=pseudo | {"codes": codes})
    with pytest.raises(LeakFound, match=rf"not what the teachers.*{pseudo['ids'][0]}"):
        verify(prepared, [student])


def test_pseudo_labels_without_a_teacher_are_named(trained):
    prepared, teacher, _ = trained
    edit_ledger(teacher, 0, pseudo={"ids": ["unlabeled/00019"], "codes": [0]})
    with pytest.raises(LeakFound, match=r"svm fold 0: 1 pseudo labels are not what .*unlabeled/00019"):
        verify(prepared, [teacher])


def test_a_leaking_teacher_is_found_through_its_student(trained):
    prepared, teacher, student = trained
    ledger = edit_ledger(teacher, 0)
    edit_ledger(teacher, 0, labeled=[*ledger["labeled"], names_of(prepared.held_out(0))[0]])
    with pytest.raises(LeakFound, match="svm fold 0: fitted on"):
        verify(prepared, [student])


def test_a_leaking_member_is_found_through_its_ensemble(trained, combined):
    prepared, result = combined
    ledger = edit_ledger(trained[1], 0)
    edit_ledger(trained[1], 0, labeled=[*ledger["labeled"], names_of(prepared.held_out(0))[0]])
    with pytest.raises(LeakFound, match="svm fold 0: fitted on"):
        verify(prepared, [result])


def test_oof_from_another_folds_model_is_named(trained):
    prepared, teacher, _ = trained
    path = teacher.folder / "oof.parquet"
    rewrite(path, read_predictions(path).proba[::-1])
    with pytest.raises(LeakFound, match=r"oof.parquet is not what this fold's model said"):
        verify(prepared, [teacher])


@pytest.mark.parametrize(("split", "images"), [("oof", "scored"), ("test", "test")])
def test_predictions_with_holes_are_named(trained, split, images):
    prepared, teacher, _ = trained
    predictions = teacher.predictions(split)
    write_predictions(teacher.folder / f"{split}.parquet", predictions.at(predictions.ids[1:]))
    with pytest.raises(LeakFound, match=f"{split} does not cover the {images} images: {predictions.ids[0]}"):
        verify(prepared, [teacher])


def test_another_class_order_is_named(trained):
    prepared, teacher, _ = trained
    test = teacher.predictions("test")
    turned = Predictions(test.ids, test.classes[::-1], test.proba)
    write_predictions(teacher.folder / "test.parquet", turned)
    with pytest.raises(LeakFound, match="svm: class order of test is red, green, blue"):
        verify(prepared, [teacher])


def test_a_missing_ledger_is_a_leak_until_shown_otherwise(trained):
    prepared, teacher, _ = trained
    (fold_folder(teacher.folder, 2) / "provenance.json").unlink()
    with pytest.raises(LeakFound, match="what it saw is unknown"):
        verify(prepared, [teacher])


@pytest.mark.parametrize("change", [{"cv": 0.5}, {"se": 0.25}, {"cv": float("nan")}])
def test_a_score_that_is_not_the_oofs_is_named(trained, change):
    prepared, teacher, _ = trained
    with pytest.raises(LeakFound, match=r"svm: run.json says CV .* ± .*, its oof gives 1.000000 ± 0.055556"):
        verify(prepared, [claim(teacher, **change)])


def test_an_imports_score_in_another_metric_is_named(trained, colours):
    prepared, teacher, _ = trained
    friend = import_predictions(prepared, "friend", *[teacher.folder / f"{split}.parquet" for split in ("oof", "test")])
    other = prepare(colours(RUNS, ("competition.metric=log_loss",)))
    with pytest.raises(LeakFound, match=r"friend: run.json says CV 1.000000.*\(accuracy\), its oof gives .*\(log_loss"):
        verify(other, [friend])


def test_a_run_of_another_metric_is_scored_in_its_own(trained, colours):
    other = prepare(colours(RUNS, ("competition.metric=log_loss",)))
    assert len(verify(other, [find_result(other, "svm"), trained[1]])) == 3


def test_a_run_made_on_other_folds_is_named(trained, colours):
    prepared, teacher, _ = trained
    prepared.competition.workspace.folds("colours").unlink()
    other = prepare(colours(RUNS, ("folds.seed=5",)))
    with pytest.raises(LeakFound, match=r"svm: .* was made on other folds or labels"):
        verify(other, [teacher])


def test_test_predictions_of_one_folds_model_alone_are_named(trained):
    prepared, teacher, _ = trained
    shutil.copy(fold_folder(teacher.folder, 2) / "test.parquet", teacher.folder / "test.parquet")
    with pytest.raises(LeakFound, match=r"svm: test.parquet is not the mean of what the 3 folds' models say"):
        verify(prepared, [teacher])


def test_a_setting_that_the_other_folds_would_not_choose_is_named(dialled):
    prepared, result = dialled
    write_json(fold_folder(result.folder, 1) / "settled.json", 0.5)
    with pytest.raises(LeakFound, match=r"dialled fold 1: dial is 0.5, but the other folds' rows choose 1.0"):
        verify(prepared, [result])


def test_a_setting_chosen_on_the_fold_itself_is_named(dialled):
    prepared, result = dialled
    for fold in (1, 2):  # the models that did not see fold 0 now know the right colour at 0.0 alone
        path = pair_folder(result.folder, 0, fold) / "sweep.npy"
        np.save(path, np.load(path)[::-1])
    with pytest.raises(LeakFound, match=r"dialled fold 0: dial is 1.0, but the other folds' rows choose 0.0"):
        verify_settled(prepared, result)


def test_a_setting_that_run_json_tells_otherwise_is_named(dialled):
    prepared, result = dialled
    chosen = result.record.chosen | {"per_fold": result.record.chosen["per_fold"] | {"2": 0.0}}
    with pytest.raises(LeakFound, match=r"dialled fold 2: dial is 0.0, but"):
        verify(prepared, [claim(result, chosen=chosen)])


def test_a_folds_oof_made_with_another_setting_is_named(dialled):
    prepared, result = dialled
    path, whole = fold_folder(result.folder, 0) / "oof.parquet", result.predictions("oof")
    other = np.load(fold_folder(result.folder, 0) / "sweep.npy")[1]
    here = np.isin(whole.ids, read_predictions(path).ids)
    proba = whole.proba.copy()
    proba[here] = other
    rewrite(path, other), rewrite(result.folder / "oof.parquet", proba)
    with pytest.raises(
        LeakFound, match=r"dialled fold 0: dial is 1.0, but its oof is not what the model says with that"
    ):
        verify(prepared, [result])


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_a_sweep_that_is_missing_or_of_other_images_is_named(dialled, fault):
    prepared, result = dialled
    path = fold_folder(result.folder, 1) / "sweep.npy"
    sweep = np.load(path)
    path.unlink() if fault == "missing" else np.save(path, sweep[:, 1:])
    with pytest.raises(LeakFound, match=r"dialled fold 1: .*sweep.npy"):
        verify(prepared, [result])


@pytest.mark.parametrize("split", ["oof", "test"])
def test_an_ensemble_that_its_members_do_not_give_is_named(combined, split):
    prepared, result = combined
    path = result.folder / f"{split}.parquet"
    proba = read_predictions(path).proba
    rewrite(path, 0.9 * proba + 0.1 / 3)
    with pytest.raises(LeakFound, match=rf"ensemble: {split}.parquet is not what its members give: svm, taught.1"):
        verify(prepared, [result])


@pytest.mark.parametrize("name", ["cv", "se", "cv_se", "gain"])
def test_what_is_expected_of_sent_ensembles_runs_without_pairs_and_rounds_must_follow(combined, name):
    prepared, result = combined
    for sent_run in (result, *(find_result(prepared, run) for run in ("svm", "taught"))):
        sent = sent_run.record.sent
        claimed = claim(sent_run, sent=sent | {name: (sent.get(name) or 0.5) + 0.01})
        with pytest.raises(LeakFound, match=rf"{sent_run.name}: run.json says that {name} of what is sent is"):
            verify(prepared, [claimed])


def test_of_an_import_nothing_is_expected(trained):
    prepared, teacher, _ = trained
    friend = import_predictions(prepared, "friend", *[teacher.folder / f"{split}.parquet" for split in ("oof", "test")])
    claimed = claim(friend, sent=teacher.record.sent)
    with pytest.raises(LeakFound, match=r"friend: run.json says that cv of what is sent is .*, derived again None"):
        verify(prepared, [claimed])


def test_a_member_that_was_imported_anew_is_named(trained):
    prepared, teacher, student = trained
    files = [[result.folder / f"{split}.parquet" for split in ("oof", "test")] for result in (teacher, student)]
    result = ensemble(prepared, [teacher, import_predictions(prepared, "friend", *files[0])])
    import_predictions(prepared, "friend", *files[1])
    with pytest.raises(LeakFound, match="ensemble: made from friend"):
        verify(prepared, [result])


def test_every_file_is_read_once(trained, monkeypatch):
    prepared, *results = trained
    reads: Counter[Path] = Counter()

    def count(path: Path) -> Predictions:
        reads[path] += 1
        return read_predictions(path)

    monkeypatch.setattr(kit.runs.verify.sources, "read_predictions", count)
    verify(prepared, [*results, ensemble(prepared, results)])
    assert len(reads) == 2 * (2 + 3 * 2) + 2 + 3 and set(reads.values()) == {1}


def test_a_file_of_left_out_images_may_be_renamed(colours):
    prepared = prepare(colours('[runs.svm]\nmodel = "svm"\npixels = 4\nexclude = "doubts.csv"\n'))
    competition = prepared.competition
    (competition.folder / "doubts.csv").write_text(f"id\n{prepared.pool.ids[prepared.labeled[0]]}\n")
    crossval(prepared, "svm")
    (competition.folder / "doubts.csv").rename(competition.folder / "wrong.csv")
    renamed = read_competition("colours", competition.workspace, ("runs.svm.exclude=wrong.csv",))
    again = prepare(renamed)
    result = find_result(again, "svm")
    assert result is not None and verify(again, [result])
