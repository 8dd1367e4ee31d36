"""Classes that shall be one, and labelled images given in several places."""

from __future__ import annotations

import shutil

import pytest
from support.colours import lay_out
from support.folders import CSV_LABELED, competition_of, of, read, refusal, touch, write

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.data.table import read_classes, read_table
from kit.data.table.listing import list_unnamed


def test_merged_classes_are_one(tmp_path, data):
    touch(data, "train/kitten/5.jpg", "train/kitten/6.jpg")
    table = read(tmp_path, 'labeled = "train"', 'merge = { feline = ["cat", "kitten"] }')
    assert read_classes(table) == ("dog", "feline")
    assert dict(zip(table["id"], table["label"], strict=True))["5"] == "feline"


def test_a_class_may_take_others_in_under_its_own_name(tmp_path, data):
    touch(data, "train/kitten/5.jpg")
    table = read(tmp_path, 'labeled = "train"', 'merge = { cat = ["cat", "kitten"] }')
    assert read_classes(table) == ("cat", "dog") and (table["label"] == "cat").sum() == 3


def test_nothing_to_merge_changes_nothing(tmp_path, data):
    assert read(tmp_path, 'labeled = "train"', "merge = {}").equals(read(tmp_path, 'labeled = "train"'))


def test_labels_of_a_listing_are_merged(tmp_path, listed):
    touch(listed, "images/000005.jpg", "images/000006.jpg")
    write(listed / "train.csv", "id,label\n000001,a\n000002,b\n000003,c\n000004,c\n000005,d\n000006,e\n")
    table = read(tmp_path, CSV_LABELED, 'merge = { first = ["a", "b"], last = ["d", "e"] }')
    assert read_classes(table) == ("c", "first", "last")


def test_several_labels_of_an_image_are_merged(tmp_path, listed):
    write(listed / "train.csv", "id,labels\n000001,a;b\n000002,b;c\n000003,c\n000004,a\n")
    facts = '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n'
    rest = f'[data]\nroot = "data"\n{CSV_LABELED}\nmerge = {{ x = ["a", "b"] }}\n'
    write(tmp_path / "several" / "competition.toml", facts + rest)
    table = read_table(read_competition(str(tmp_path / "several"), Workspace(tmp_path)))
    assert table["label"].tolist() == ["x", "c|x", "c", "x"]


def test_an_unknown_class_is_refused_with_the_nearest(tmp_path, data):
    text = refusal(tmp_path, 'labeled = "train"', 'merge = { pet = ["cat", "dogg"] }')
    assert "merge" in text and "'dogg'" in text and "did you mean 'dog'?" in text


@pytest.mark.parametrize("merge", ['{ x = ["cat", "cat"] }', '{ x = ["cat", "dog"], y = ["dog"] }'])
def test_a_class_that_stands_twice_is_refused(tmp_path, data, merge):
    text = refusal(tmp_path, 'labeled = "train"', f"merge = {merge}")
    assert "[data]" in text and "stands twice" in text


def test_a_new_name_that_is_a_class_already_is_refused(tmp_path, data):
    touch(data, "train/kitten/5.jpg")
    text = refusal(tmp_path, 'labeled = "train"', 'merge = { cat = ["kitten"] }')
    assert "'cat' is a class already" in text and "list it too" in text


def test_a_merge_of_nothing_is_refused(tmp_path, data):
    assert "merge.x" in refusal(tmp_path, 'labeled = "train"', "merge = { x = [] }")


def test_merging_all_classes_leaves_nothing_to_tell_apart(tmp_path, data):
    assert "one class only" in refusal(tmp_path, 'labeled = "train"', 'merge = { pet = ["cat", "dog"] }')


def test_given_training_and_validation_images_are_one(tmp_path, data):
    touch(data, "validation/cat/7.jpg", "validation/dog/8.jpg")
    table = read(tmp_path, 'labeled = ["train", "validation"]')
    assert table["id"].tolist() == ["000001", "000002", "000003", "000004", "7", "8"]
    assert table["label"].tolist() == ["cat", "cat", "dog", "dog", "cat", "dog"]


def test_a_list_of_one_source_is_that_source(tmp_path, data):
    assert read(tmp_path, 'labeled = ["train"]').equals(read(tmp_path, 'labeled = "train"'))


def test_ids_that_repeat_begin_with_their_source(tmp_path, data):
    touch(data, "validation/cat/000001.jpg", "validation/dog/9.jpg")
    table = read(tmp_path, 'labeled = ["train", "validation"]')
    ids = table["id"].tolist()
    assert ids[0] == "train/000001" and ids[-2:] == ["validation/000001", "validation/9"]


def test_folders_and_listings_go_together(tmp_path, listed):
    touch(listed, "more/cat/1.jpg", "more/dog/2.jpg", "images/unnamed.jpg")
    sources = '["more", { csv = "train.csv", images = "images" }]'
    table = read(tmp_path, f"labeled = {sources}")
    assert len(of(table, "labeled")) == 6 and read_classes(table) == ("cat", "dog")
    unnamed = list_unnamed(competition_of(tmp_path, f"labeled = {sources}"), table["path"])
    assert [path.rpartition("/")[2] for path in unnamed] == ["unnamed.jpg"]


def test_an_image_of_two_sources_is_refused(tmp_path, data):
    assert "in two of its sources" in refusal(tmp_path, 'labeled = ["train", "train"]')


def test_no_source_at_all_is_refused(tmp_path, data):
    assert "labeled" in refusal(tmp_path, "labeled = []")


def test_an_image_given_for_training_and_again_for_validation_stays_in_one_fold(colours, tmp_path):
    root = tmp_path / "data" / "colours"
    lay_out(root)
    lay_out(root / "given", seed=1)
    shutil.copy(root / "train" / "red" / "00013.png", root / "given" / "train" / "red" / "copy.png")
    prepared = prepare(colours(changes=('data.labeled=["train", "given/train"]',)))
    assert len(prepared.labeled) == 37 and set(prepared.folds) == {0, 1, 2}
    fold = dict(zip(prepared.pool.ids[prepared.labeled], prepared.folds, strict=True))
    assert fold["train/00013"] == fold["given/train/copy"]


def test_an_unknown_key_of_one_source_is_named(tmp_path, listed):
    with pytest.raises(InputError, match="folder"):
        competition_of(tmp_path, 'labeled = [{ csv = "train.csv", folder = "images" }]')
