"""Imports: predictions made elsewhere, brought into the kit's order or refused; never half replaced."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.colours import FOREST_AND_SVM, SVM

from kit.core.errors import InputError
from kit.core.files import read_json
from kit.data.prepared import prepare
from kit.runs.store import find_result
from kit.runs.store.imported import import_predictions


@pytest.fixture
def prepared(colours):
    competition = colours(SVM)
    sorted((competition.root / "test").iterdir())[0].write_bytes(b"not an image")
    return prepare(competition)


def tabulate(ids, first: float = 0.5) -> pd.DataFrame:
    rest = (1 - first) / 2
    return pd.DataFrame({"id": ids, "red": first, "blue": rest, "green": rest})  # not in the kit's order


@pytest.fixture
def files(prepared, tmp_path):
    """Return a function that writes an oof and a test file; the test file holds the broken image too."""

    def write(suffix: str = ".csv", first: float = 0.5):
        ids = {"oof": prepared.pool.ids[prepared.labeled][::-1], "test": prepared.pool.ids[prepared.split("test")]}
        ids["test"] = np.array([*prepared.broken_test, *ids["test"]], dtype=object)
        paths = [tmp_path / f"{split}{suffix}" for split in ids]
        for path, split in zip(paths, ids, strict=True):
            table = tabulate(ids[split], first)
            table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path, index=False)
        return paths

    return write


def write_labels(prepared, folder) -> list:
    """Write the true labels of the oof and of the test images, as someone who has labels alone would."""
    ids = prepared.pool.ids[prepared.labeled]
    labels = np.array(prepared.classes)[prepared.labels]
    pd.DataFrame({"id": ids, "label": labels}).to_csv(folder / "oof.csv", index=False)
    pd.read_csv(prepared.competition.root / "solution.csv", dtype=str).to_csv(folder / "test.csv", index=False)
    return [folder / "oof.csv", folder / "test.csv"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_and_columns_are_brought_into_order_and_broken_test_images_left_out(prepared, files, suffix):
    result = import_predictions(prepared, "friend", *files(suffix))
    assert len(prepared.broken_test) == 1
    for split, n_images in (("oof", 18), ("test", 8)):
        predictions = result.predictions(split)
        assert predictions.classes == prepared.classes and len(predictions) == n_images
        assert (predictions.proba == np.float32([0.25, 0.25, 0.5])).all()


def test_another_unknown_test_image_is_refused(prepared, files):
    oof, test = files()
    with open(test, "a", encoding="utf-8") as file:
        file.write("99999,0.5,0.25,0.25\n")
    with pytest.raises(InputError, match=r"test\.csv: 1 ids are missing or not the competition's: 99999"):
        import_predictions(prepared, "friend", oof, test)


def test_a_later_import_takes_the_place_of_the_earlier(prepared, files):
    first = import_predictions(prepared, "friend", *files(first=0.5))
    again = import_predictions(prepared, "friend", *files(first=0.8))
    assert first.folder == again.folder and first.record.key != again.record.key
    assert find_result(prepared, "friend").predictions("oof").proba.max() == pytest.approx(0.8)


def test_an_import_stopped_between_its_files_is_not_there_under_the_old_key(prepared, files, monkeypatch):
    old = import_predictions(prepared, "friend", *files(first=0.5))
    (old.folder / "test.parquet").unlink()
    (old.folder / "test.parquet").mkdir()  # the second file cannot be written
    with pytest.raises(OSError):
        import_predictions(prepared, "friend", *files(first=0.8))
    assert read_json(old.folder / "run.json") is None and find_result(prepared, "friend") is None


def test_a_refused_import_leaves_the_earlier_one(prepared, files):
    old = import_predictions(prepared, "friend", *files())
    oof, test = files(first=2.0)
    with pytest.raises(InputError, match=r"oof\.csv: probabilities must be 0\.\.1"):
        import_predictions(prepared, "friend", oof, test)
    assert find_result(prepared, "friend").record.key == old.record.key


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.parquet", b"PAR1 not parquet"),
        ("bad.parquet", b""),
        ("bad.csv", b"id,red\n\xff\xfe,1\n"),
        ("bad.csv", b""),
        ("bad.csv", b"id,red,blue,green\n1,a,b\n"),
        ("missing.csv", None),
    ],
)
def test_a_file_that_cannot_be_read_is_named(prepared, files, tmp_path, name, content):
    _, test = files()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        import_predictions(prepared, "friend", tmp_path / name, test)


def test_words_where_numbers_belong_are_refused_by_file(prepared, files):
    oof, test = files()
    oof.write_text(oof.read_text().replace("0.5", "half"))
    with pytest.raises(InputError, match=r"oof\.csv: .*half"):
        import_predictions(prepared, "friend", oof, test)


@pytest.mark.parametrize("name", ["svm", "ensemble", "cache", "unpacked", "two words", "../up"])
def test_a_name_that_is_taken_or_no_name_is_refused(prepared, files, name):
    with pytest.raises(InputError, match="choose a name"):
        import_predictions(prepared, name, *files())


def test_imported_predictions_are_made_consistent(tiles, tmp_path):
    draws = np.random.default_rng(0)
    for split, rows in (("oof", tiles.labeled), ("test", tiles.split("test"))):
        table = pd.DataFrame(draws.random((len(rows), 5)), columns=list(tiles.classes))
        table.insert(0, "id", tiles.pool.ids[rows])
        table.to_csv(tmp_path / f"{split}.csv", index=False)
    result = import_predictions(tiles, "elsewhere", tmp_path / "oof.csv", tmp_path / "test.csv")
    predictions = result.predictions("test")
    assert predictions.task == "multilabel" and tiles.hierarchy.is_consistent(predictions.proba).all()


def test_labels_are_imported_where_the_metric_needs_no_more(colours, tmp_path):
    prepared = prepare(colours(FOREST_AND_SVM))
    result = import_predictions(prepared, "friend", *write_labels(prepared, tmp_path))
    assert result.record.cv == 1 and set(np.unique(result.predictions("oof").proba)) == {0, 1}


def test_labels_are_refused_where_the_metric_needs_probabilities(colours, tmp_path):
    prepared = prepare(colours(FOREST_AND_SVM, ("competition.metric=macro_auc",)))
    with pytest.raises(InputError, match=r"oof\.csv: holds labels; metric macro_auc needs probabilities"):
        import_predictions(prepared, "friend", *write_labels(prepared, tmp_path))
