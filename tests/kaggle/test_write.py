"""The submission: the sample file's ids, order and form; validated; numbered; in the ledger."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.channels import THREE_FOLDS, make_by_turns
from support.colours import SVM
from support.folders import write

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.kaggle.submission.fill import fill_sample
from kit.kaggle.submission.ledger import write_ledger
from kit.kaggle.submission.write import make_submission, read_ledger
from kit.runs.fit.crossval import crossval
from kit.scoring.predictions import Predictions


def read(path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture
def trained(colours):
    prepared = prepare(colours(SVM))
    return prepared, crossval(prepared, "svm")


def rewrite_sample(prepared, change) -> None:
    path = prepared.competition.root / "sample_submission.csv"
    change(read(path)).to_csv(path, index=False)


def without(competition, line: str):
    """Take a line out of competition.toml and read it again."""
    toml = competition.folder / "competition.toml"
    toml.write_text(toml.read_text().replace(line + "\n", ""))
    return read_competition(competition.name, competition.workspace)


def test_the_submission_has_the_samples_ids_in_the_samples_order(trained):
    prepared, result = trained
    path = make_submission(prepared, result)
    sample = read(prepared.competition.root / "sample_submission.csv")
    assert list(read(path)["id"]) == list(sample["id"]) and path.name == "001_svm.csv"


def test_shuffled_predictions_give_the_same_submission(trained):
    prepared, result = trained
    test = result.predictions("test")
    turned = Predictions(test.ids[::-1], test.classes, test.proba[::-1])
    assert fill_sample(prepared, test).equals(fill_sample(prepared, turned))


def test_a_sample_with_one_column_per_class_wants_probabilities(trained):
    prepared, result = trained
    rewrite_sample(prepared, lambda sample: sample[["id"]].assign(red=0.5, green=0.25, blue=0.25))
    table = fill_sample(prepared, result.predictions("test"))
    assert list(table.columns) == ["id", "red", "green", "blue"]
    assert table[["red", "green", "blue"]].sum(axis=1).to_numpy() == pytest.approx(np.ones(9), abs=1e-4)
    codes = result.predictions("test").at(table["id"].to_numpy()).proba.argmax(axis=1)
    assert (table[list(prepared.classes)].to_numpy().argmax(axis=1) == codes).all()


def test_ids_with_an_extension_in_the_sample_are_kept_as_written(trained):
    prepared, result = trained
    rewrite_sample(prepared, lambda sample: sample.assign(id=sample["id"] + ".png"))
    assert fill_sample(prepared, result.predictions("test"))["id"].str.endswith(".png").all()


def test_the_same_submission_is_written_once(trained):
    prepared, result = trained
    assert make_submission(prepared, result) == make_submission(prepared, result)
    assert len(read_ledger(prepared.competition)) == 1


def test_another_submission_gets_the_next_number_and_the_ledger_knows_its_hash(trained):
    prepared, result = trained
    first = make_submission(prepared, result)
    rewrite_sample(prepared, lambda sample: sample.iloc[::-1])
    second = make_submission(prepared, result)
    rows = read_ledger(prepared.competition)
    assert [row["file"] for row in rows] == ["001_svm.csv", "002_svm.csv"] == [first.name, second.name]
    assert rows[1]["sha256"] == hashlib.sha256(second.read_bytes()).hexdigest()
    assert float(rows[0]["cv"]) == pytest.approx(result.record.cv, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sample: sample.assign(id=[f"9999{n}" for n in range(9)]), "9 ids have no test image: 99990.*9 test im"),
        (
            lambda sample: pd.concat([sample, sample.assign(id=list("abcdefghi"))]),
            "9 ids have no test image: a, b.*test",
        ),
        (lambda sample: pd.concat([sample, sample.iloc[:1]]), "ids repeat"),
        (lambda sample: sample[["id"]], "only one column"),
        (lambda sample: sample.assign(red="", pink=""), "neither one label nor the 3 classes"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_and_nothing_is_written(trained, change, message):
    prepared, result = trained
    rewrite_sample(prepared, change)
    with pytest.raises(InputError, match=message):
        make_submission(prepared, result)
    assert not prepared.competition.workspace.submissions("colours").exists()


def test_a_broken_test_image_gets_the_class_prior_and_is_in_the_submission(colours):
    competition = colours(SVM)
    broken = sorted((competition.root / "test").iterdir())[0]
    broken.write_bytes(b"not an image")
    prepared = prepare(competition)
    table = fill_sample(prepared, crossval(prepared, "svm").predictions("test"))
    assert prepared.broken_test == (broken.stem,)
    assert broken.stem in set(table["id"]) and len(table) == 9


def test_without_a_sample_file_ids_and_labels_are_written_sorted(colours):
    prepared = prepare(without(colours(SVM), 'sample_submission = "sample_submission.csv"'))
    table = fill_sample(prepared, crossval(prepared, "svm").predictions("test"))
    assert list(table.columns) == ["id", "label"] and table["id"].is_monotonic_increasing


def test_a_sample_file_that_went_away_is_named_with_the_nearest(trained):
    prepared, result = trained
    path = prepared.competition.root / "sample_submission.csv"
    path.rename(path.with_name("sample_submissions.csv"))
    with pytest.raises(InputError, match=r"sample_submission\.csv.*did you mean 'sample_submissions\.csv'"):
        make_submission(prepared, result)


def test_without_test_images_there_is_nothing_to_submit(colours):
    competition = without(colours(SVM), 'test = "test"')
    for line in ('sample_submission = "sample_submission.csv"', 'solution = "solution.csv"'):
        competition = without(competition, line)
    prepared = prepare(competition)
    with pytest.raises(InputError, match=r"no test images: .*test names none"):
        make_submission(prepared, crossval(prepared, "svm"))
    assert not prepared.competition.workspace.submissions("colours").exists()


@pytest.mark.parametrize("values", [["0.5"], ["0.0"], ["1e-3"], ["1", "2", "3"], ["0", "0.25"]])
def test_a_column_that_wants_numbers_is_refused_by_name_and_value(trained, values):
    prepared, result = trained
    rewrite_sample(prepared, lambda sample: sample.assign(label=[values[i % len(values)] for i in range(9)]))
    shown = max(values, key=len)
    with pytest.raises(InputError, match=rf"column 'label' holds .*{shown}.*; one column of prob.*empty the column"):
        make_submission(prepared, result)


@pytest.mark.parametrize("value", ["", "0", "42", "red", "?", "nan"])
def test_place_holders_in_the_sample_are_overwritten(trained, value):
    prepared, result = trained
    rewrite_sample(prepared, lambda sample: sample.assign(label=value))
    assert set(read(make_submission(prepared, result))["label"]) <= set(prepared.classes)


def test_where_classes_are_whole_numbers_a_half_is_refused_and_a_whole_number_is_not(colours):
    competition = colours(SVM)
    for number, path in enumerate(sorted((competition.root / "train").iterdir()), start=1):
        path.rename(path.with_name(str(number)))
    prepared = prepare(competition)
    test = crossval(prepared, "svm").predictions("test")
    rewrite_sample(prepared, lambda sample: sample.assign(label="0"))
    assert set(fill_sample(prepared, test)["label"]) <= {"1", "2", "3"}
    rewrite_sample(prepared, lambda sample: sample.assign(label="0.5"))
    with pytest.raises(InputError, match=r"column 'label' holds 0\.5"):
        fill_sample(prepared, test)


def test_a_file_whose_ledger_row_was_lost_gets_it_and_is_not_written_again(trained):
    prepared, result = trained
    path = make_submission(prepared, result)
    before = path.stat().st_mtime_ns
    (path.parent / "ledger.csv").unlink()  # as a kill between the two leaves it
    assert make_submission(prepared, result) == path and path.stat().st_mtime_ns == before
    assert [row["file"] for row in read_ledger(prepared.competition)] == ["001_svm.csv"]
    assert len(list(path.parent.glob("0*.csv"))) == 1


def test_the_number_of_a_deleted_submission_is_not_used_again(trained):
    prepared, result = trained
    make_submission(prepared, result).unlink()
    assert make_submission(prepared, result).name == "002_svm.csv"


def test_the_same_labels_of_another_run_are_its_own_submission(trained):
    prepared, result = trained
    names = [make_submission(prepared, replace(result, name=name)).name for name in ("svm", "my_svm", "svm")]
    assert names == ["001_svm.csv", "002_my_svm.csv", "001_svm.csv"]


def test_a_file_that_another_setting_gives_too_is_of_that_setting_from_then_on(trained):
    prepared, result = trained
    path = make_submission(prepared, result)
    again = result.with_record(key="f" * 16, cv=0.5)
    assert make_submission(prepared, again) == path
    rows = [row for row in read_ledger(prepared.competition) if row["file"] == path.name]
    assert [(row["key"], float(row["cv"])) for row in rows] == [("f" * 16, 0.5)]


def test_what_was_sent_keeps_its_row_when_another_setting_gives_the_same_file(trained):
    prepared, result = trained
    path = make_submission(prepared, result)
    sent = [row | {"ref": "7", "public": "0.5"} for row in read_ledger(prepared.competition)]
    write_ledger(prepared.competition, sent)
    make_submission(prepared, result.with_record(key="f" * 16))
    rows = [row for row in read_ledger(prepared.competition) if row["file"] == path.name]
    assert [(row["key"], row["ref"]) for row in rows] == [(result.record.key, "7"), ("f" * 16, "")]


def test_a_class_that_no_labelled_image_has_is_zero_where_the_sample_wants_it(tmp_path):
    listed = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nsample_submission = "sample.csv"'
    write(tmp_path / "data/tiles/sample.csv", "id,d,c,a,b\n" + "".join(f"test{i:02d},0,0,0,0\n" for i in range(6)))
    prepared = make_by_turns(tmp_path, "id,a,b,c,d\n{id},{a},{b},{c},0", THREE_FOLDS, listed)
    assert prepared.classes == ("a", "b", "c")
    ids = prepared.pool.ids[prepared.split("test")]
    table = fill_sample(prepared, Predictions(ids, prepared.classes, np.full((6, 3), 0.9), "multilabel"))
    assert (table[["a", "b", "c"]] == 1).all(axis=None) and (table["d"] == 0).all()


@pytest.mark.parametrize("cell", ["0", "0.5"])
def test_a_column_of_having_none_of_several_labels_is_filled(tmp_path, cell):
    listed = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nsample_submission = "sample.csv"'
    rows = "".join(f"test{i:02d}{f',{cell}' * 4}\n" for i in range(6))
    write(tmp_path / "data/tiles/sample.csv", "id,empty,a,b,c\n" + rows)
    data = listed + '\n[decision]\nnone_of_these = "empty"'
    prepared = make_by_turns(tmp_path, "id,a,b,c\n{id},{a},{b},{c}", THREE_FOLDS, data)
    ids, proba = prepared.pool.ids[prepared.split("test")], np.full((6, 3), 0.1)
    proba[0, 1] = 0.9
    table = fill_sample(prepared, Predictions(ids, prepared.classes, proba, "multilabel")).set_index("id")
    wanted = [0, 1] if cell == "0" else [0.1, 0.9]
    assert table.loc[[ids[0], ids[1]], "empty"].tolist() == pytest.approx(wanted)


def test_a_column_that_is_no_class_of_the_training_table_is_refused_still(tmp_path):
    listed = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nsample_submission = "sample.csv"'
    write(tmp_path / "data/tiles/sample.csv", "id,e,c,a,b\n" + "".join(f"test{i:02d},0,0,0,0\n" for i in range(6)))
    prepared = make_by_turns(tmp_path, "id,a,b,c,d\n{id},{a},{b},{c},0", THREE_FOLDS, listed)
    with pytest.raises(InputError, match="neither one label nor the 3 classes: e differ"):
        fill_sample(
            prepared, Predictions(np.array(["x"], object), prepared.classes, np.full((1, 3), 0.9), "multilabel")
        )
