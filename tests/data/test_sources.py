"""Listings: every way in which a CSV and the images that it names can disagree."""

from pathlib import Path

import pytest
from support.folders import CSV_LABELED, competition_of, of, read, refusal, shown, touch, write

from kit.data.table import read_classes, read_table
from kit.data.table.listing import list_unnamed


def test_a_csv_keeps_zeros_and_sorts_by_id(tmp_path, listed):
    table = read(tmp_path, CSV_LABELED)
    assert table["id"].tolist() == ["000001", "000002", "000003", "000004"]
    assert table["label"].tolist() == ["cat", "cat", "dog", "dog"]
    assert table["path"].str.endswith(".jpg").all()


def test_a_byte_order_mark_and_crlf_change_nothing(tmp_path, listed):
    plain = read(tmp_path, CSV_LABELED)
    text = (listed / "train.csv").read_text()
    write(listed / "train.csv", text.replace("id,label", " id , label ").replace("\n", "\r\n"), "utf-8-sig")
    assert read(tmp_path, CSV_LABELED).equals(plain)


def test_na_and_null_are_class_names(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,NA\n000002,NA\n000003,null\n000004,null\n")
    assert read_classes(read(tmp_path, CSV_LABELED)) == ("NA", "null")


def test_ids_may_carry_their_suffix_or_a_folder(tmp_path, listed):
    touch(listed, "images/a/x.jpg")
    write(listed / "train.csv", "id,label\n000001.jpg,cat\n000002,cat\na/x.jpg,dog\n000004,dog\n")
    assert read(tmp_path, CSV_LABELED)["id"].tolist() == ["000001.jpg", "000002", "000004", "a/x.jpg"]


def test_a_file_without_suffix_is_found_by_its_name(tmp_path, listed):
    (listed / "images" / "000001.jpg").rename(listed / "images" / "000001")
    assert read(tmp_path, CSV_LABELED)["path"].iloc[0].endswith("/000001")


def test_columns_are_taken_by_name_and_group_is_text(tmp_path, listed):
    write(listed / "train.csv", "x,y,who,n\n1,cat,000001,07\n1,cat,000002,\n1,dog,000003,07\n1,dog,000004,8\n")
    keys = 'csv = "train.csv", images = "images", id = "who", label = "y", group = "n"'
    table = read(tmp_path, f"labeled = {{ {keys} }}")
    assert table["group"].tolist() == ["07", None, "07", "8"]
    assert table["label"].tolist() == ["cat", "cat", "dog", "dog"]


def test_an_unnamed_first_column_is_no_id(tmp_path, listed):
    write(listed / "train.csv", ",id,label\n0,000001,cat\n1,000002,cat\n2,000003,dog\n3,000004,dog\n")
    assert read(tmp_path, CSV_LABELED)["id"].tolist() == ["000001", "000002", "000003", "000004"]


def test_quoted_cells_may_hold_commas_and_line_ends(tmp_path, listed):
    write(listed / "train.csv", 'id,label\n000001,"a, b"\n000002,"a, b"\n000003,"c\nd"\n000004,"c\nd"\n')
    assert read_classes(read(tmp_path, CSV_LABELED)) == ("a, b", "c\nd")


def test_labels_of_unlabelled_and_test_listings_are_not_read(tmp_path, data):
    touch(data, "pool/1.jpg", "pool/2.jpg")
    write(data / "pool.csv", "id,label\n2,cat\n1,\n")
    table = read(tmp_path, 'labeled = "train"', 'unlabeled = { csv = "pool.csv", images = "pool" }')
    assert of(table, "unlabeled")["label"].tolist() == [None, None]


def test_a_csv_that_is_not_utf8_is_refused_with_the_byte(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,café\n", "latin-1")
    assert "train.csv: not UTF-8 (byte 19, row 2); save it as UTF-8" in refusal(tmp_path, CSV_LABELED)


def test_repeated_ids_are_refused_with_their_rows(tmp_path, listed):
    write(listed / "train.csv", "id,label\n\n000001,cat\n000002,cat\n000001,dog\n")
    assert "id '000001' stands in rows 3, 5" in refusal(tmp_path, CSV_LABELED)


def test_an_empty_label_is_refused_with_its_row(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,cat\n000002, \n")
    assert "train.csv: row 3: the label is empty" in refusal(tmp_path, CSV_LABELED)


def test_a_missing_file_is_refused_with_its_row_and_folder(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,cat\n997,cat\n999,dog\n998,dog\n")
    text = refusal(tmp_path, CSV_LABELED)
    assert f"no image in {listed / 'images'} for '997' (row 3), '999' (row 4), '998' (row 5)" in text
    assert "the nearest file is '000004.jpg'" in text


def test_a_file_that_lies_deeper_and_has_another_suffix_is_found_and_said(tmp_path, listed, capsys):
    touch(listed, "images/deep/999.png")
    write(listed / "train.csv", "id,label\n000001,cat\n000002,cat\n999.jpg,dog\n000004,dog\n")
    assert read(tmp_path, CSV_LABELED)["path"].iloc[-1].endswith("images/deep/999.png")
    assert "matched, 1 by folder: '999.jpg' is" in shown(capsys)


def test_one_missing_image_is_left_out_and_named(tmp_path, listed, capsys):
    write(listed / "train.csv", "id,label\n000001,cat\n000002,cat\n000003,dog\n000004,dog\n000005,dog\n")
    assert len(read(tmp_path, CSV_LABELED)) == 4
    text = shown(capsys)
    assert "for '000005' (row 6); the nearest file is '00000" in text and "left out (1 of 5 rows)" in text


def test_a_test_image_that_is_missing_stays_in_the_submission(tmp_path, listed, capsys):
    touch(listed, "test/7.jpg", "test/8.jpg")
    write(listed / "test.csv", "id\n7\n8\n9\n")
    table = read(tmp_path, CSV_LABELED, 'test = { csv = "test.csv", images = "test" }')
    assert of(table, "test")["id"].tolist() == ["7", "8", "9"]
    assert "for '9' (row 4)" in (text := shown(capsys)) and "they get the class prior in the submission" in text


def test_missing_unlabelled_files_are_warned_of(tmp_path, data, capsys):
    touch(data, "pool/1.jpg")
    write(data / "pool.csv", "id\n1\n2\n")
    table = read(tmp_path, 'labeled = "train"', 'unlabeled = { csv = "pool.csv", images = "pool" }')
    assert of(table, "unlabeled")["id"].tolist() == ["1"]
    assert "'2' (row 3)" in shown(capsys)
    write(data / "pool.csv", "id\n3\n")
    assert "'3' (row 2)" in refusal(tmp_path, 'labeled = "train"', 'unlabeled = { csv = "pool.csv", images = "pool" }')


def test_an_id_that_fits_two_files_is_refused_naming_both(tmp_path, listed):
    touch(listed, "images/000001.png")
    assert "row 3: id '000001' fits 000001.jpg, 000001.png" in refusal(tmp_path, CSV_LABELED)
    text = (listed / "train.csv").read_text().replace("000001", "000001.png")
    write(listed / "train.csv", text)
    assert read(tmp_path, CSV_LABELED)["path"].iloc[0].endswith("000001.png")


def test_two_ids_of_one_file_are_refused(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,cat\n000001.jpg,cat\n000003,dog\n")
    assert "rows 2, 3: ids '000001', '000001.jpg' are one file" in refusal(tmp_path, CSV_LABELED)


def test_an_unknown_column_names_the_nearest(tmp_path, listed):
    text = refusal(tmp_path, 'labeled = { csv = "train.csv", images = "images", label = "lable" }')
    assert "no column 'lable'; did you mean 'label'?" in text and "[data] labeled.label" in text


def test_a_row_with_too_few_cells_is_refused(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,cat\n000002\n")
    assert "row 3: 1 cells where the header has 2" in refusal(tmp_path, CSV_LABELED)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_of_another_separator_is_read_by_it(tmp_path, listed, separator):
    text = (listed / "train.csv").read_text()
    expected = read(tmp_path, CSV_LABELED)
    write(listed / "train.csv", text.replace(",", separator))
    assert read(tmp_path, CSV_LABELED).equals(expected)


@pytest.mark.parametrize(
    ("text", "cause"), [("", "empty"), ("id,label\n", "a header and no rows"), ('id\n"a', "not CSV")]
)
def test_a_csv_without_rows_is_refused(tmp_path, listed, text, cause):
    write(listed / "train.csv", text)
    assert cause in refusal(tmp_path, CSV_LABELED)


def test_a_missing_csv_names_its_key(tmp_path, listed):
    text = refusal(tmp_path, 'labeled = { csv = "trian.csv", images = "images" }')
    assert "[data] labeled.csv = 'trian.csv'" in text and "did you mean 'train.csv'" in text


def test_files_that_no_row_names_are_listed(tmp_path, listed):
    touch(listed, "images/stray.jpg", "images/notes.txt")
    competition = competition_of(tmp_path, CSV_LABELED)
    unnamed = list_unnamed(competition, read_table(competition)["path"])
    assert [Path(path).name for path in unnamed] == ["stray.jpg"]


def test_class_folders_have_no_unnamed_files(tmp_path, data):
    competition = competition_of(tmp_path, 'labeled = "train"')
    assert list_unnamed(competition, read_table(competition)["path"]) == []
