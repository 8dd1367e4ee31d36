"""Imports: predictions made elsewhere, brought into the kit's order or refused; never half replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.colours import FOREST_AND_SVM, SVM

from kit.core.errors import InputError
from kit.core.files import read_json
from kit.data.prepared import prepare
from kit.kaggle.bundle import predict_fresh
from kit.kaggle.submission import make_submission
from kit.report.board import remarks_on
from kit.runs.ensemble import check_members, ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result
from kit.runs.store.foreign import Reading
from kit.runs.store.imported import import_predictions
from kit.runs.verify import verify


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


def write_theirs(prepared, folder, split: str = "oof", **columns) -> Path:
    """Write predictions as a teammate's notebook does: other names, numbers for classes in their own order."""
    order = ["red", "blue", "green"]  # 0, 1, 2
    rows = prepared.labeled if split == "oof" else prepared.split("test")
    proba = np.full((len(rows), 3), 0.2) + ([0, 0, 0] if split == "oof" else [0.4, 0, 0])
    if split == "oof":
        labels = [order.index(prepared.classes[code]) for code in prepared.labels]
        proba[np.arange(len(rows)), labels] = 0.6
        columns = {"target": labels, "fold": prepared.folds + 1, **columns}
    table = pd.DataFrame({"image_id": [f"{each}.png" for each in prepared.pool.ids[rows]]})
    for i in range(3):
        table[f"pred_{i}"] = proba[:, i]
    table.assign(**columns).to_csv(folder / f"{split}_theirs.csv", index=False)
    return folder / f"{split}_theirs.csv"


def write_targets(table: pd.DataFrame, codes: list[int], classes: list[str], kind: type, folder: Path) -> Path:
    """Write predictions beside their labels, as names or as numbers."""
    targets = codes if kind is int else [classes[code] for code in codes]
    table.assign(target=targets).to_csv(folder / "oof.csv", index=False)
    return folder / "oof.csv"


def test_columns_of_a_teammate_are_mapped_and_extra_ones_named(prepared, tmp_path, capsys):
    result = import_predictions(prepared, "friend", write_theirs(prepared, tmp_path, extra=1, width=640))
    heard = " ".join(capsys.readouterr().err.split())
    assert result.record.cv == 1  # the numbers of the classes are not in the kit's order
    assert "told by its column target: 0 is red, 1 is blue, 2 is green" in heard
    assert "ids: column image_id" in heard and "left out: target, extra, width" in heard
    assert "its folds are ours" in heard and result.record.folds == "same"


@pytest.mark.parametrize("kind", [str, int])
def test_labels_of_a_file_that_contradict_ours_are_counted_and_named(prepared, files, tmp_path, capsys, kind):
    (oof, _), classes = files(), list(prepared.classes)
    table = pd.read_csv(oof, dtype=str)
    code_of = dict(zip(prepared.pool.ids[prepared.labeled], prepared.labels.tolist(), strict=True))
    codes = [code_of[each] for each in table["id"]]
    import_predictions(prepared, "agreeing", write_targets(table, codes, classes, kind, tmp_path))
    assert "other labels" not in capsys.readouterr().err
    codes[0] = (codes[0] + 1) % 3
    result = import_predictions(prepared, "other", write_targets(table, codes, classes, kind, tmp_path))
    heard = " ".join(capsys.readouterr().err.split())
    image = table["id"][0]
    words = f"{image} ({classes[codes[0]]}, ours {classes[code_of[image]]})"
    assert f"oof.csv has other labels than ours for 1 of 18 images: {words}; " in heard
    assert any("labels 1 of 18 images otherwise" in each for each in remarks_on(prepared, result, None))


def test_a_column_of_what_the_file_predicts_is_not_taken_for_the_truth(prepared, files, tmp_path, capsys):
    oof, _ = files()
    pd.read_csv(oof, dtype=str).assign(label="red").to_csv(tmp_path / "oof.csv", index=False)  # red is its argmax
    import_predictions(prepared, "friend", tmp_path / "oof.csv")
    heard = " ".join(capsys.readouterr().err.split())
    assert "column label is what the file predicts, and on 12 images not our label: mistakes, or it learned" in heard
    assert "other labels than ours" not in heard


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_are_not_taken_for_the_names_of_classes_that_are_numbers(colours, tmp_path, capsys, first):
    competition = colours(SVM)
    numbers = {"red": "1", "blue": "2", "green": "3"}
    for name, number in numbers.items():
        (competition.root / "train" / name).rename(competition.root / "train" / number)
        for file in competition.root.glob("*.csv"):
            file.write_text(file.read_text().replace(name, number))
    prepared = prepare(competition)
    table = tabulate(prepared.pool.ids[prepared.labeled]).rename(columns=numbers)
    targets = prepared.labels + first
    table.assign(target=targets).to_csv(tmp_path / "oof.csv", index=False)
    import_predictions(prepared, "friend", tmp_path / "oof.csv")
    assert "other labels" not in capsys.readouterr().err
    targets[0] = (targets[0] - first + 1) % 3 + first
    table.assign(target=targets).to_csv(tmp_path / "oof.csv", index=False)
    import_predictions(prepared, "friend", tmp_path / "oof.csv")
    assert "other labels than ours for 1 of 18 images" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("prefix", ["pred_", ""])
def test_numbers_that_stand_for_other_classes_in_a_file_are_told_by_its_labels(colours, tmp_path, capsys, prefix):
    competition = colours(SVM)
    for name, number in {"red": "0", "blue": "1", "green": "2"}.items():
        (competition.root / "train" / name).rename(competition.root / "train" / number)
        for file in competition.root.glob("*.csv"):
            file.write_text(file.read_text().replace(name, number))
    prepared = prepare(competition)
    theirs = np.array([2, 0, 1])[prepared.labels]  # what the file calls each of our classes
    for names, told in ((theirs, True), (prepared.labels, False)):  # columns by its numbers, and by ours
        table = pd.DataFrame(np.eye(3)[names] * 0.4 + 0.2, columns=[f"{prefix}{name}" for name in prepared.classes])
        table.insert(0, "id", prepared.pool.ids[prepared.labeled])
        table.assign(target=theirs).to_csv(tmp_path / "oof.csv", index=False)
        assert import_predictions(prepared, "friend", tmp_path / "oof.csv").record.cv == 1
        heard = " ".join(capsys.readouterr().err.split())
        assert ("told by its column target: 0 is 1, 1 is 2, 2 is 0" in heard) is told


def test_an_import_that_is_always_right_is_doubtful_where_our_best_run_errs_often(embedded, tmp_path):
    prepared = prepare(embedded('[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\n'))
    right = import_predictions(prepared, "friend", write_theirs(prepared, tmp_path))
    assert not any("doubtful" in each for each in remarks_on(prepared, right, None))  # nothing to compare it with
    labels, oof = prepared.labels, crossval(prepared, "probe").predictions("oof")
    n_wrong = int((oof.at(prepared.pool.ids[prepared.labeled]).proba.argmax(1) != labels).sum())
    told = f"friend is right on each of the 18 images; probe, the best of our own runs, errs on {n_wrong};"
    assert n_wrong >= 9 and any(told in each for each in remarks_on(prepared, right, None))


def test_an_import_that_is_always_right_as_our_own_run_is_and_one_that_errs_are_not_doubtful(prepared, tmp_path, files):
    crossval(prepared, "svm")
    right = import_predictions(prepared, "friend", write_theirs(prepared, tmp_path))
    erring = import_predictions(prepared, "other", *files())
    for each in (right, erring):
        assert not any("doubtful" in remark for remark in remarks_on(prepared, each, None))


def test_an_order_of_classes_that_nothing_tells_is_a_guess_that_an_option_corrects(prepared, tmp_path, capsys):
    theirs = pd.read_csv(write_theirs(prepared, tmp_path), dtype=str).drop(columns=["target", "fold"])
    theirs.to_csv(tmp_path / "bare.csv", index=False)
    guessed = import_predictions(prepared, "friend", tmp_path / "bare.csv")
    heard = " ".join(capsys.readouterr().err.split())
    assert "a guess: classes by number, in the kit's order: 0 is blue" in heard and guessed.record.cv < 0.5
    assert "it does not say its folds" in heard
    reading = Reading(classes=("red", "blue", "green"))
    assert import_predictions(prepared, "friend", tmp_path / "bare.csv", reading=reading).record.cv == 1
    with pytest.raises(InputError, match="--classes does not name every class once: green, pink"):
        import_predictions(prepared, "friend", tmp_path / "bare.csv", reading=Reading(classes=("red", "blue", "pink")))


def test_other_folds_are_counted_and_what_a_blend_of_them_means_is_said(prepared, tmp_path, capsys):
    folds = np.where(np.arange(18) < 4, (prepared.folds + 1) % 3, prepared.folds)
    result = import_predictions(prepared, "friend", write_theirs(prepared, tmp_path, fold=folds))
    heard = " ".join(capsys.readouterr().err.split())
    assert "4 of 18 images are in other folds than ours (3 folds against 3)" in heard and "leans upwards" in heard
    assert result.record.folds == "other"
    assert any("friend was made on other folds" in remark for remark in remarks_on(prepared, result, None))


def test_without_test_predictions_an_import_is_scored_but_neither_sent_nor_combined(colours, tmp_path, capsys):
    prepared = prepare(colours(FOREST_AND_SVM, ('ensemble.members=["svm", "friend"]',)))
    friend = import_predictions(prepared, "friend", write_theirs(prepared, tmp_path))
    assert "can neither be sent nor join the ensemble" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(InputError, match="'friend' was imported without test predictions"):
        check_members(prepared)
    assert check_members(prepare(colours(FOREST_AND_SVM))) == ["forest", "svm"]
    with pytest.raises(InputError, match=r"friend: imported without test predictions; .*--test FILE"):
        make_submission(prepared, friend)
    with pytest.raises(InputError, match=r"predict: friend was imported: its model is not here.*; name a run that can"):
        predict_fresh(prepared, [friend], pd.DataFrame())
    assert "friend: imported" in verify(prepared, [friend])[1]
    again = import_predictions(
        prepared, "friend", tmp_path / "oof_theirs.csv", write_theirs(prepared, tmp_path, "test")
    )
    assert (
        check_members(prepared) == ["svm", "friend"] and (again.predictions("test").proba.argmax(1) == 2).all()
    )  # red


def test_arrays_are_read_in_the_order_of_their_ids_or_of_the_folds(prepared, tmp_path, capsys):
    labels = np.eye(3)[prepared.labels] * 0.4 + 0.2
    turned = np.random.default_rng(0).permutation(18)
    np.save(tmp_path / "oof.npy", labels[turned])
    np.save(tmp_path / "ids.npy", prepared.pool.ids[prepared.labeled][turned].astype(str))
    result = import_predictions(prepared, "friend", tmp_path / "oof.npy", reading=Reading(oof_ids=tmp_path / "ids.npy"))
    assert result.record.cv == 1 and "its rows" not in capsys.readouterr().err
    folds = pd.read_csv(prepared.competition.workspace.folds("colours"), dtype=str)
    rows = {each: row for row, each in enumerate(prepared.pool.ids[prepared.labeled])}
    np.save(tmp_path / "oof.npy", labels[[rows[each] for each in folds["id"]]])
    assert import_predictions(prepared, "friend", tmp_path / "oof.npy").record.cv == 1
    assert "its rows are taken in the order of colours.csv" in " ".join(capsys.readouterr().err.split())
    np.save(tmp_path / "oof.npy", labels[:17])
    with pytest.raises(InputError, match=r"oof\.npy: 17 rows, but colours\.csv has 18; --ids FILE"):
        import_predictions(prepared, "friend", tmp_path / "oof.npy")
    np.save(tmp_path / "oof.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"oof\.npy: cannot be read"):
        import_predictions(prepared, "friend", tmp_path / "oof.npy")


def test_zeros_that_ids_have_lost_are_put_back_and_it_is_said(prepared, tmp_path, capsys):
    table = tabulate([int(each) for each in prepared.pool.ids[prepared.labeled]])
    table.to_csv(tmp_path / "oof.csv", index=False)
    import_predictions(prepared, "friend", tmp_path / "oof.csv")
    assert "a guess: ids: zeros that the file has lost in front are put back" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_copy_of_a_run_is_noticed(trained, tmp_path, run_command):
    prepared, svm = trained
    proba = svm.predictions("oof")
    table = pd.DataFrame(proba.proba, columns=[f"prob_{name}" for name in proba.classes]).assign(id=proba.ids)
    table.to_parquet(tmp_path / "oof.parquet")
    workspace = prepared.competition.workspace.root
    code, _, err = run_command(workspace, "import", "colours", "friend", "--oof", str(tmp_path / "oof.parquet"))
    assert code == 0 and "friend has the predictions of svm" in " ".join(err.split())


def test_a_file_that_is_read_in_another_order_is_another_import(prepared, tmp_path):
    tables = []
    for split in ("oof", "test"):
        table = pd.read_csv(write_theirs(prepared, tmp_path, split), dtype=str)
        tables.append(tmp_path / f"{split}_bare.csv")
        table.drop(columns=["target", "fold"], errors="ignore").to_csv(tables[-1], index=False)
    guessed = import_predictions(prepared, "friend", *tables)
    of_guess = ensemble(prepared, [guessed])
    right = import_predictions(prepared, "friend", *tables, reading=Reading(classes=("red", "blue", "green")))
    combined = ensemble(prepared, [right])
    assert (right.record.key, combined.record.key) != (guessed.record.key, of_guess.record.key)
    assert combined.record.cv == right.record.cv == 1


@pytest.mark.parametrize("prefix", ["pred_", "preds_", "prediction_", "prob_", "proba_", "probs_", "logit_", "scores."])
def test_what_stands_before_the_classes_is_left_out(prepared, files, prefix):
    oof, test = files()
    for file in (oof, test):
        head, *rows = file.read_text().splitlines()
        names = [name if name == "id" else prefix + name for name in head.split(",")]
        file.write_text("\n".join([",".join(names), *rows]))
    assert import_predictions(prepared, "friend", oof, test).predictions("test").proba.max() == 0.5
