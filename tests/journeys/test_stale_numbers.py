"""Stale numbers: what was made of other files, folds or decisions is not shown as today's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.colours import COLOURS, draw

from kit.core.errors import InputError, LeakFound
from kit.core.files import read_json, write_json
from kit.curate.triage import rank_labels
from kit.curate.triage.writing import write_triage
from kit.data.prepared import prepare
from kit.kaggle.submission.ledger import LEDGER_COLUMNS, read_ledger, write_ledger
from kit.kaggle.submission.standing import comparable, describe_incomparable
from kit.kaggle.submission.write import make_submission
from kit.report.board import leaderboard
from kit.report.page import refresh_report
from kit.report.page.evidence import Evidence
from kit.report.page.sections import suspicious
from kit.runs.ensemble import ensemble, members_of
from kit.runs.fit.crossval import crossval
from kit.runs.fit.fold import read_fitted
from kit.runs.store import find_result, fold_folder, list_imported
from kit.runs.store.imported import import_predictions, stale_imports
from kit.runs.train import find_finished
from kit.runs.verify import verify
from kit.scoring.predictions import Predictions, read_predictions, write_predictions

SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'
FRIEND = '[runs.friend]\nmodel = "svm"\npixels = 2\n'
SWEPT = '[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\n'


@pytest.fixture
def befriended(colours):
    """The competition made ready with a run, and its own predictions imported as `friend`."""
    prepared = prepare(colours(SVM))
    svm = crossval(prepared, "svm")
    import_predictions(prepared, "friend", *[svm.folder / f"{split}.parquet" for split in ("oof", "test")])
    return prepared


def redraw(prepared, split: str) -> None:
    """Put another picture under the name of one of the competition's images."""
    path = prepared.pool.paths[prepared.split(split)[0]]
    draw(COLOURS["red"], np.random.default_rng(99)).save(path)


def test_a_run_that_takes_an_imports_name_counts_once(befriended, colours, capsys):
    prepared = prepare(colours(SVM + FRIEND))
    crossval(prepared, "friend")
    assert [member.name for member in members_of(prepared)] == ["svm", "friend"]
    ensemble(prepared, members_of(prepared))
    finished = find_finished(prepared)
    assert [result.name for result in finished] == ["svm", "friend", "ensemble"] and len(
        verify(prepared, finished)
    ) == 5
    told = " ".join(capsys.readouterr().err.split())
    assert "the imported friend is left out: it has the name of a run" in told and "under another" in told


def test_a_member_named_twice_is_refused(colours):
    with pytest.raises(InputError, match=r"members: svm named more than once; its weight is learned, name it once"):
        colours(SVM, rest='[ensemble]\nmembers = ["svm", "svm"]\n')


@pytest.mark.parametrize("split", ["test", "labeled"])
def test_an_import_does_not_outlive_the_images_it_was_made_of(befriended, split):
    redraw(befriended, split)
    prepared = prepare(befriended.competition)
    assert list_imported(prepared) == []
    assert stale_imports(prepared) == {"friend": "was imported for other images; import it again"}


def test_an_import_outlives_other_unlabelled_images(befriended):
    redraw(befriended, "unlabeled")
    prepared = prepare(befriended.competition)
    assert prepared.pool.key != befriended.pool.key and list_imported(prepared) == ["friend"]


def test_an_import_of_an_earlier_kit_goes_by_the_whole_pool(befriended):
    folder = find_result(befriended, "friend").folder
    facts = read_json(folder / "run.json")
    del facts["images_key"]
    write_json(folder / "run.json", facts)
    assert list_imported(befriended) == ["friend"]
    redraw(befriended, "unlabeled")
    assert stale_imports(prepare(befriended.competition)).keys() == {"friend"}


def test_kaggles_score_of_another_decision_is_not_shown(colours):
    prepared = prepare(colours(SVM))
    result = crossval(prepared, "svm")
    make_submission(prepared, result)
    write_ledger(prepared.competition, [row | {"public": "0.8"} for row in read_ledger(prepared.competition)])
    decision = '[decision]\nnone_of_these = "strange"\nscore = "max_probability"\naccept_rate = 0.6\n'
    other = prepare(colours(SVM, rest=decision))
    rows = [leaderboard(state, [find_result(state, "svm")], {})[0] for state in (prepared, other)]
    assert [row.public for row in rows] == ["0.8", None]


def test_only_submissions_with_todays_cv_are_compared(colours):
    prepared = prepare(colours(SVM))
    record = crossval(prepared, "svm").record
    blank = dict.fromkeys(LEDGER_COLUMNS, "") | {"run": "svm", "key": record.key, "status": "COMPLETE"}
    today = blank | {"cv": f"{record.cv:.6f}"}
    rows = [today, today | {"cv": "0.123456"}, today | {"key": "0123456789abcdef"}, blank | {"key": "", "run": ""}]
    assert comparable(prepared, rows) == [today]
    assert describe_incomparable(rows, [today]).startswith("2 of 3 submissions with a CV are left out")
    assert describe_incomparable([today], [today]) is None
    others = replace(prepared, folds=(prepared.folds + 1) % 3)
    assert comparable(others, rows) == []


def test_the_page_is_written_anew_where_the_solution_was_replaced(colours):
    prepared = prepare(colours(SVM))
    crossval(prepared, "svm")
    pages = [refresh_report(prepared, find_finished(prepared), {}).read_text() for _ in range(2)]
    path = prepared.competition.root / "solution.csv"
    path.write_text(path.read_text().replace("red", "x").replace("blue", "red").replace("x", "blue"))
    pages.append(refresh_report(prepared, find_finished(prepared), {}).read_text())
    assert pages[0] == pages[1] != pages[2]


def test_suspicions_of_earlier_labels_are_not_reported(colours):
    prepared = prepare(colours(SVM))
    result = crossval(prepared, "svm")
    write_triage(prepared, rank_labels(prepared, result))
    made = read_json(prepared.competition.workspace.runs("colours") / "triage" / "made.json")
    assert made == {"run": "svm", "key": result.record.key, "fold_key": prepared.fold_key}
    assert len(suspicious.build(Evidence(prepared, [result], {})).parts) > 1
    others = replace(prepared, labels=np.roll(prepared.labels, 1))
    (only,) = suspicious.build(Evidence(others, [result], {})).parts
    assert "are of earlier labels or folds. ./run.sh triage colours" in only.text


def test_edited_oof_files_are_named(colours):
    prepared = prepare(colours(SVM))
    result = crossval(prepared, "svm")
    whole = result.predictions("oof")
    truth = Predictions(whole.ids, whole.classes, np.roll(whole.proba, 1, axis=1))
    write_predictions(result.folder / "oof.parquet", truth)
    for fold in prepared.scored:
        path = fold_folder(result.folder, fold) / "oof.parquet"
        write_predictions(path, truth.at(read_predictions(path).ids))
    with pytest.raises(LeakFound, match=r"svm fold_0: oof.parquet edited since the model was fitted .*delete .*svm"):
        verify(prepared, [result.with_record(cv=0.0, se=0.0)])


def test_every_file_that_a_model_wrote_is_hashed_also_where_a_setting_is_chosen_later(colours):
    competition = colours(SWEPT + "refit = true\n", data='embeddings = "embeddings.npy"')
    np.save(competition.root / "embeddings.npy", np.random.default_rng(0).normal(size=(39, 4)).astype(np.float32))
    prepared = prepare(competition)
    result = crossval(prepared, "probe")
    written = {f"{split}.parquet" for split in ("oof", "test", "unlabeled")}
    assert written | {"sweep.npy"} <= read_fitted(result.folder, 1)["sha256"].keys()
    assert "their files as they were written" in verify(prepared, [result])[1]
    path = result.folder / "refit" / "unlabeled.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(LeakFound, match=r"probe refit: unlabeled.parquet edited"):
        verify(prepared, [result])


def test_a_run_of_an_earlier_kit_says_that_edits_would_not_show(colours):
    prepared = prepare(colours(SVM))
    result = crossval(prepared, "svm")
    fitted = fold_folder(result.folder, 2) / "fitted.json"
    facts = read_json(fitted)
    del facts["sha256"]
    write_json(fitted, facts)
    assert "an earlier kit wrote their files without SHA-256, so edits would not show" in verify(prepared, [result])[1]


def test_verify_says_what_it_knows_from_the_ledger_alone(colours):
    prepared = prepare(colours(SVM))
    told = verify(prepared, [crossval(prepared, "svm")])[1]
    assert "by their ledgers fitted on all training images and none of its own" in told
