"""What lists images: CSV in every spelling, TSV, zips, and JSON as COCO and iNaturalist write it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from support.folders import CSV_LABELED, competition_of, of, read, refusal, shown, touch, write

from kit.core.errors import InputError
from kit.data.table import read_classes, read_table
from kit.data.table.records import read_rows
from kit.data.table.scan import read_csv

IMAGES = 'images = "images"'


def dump(path: Path, value: object) -> None:
    """Write JSON."""
    write(path, json.dumps(value))


def coco(n: int = 6, key: str = "id") -> dict[str, list[dict[str, object]]]:
    """Return images with one annotation each, of two categories in turn."""
    images = [{"width": 9, key: 100 + i, "file_name": f"0/{i}.jpg", "location": i // 2} for i in range(n)]
    annotations = [{"id": i, "image_id": 100 + i, "category_id": i % 2, "bbox": [1, 2.5]} for i in range(n)]
    categories = [{"id": 0, "name": "owl", "supercategory": "bird"}, {"id": 1, "name": "cat"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Return a data folder of six images, deep below one folder."""
    touch(tmp_path / "data", *(f"images/0/{i}.jpg" for i in range(6)))
    return tmp_path / "data"


@pytest.mark.parametrize("key", ["id", "image_id"])
def test_a_coco_file_is_read_by_its_own_names(tmp_path, drawn, key):
    dump(drawn / "train.json", coco(key=key))
    table = read(tmp_path, f'labeled = {{ csv = "train.json", {IMAGES}, group = "location" }}')
    assert table["id"].tolist() == [str(100 + i) for i in range(6)] and table["label"].tolist() == ["0", "1"] * 3
    assert table["group"].tolist() == ["0", "0", "1", "1", "2", "2"]
    assert table["path"].iloc[5].endswith("images/0/5.jpg")


def test_a_categorys_name_may_be_the_label(tmp_path, drawn):
    dump(drawn / "train.json", coco())
    table = read(tmp_path, f'labeled = {{ csv = "train.json", {IMAGES}, label = "category_name" }}')
    assert read_classes(table) == ("cat", "owl")
    rows = read_rows(drawn / "train.json")
    assert list(rows.columns[:2]) == ["id", "file_name"] and rows["category_supercategory"].iloc[1] == ""


def test_boxes_of_one_class_count_once_and_two_classes_are_refused(tmp_path, drawn, capsys):
    value = coco()
    value["annotations"].append({"id": 9, "image_id": 100, "category_id": 0})
    dump(drawn / "train.json", value)
    listing = f'labeled = {{ csv = "train.json", {IMAGES} }}'
    assert len(read(tmp_path, listing)) == 6
    assert "1 rows name an image again, with the same label; each counts once" in shown(capsys)
    value["annotations"][-1]["category_id"] = 1
    dump(drawn / "train.json", value)
    text = refusal(tmp_path, listing)
    assert "id '100' stands in rows 1, 2 with the labels '0', '1'" in text and 'write task = "multilabel"' in text


def test_several_annotations_are_several_labels_where_the_task_says_so(tmp_path, drawn):
    value = coco()
    value["annotations"] += [{"image_id": 100, "category_id": 1}, {"image_id": 101, "category_id": 1}]
    dump(drawn / "train.json", value)
    made = competition_of(tmp_path, f'labeled = {{ csv = "train.json", {IMAGES} }}')
    made = made.model_copy(update={"facts": made.facts.model_copy(update={"task": "multilabel"})})
    assert read_table(made)["label"].tolist() == ["0|1", "1", "0", "1", "0", "1"]


def test_a_test_list_gives_whole_numbers_their_files(tmp_path, drawn):
    touch(drawn, *(f"test/000/test-{i:06d}.jpg" for i in range(3)))
    dump(drawn / "train.json", coco())
    dump(drawn / "test.json", [{"image_id": str(i), "file_name": f"000/test-{i:06d}.jpg"} for i in range(3)])
    labeled = f'labeled = {{ csv = "train.json", {IMAGES} }}'
    table = of(read(tmp_path, labeled, 'test = { csv = "test.json", images = "test" }'), "test")
    assert table["id"].tolist() == ["0", "1", "2"] and table["path"].iloc[2].endswith("000/test-000002.jpg")


def test_images_without_annotation_are_left_out_and_counted(tmp_path, drawn, capsys):
    value = coco()
    del value["annotations"][5]
    dump(drawn / "train.json", value)
    assert len(read(tmp_path, f'labeled = {{ csv = "train.json", {IMAGES} }}')) == 5
    assert "1 images without an annotation are left out" in shown(capsys)


def test_labels_by_file_name_are_read(tmp_path, drawn):
    dump(drawn / "train.json", {f"{i}.jpg": "ab"[i % 2] for i in range(6)})
    assert read_classes(read(tmp_path, f'labeled = {{ csv = "train.json", {IMAGES} }}')) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"a": {"b": 1}}', "lists no images"),
        ('{"images": [{"name": "x"}], "annotations": [{"image_id": 1}]}', "its images have no id or image_id"),
        ('{"images": [{"id": 1}], "annotations": [{"id": 1}]}', "an annotation has no image_id"),
        (
            '{"images": [{"id": 1}], "annotations": [{"image_id": 2}]}',
            "of 1 images that it does not list: 2",
        ),
    ],
)
def test_json_that_lists_no_images_is_refused(tmp_path, text, message):
    write(tmp_path / "a.json", text)
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / "a.json")


def test_tabs_zips_and_zips_in_zips_are_read(tmp_path):
    write(tmp_path / "a.tsv", "id\tlabel\n1\ta, b\n")
    with zipfile.ZipFile(tmp_path / "a.tsv.zip", "w") as opened:
        opened.write(tmp_path / "a.tsv", "folder/a.tsv")
        opened.writestr("__MACOSX/._a.tsv", "x")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as opened:
        opened.write(tmp_path / "a.tsv.zip", "a.tsv.zip")
    assert read_csv(tmp_path / "a.tsv").equals(read_csv(tmp_path / "a.tsv.zip"))
    assert read_csv(tmp_path / "a.tsv")["label"].tolist() == ["a, b"]
    (tmp_path / "all.tsv.zip").write_bytes((tmp_path / "all.zip").read_bytes())
    assert read_csv(tmp_path / "all.tsv.zip")["id"].tolist() == ["1"]


def test_a_zip_of_two_tables_is_refused_naming_both(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as opened:
        opened.writestr("a.csv", "id\n1\n")
        opened.writestr("b.csv", "id\n1\n")
    with pytest.raises(InputError, match=r"a.csv.zip: holds a.csv, b.csv, where one table is wanted"):
        read_csv(tmp_path / "a.csv.zip")
    (tmp_path / "b.csv.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"b.csv.zip: cannot be unpacked"):
        read_csv(tmp_path / "b.csv.zip")


def test_cells_of_any_length_are_read(tmp_path):
    write(tmp_path / "a.csv", f"id,label\n1,{'x' * 200_000}\n")
    assert len(read_csv(tmp_path / "a.csv")["label"].iloc[0]) == 200_000


def test_a_nul_is_named_by_its_row_and_utf16_is_read(tmp_path):
    write(tmp_path / "a.csv", "id,label\n1,a\n2,b\0\n")
    with pytest.raises(InputError, match=r"a.csv: row 3: a NUL byte"):
        read_csv(tmp_path / "a.csv")
    write(tmp_path / "b.csv", "id,label\n1,é\n", "utf-16")
    assert read_csv(tmp_path / "b.csv")["label"].tolist() == ["é"]


def test_very_many_columns_are_read_as_few_are(tmp_path):
    columns = [f"c{i}" for i in range(400)]
    write(tmp_path / "a.csv", ",".join(columns) + "\n" + ",".join(["007", "NA", "", *columns[3:]]) + "\n")
    rows = read_csv(tmp_path / "a.csv")
    assert rows.index.tolist() == [2] and rows.iloc[0, :4].tolist() == ["007", "NA", "", "c3"]
    write(tmp_path / "b.csv", ",".join(columns) + "\n" + ",".join([*columns, "x"]) + "\n")
    with pytest.raises(InputError, match=r"b.csv: not CSV"):
        read_csv(tmp_path / "b.csv")


@pytest.mark.parametrize("index", ["", "Unnamed: 0"])
def test_an_index_column_is_neither_id_nor_label(tmp_path, listed, index):
    write(listed / "train.csv", f"{index},id,label\n0,000001,cat\n1,000002,cat\n2,000003,dog\n3,000004,dog\n")
    table = read(tmp_path, CSV_LABELED)
    assert table["id"].tolist() == ["000001", "000002", "000003", "000004"] and read_classes(table) == ("cat", "dog")
