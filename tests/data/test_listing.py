"""Listings whose labels stand in names, in one-hot columns or in one of several columns; files that are no images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.folders import competition_of, of, of_several, read, refusal, shown, touch, write, zip_files

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.table import read_classes, read_table

CSV = 'labeled = { csv = "train.csv", images = "images" }'
NAMES = [f"train/{kind}.{i}.jpg" for kind in ("cat", "dog") for i in range(3)]


def listing(keys: str) -> str:
    """Return a labelled listing with more keys."""
    return f'labeled = {{ csv = "train.csv", images = "images", {keys} }}'


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Return a data folder of four images, named a to d."""
    touch(tmp_path / "data", *(f"images/{name}.jpg" for name in "abcd"))
    return tmp_path / "data"


# --- patterns


@pytest.mark.parametrize("archive", [False, True])
def test_the_class_may_be_the_beginning_of_the_files_name(tmp_path, archive):
    if archive:
        zip_files(tmp_path / "data" / "train.zip", NAMES)
    touch(tmp_path / "data", "none.txt", *([] if archive else NAMES))
    folder = "train.zip" if archive else "train"
    table = read(tmp_path, f'labeled = {{ images = "{folder}", pattern = "(?P<label>[a-z]+)[.][0-9]+[.]jpg" }}')
    assert table["id"].tolist() == ["cat.0", "cat.1", "cat.2", "dog.0", "dog.1", "dog.2"]
    assert table["label"].tolist() == ["cat"] * 3 + ["dog"] * 3


def test_a_pattern_may_name_ids_and_groups_and_says_what_it_leaves_out(tmp_path, capsys):
    names = [f"train/{kind}/site{i % 2}_{i}{j}.jpg" for j, kind in enumerate(("cat", "dog")) for i in range(3)]
    touch(tmp_path / "data", *names, "train/cat/odd.jpg")
    pattern = "(?P<label>[^/]+)/(?P<group>site[0-9])_(?P<id>[0-9]+)"
    table = read(tmp_path, f'labeled = {{ images = "train", pattern = "{pattern}" }}')
    assert table["id"].tolist() == ["00", "01", "10", "11", "20", "21"]
    assert table["group"].tolist() == ["site0", "site0", "site1", "site1", "site0", "site0"]
    assert "1 images do not fit" in (text := shown(capsys)) and "'cat/odd.jpg'" in text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('pattern = "(?P<label>"', "is no regular expression"),
        ('pattern = "(?P<lable>x)"', "group lable is unknown; there are label, id and group"),
        ('pattern = "(?P<label>x)", label = "y"', "label names columns of a csv; with pattern write (?P<label>...)"),
        ('pattern = "[a-z]+"', "has no group (?P<label>...), so labels nothing"),
        ('pattern = "(?P<label>[0-9]+)_"', "fits none of the 6 images in"),
        ('pattern = "(?P<label>[a-z]*)[.](?P<id>[0-9])"', "have the same id '0'; name more in it"),
        ('csv = "a.csv", pattern = "(?P<label>x)"', "needs either csv = "),
    ],
)
def test_a_pattern_in_doubt_is_refused(tmp_path, keys, message):
    touch(tmp_path / "data", *NAMES)
    with pytest.raises(InputError) as refused:
        read(tmp_path, f'labeled = {{ images = "train", {keys} }}')
    assert message in str(refused.value)


def test_an_images_folder_inside_class_folders_needs_no_pattern(tmp_path):
    touch(tmp_path / "data", *(f"train/n{i % 2}/images/n{i % 2}_{i}.JPEG" for i in range(6)))
    assert read_classes(read(tmp_path, 'labeled = "train"')) == ("n0", "n1")


# --- one label each


@pytest.mark.parametrize("cells", [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("1.000000e+00", "0e0")])
def test_one_hot_columns_of_one_label_each_are_read(tmp_path, four, cells):
    on, off = cells
    rows = "".join(f"{name},{on if i % 2 else off},{off if i % 2 else on}\n" for i, name in enumerate("abcd"))
    write(four / "train.csv", f"image,MEL,NV\n{rows}")
    for data in (CSV, listing('form = "columns"'), listing('label = ["MEL", "NV"]')):
        assert read(tmp_path, data)["label"].tolist() == ["NV", "MEL"] * 2


def test_one_hot_columns_of_no_label_or_two_are_refused_by_row(tmp_path, four):
    write(four / "train.csv", "image,x,y\na,1,0\nb,1,1\nc,0,1\nd,0,0\n")
    assert "train.csv: row 3: 2 labels, 'x', 'y', where an image has one" in refusal(
        tmp_path, listing('form = "columns"')
    )
    write(four / "train.csv", "image,x,y\na,1,0\nb,0,1\nc,0,1\nd,0,0\n")
    assert "row 5: no label, where an image has one" in refusal(tmp_path, listing('form = "columns"'))
    write(four / "train.csv", "image,x,y\na,.7,.3\nb,0,1\nc,0,1\nd,0,0\n")
    assert "row 2, column 'x': '.7' is not 0 or 1" in refusal(tmp_path, listing('form = "columns"'))


def test_of_several_columns_none_is_taken_by_its_place(tmp_path, four):
    write(four / "train.csv", "image,species,individual\na,s,1\nb,s,2\nc,t,1\nd,t,2\n")
    text = refusal(tmp_path, CSV)
    assert "which of the columns 'species', 'individual' holds the labels is in doubt; name it: " in text
    assert '[data] labeled.label = "species"' in text


def test_of_several_columns_the_samples_is_taken_and_said(tmp_path, four, capsys):
    write(four / "train.csv", "image,species,individual\na,s,1\nb,s,2\nc,t,1\nd,t,2\n")
    write(four / "sample.csv", "image,individual\nx,1\n")
    assert read_classes(read(tmp_path, CSV, 'sample_submission = "sample.csv"')) == ("1", "2")
    assert "label: 'individual', a column of the sample submission too, rather than 'species'" in shown(capsys)


def test_a_group_and_a_file_are_no_labels(tmp_path, four):
    write(four / "train.csv", "id,file,who,kind\n1,a,x,s\n2,b,x,s\n3,c,y,t\n4,d,y,t\n")
    table = read(tmp_path, listing('file = "file", group = "who"'))
    assert read_classes(table) == ("s", "t") and table["group"].tolist() == ["x", "x", "y", "y"]


def test_a_repeated_row_counts_once_and_two_labels_are_refused(tmp_path, four, capsys):
    write(four / "train.csv", "id,label\na,x\nb,x\nc,y\nd,y\na,x\n")
    assert len(read(tmp_path, CSV)) == 4 and "1 rows name an image again, with the same label" in shown(capsys)
    write(four / "train.csv", "id,label\na,x\nb,x\nc,y\nd,y\na,y\n")
    assert "id 'a' stands in rows 2, 6 with the labels 'x', 'y'" in refusal(tmp_path, CSV)


# --- several labels


@pytest.mark.parametrize(
    "cells",
    [
        ("['x', 'y']", "['y']", "[]", "['x']"),
        ('["x", "y"]', '["y"]', "", '["x"]'),
        ("[x, y]", "[y]", "[]", "[x]"),
    ],
)
def test_labels_may_be_lists_in_brackets(tmp_path, cells):
    rows = "".join(f'{name},"{cell.replace(chr(34), chr(34) * 2)}"\n' for name, cell in zip("abcd", cells, strict=True))
    table = read_table(of_several(tmp_path, f"id,label\n{rows}"))
    assert table["label"].tolist() == ["x|y", "y", "", "x"]


def test_a_quoted_label_keeps_its_commas_and_quotes(tmp_path):
    text = "id,label\na,\"['x, 1', 'it\\'s']\"\nb,\"['x, 1']\"\nc,\"['it\\'s']\"\nd,\"['x, 1']\"\n"
    assert read_table(of_several(tmp_path, text))["label"].tolist()[0] == "it's|x, 1"
    with pytest.raises(InputError, match=r"row 2: .* is no list of labels"):
        read_table(of_several(tmp_path, "id,label\na,\"['x', , 'y']\"\nb,['x']\nc,['y']\nd,['y']\n"))


@pytest.mark.parametrize("separator", [" ", ",", ";", "|"])
def test_every_separator_parts_labels(tmp_path, four, separator):
    write(four / "train.csv", f'id,label\na,"x{separator}y"\nb,y\nc,x\nd,x\n')
    keys = listing(f'label = "label", form = "cell", separator = "{separator}"')
    facts = '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n[data]\nroot = "data"\n'
    write(tmp_path / "comp" / "competition.toml", facts + keys)
    table = read_table(read_competition(str(tmp_path / "comp"), Workspace(tmp_path)))
    assert table["label"].tolist() == ["x|y", "y", "x", "x"]


# --- files that are no images


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path, capsys):
    touch(tmp_path / "data", *(f"train/{kind}/{i}.jfif" for kind in "ab" for i in range(2)), "train/a/x.tfrec")
    touch(tmp_path / "data", *(f"test/{i}.jpg" for i in range(30)), "test/notes.txt", "pool/1.npy", "pool/2.jpe")
    table = read(tmp_path, 'labeled = "train"', 'test = "test"', 'unlabeled = "pool"')
    assert len(of(table, "labeled")) == 4 and len(of(table, "unlabeled")) == 1
    text = shown(capsys)
    assert "1 of 5 files are no images and are not read: 1 .tfrec (TFRecords are ignored)" in text
    assert "1 of 31 files are no images and are not read: 1 .txt" in text
    assert text.count("warning") == 2 and "1 of 2 files are no images and are not read: 1 .npy" in text


def test_a_folder_of_other_files_alone_says_what_they_are(tmp_path, data):
    touch(data, "test/1.tfrec", "test/2.tfrec")
    assert "holds no images but 2 .tfrec (TFRecords are ignored)" in refusal(
        tmp_path, 'labeled = "train"', 'test = "test"'
    )


def test_ready_listings_read_as_before(tmp_path, four):
    write(four / "train.csv", "id,label\na,x\nb,x\nc,y\nd,y\n")
    made = competition_of(tmp_path, CSV, 'test = { csv = "train.csv", images = "images" }')
    assert made.data.labeled_sources[0].model_dump(exclude_none=True) == {"csv": "train.csv", "images": "images"}
    assert of(read_table(made), "test")["label"].tolist() == [None] * 4
