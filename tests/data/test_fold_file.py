"""The fold file: written once, read back, verified every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.letters import letters, make_competition, tabulate

from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.data.folds import NO_FOLD, assign_folds, scored_folds
from kit.data.folds.file import read_folds
from kit.data.prepared import prepare
from kit.data.table.labels import read_multi_hot


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    """Return a competition with four folds in a workspace of its own."""
    return make_competition(tmp_path)


@pytest.fixture
def written(competition: Competition) -> tuple[Competition, pd.DataFrame, Path]:
    """Return a competition whose folds are written, its table and its file."""
    ids, labels, _ = letters()
    table = tabulate(np.sort(ids), labels)
    read_folds(competition, table, np.arange(len(table)))
    return competition, table, competition.workspace.folds("letters")


def test_folds_are_written_once_sorted_and_read_back(competition):
    ids, labels, groups = letters()
    table = tabulate(ids, labels, n_others=2)
    clusters = np.arange(len(table))
    folds = read_folds(competition, table, clusters)
    file = competition.workspace.folds("letters")
    text = file.read_bytes()
    lines = text.decode().split("\n")
    assert lines[0] == "id,label,fold"
    assert lines[1:-1] == sorted(lines[1:-1])
    assert lines[-1] == "" and b"\r" not in text
    assert (folds[-2:] == NO_FOLD).all()
    assert (folds[: len(ids)] == assign_folds(ids, labels, groups, 4, 0)).all()
    shuffled = table.sample(frac=1, random_state=0)
    again = read_folds(competition, shuffled, clusters)
    assert (again == folds[shuffled.index]).all()
    assert file.read_bytes() == text


def test_awkward_ids_and_labels_survive_the_file(competition):
    labels = np.array(["NA"] * 8 + ['bat, "the" animal '] * 8, dtype=object)
    table = tabulate(np.array([f"{i:03d},x" for i in range(16)], dtype=object), labels)
    folds = read_folds(competition, table, np.arange(16))
    assert (read_folds(competition, table, np.arange(16)) == folds).all()


def test_a_committed_file_is_taken_over(tmp_path):
    ids, labels, _ = letters()
    table = tabulate(ids, labels)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(), ours.mkdir()
    first = make_competition(theirs, ("folds.seed=5",))
    folds = read_folds(first, table, np.arange(len(ids)))
    second = make_competition(ours)
    committed = first.workspace.folds("letters")
    assert (read_folds(second, table, np.arange(len(ids)), committed=committed) == folds).all()
    assert second.workspace.folds("letters").read_bytes() == committed.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id,label,fold", "id,fold", "the first line must be id,label,fold"),
        ("00003,", "00002,", "row 5: id '00002' is there twice"),
        ("00003,", "09999,", "1 labelled images have no row: 00003"),
        ("00003,a,", "00003,b,", r"labels have changed since: 00003 \('b', now 'a'\)"),
        ("00003,a,", "00003,a,x", "row 5: '00003,a,x"),
        ("00003,a,", "00003,a,7", "but fold 4, 5, 6"),
        (",3\n", ",2\n", "has 3 folds, .folds. n is 4; set n = 3"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(written, old, new, message):
    competition, table, file = written
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(old, new, -1 if "\n" in old else 1), encoding="utf-8")
    with pytest.raises(InputError, match=message) as refusal:
        read_folds(competition, table, np.arange(len(table)))
    assert str(file) in str(refusal.value)
    assert "no earlier CV can be compared" in str(refusal.value)


def test_rows_without_an_image_are_refused_unless_the_image_is_broken(written):
    competition, table, _ = written
    rest = table.drop(index=[4]).reset_index(drop=True)
    clusters = np.arange(len(rest))
    with pytest.raises(InputError, match="1 rows are no labelled images: 00004; bring the images back"):
        read_folds(competition, rest, clusters)
    whole = read_folds(competition, table, np.arange(len(table)))
    assert (read_folds(competition, rest, clusters, broken={"00004"}) == np.delete(whole, 4)).all()


def test_near_duplicates_in_different_folds_are_refused_by_id(written):
    competition, table, _ = written
    folds = read_folds(competition, table, np.arange(len(table)))
    other = int(np.flatnonzero(folds != folds[0])[0])
    clusters = np.arange(len(table))
    clusters[other] = 0
    with pytest.raises(InputError, match=rf"straddle folds.*00000 \(fold {folds[0]}\), {other:05d} \(fold"):
        read_folds(competition, table, clusters)


def test_a_class_that_one_fold_has_to_itself_is_refused(written):
    competition, table, file = written
    lines = file.read_text(encoding="utf-8").splitlines()
    lines = [line[:-1] + "2" if ",a," in line else line for line in lines]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="every image of class 'a' is in fold 2"):
        read_folds(competition, table, np.arange(len(table)))


def test_folds_that_are_not_utf_8_are_refused(written):
    competition, table, file = written
    file.write_bytes(b"\xff" + file.read_bytes())
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        read_folds(competition, table, np.arange(len(table)))


def test_a_single_hold_out_leaves_every_image_its_fold(tmp_path):
    ids, labels, _ = letters()
    competition = make_competition(tmp_path, ("folds.use=[0]",))
    folds = read_folds(competition, tabulate(ids, labels), np.arange(len(ids)))
    assert set(folds) == {0, 1, 2, 3}
    assert scored_folds(competition, folds) == (0,)


def test_the_fold_file_keeps_the_label_cell(tiles):
    file = tiles.competition.workspace.folds("tiles")
    rows = pd.read_csv(file, keep_default_na=False)
    assert list(rows.columns) == ["id", "label", "fold"]
    assert (read_multi_hot(rows["label"].tolist(), tiles.classes) == tiles.labels).all()
    again = prepare(tiles.competition)
    assert (again.folds == tiles.folds).all() and again.fold_key == tiles.fold_key
