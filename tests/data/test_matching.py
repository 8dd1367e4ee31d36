"""Ids and the files they mean, however either is written: matched where one image fits, said, else refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.folders import read, refusal, shown, touch, write

from kit.data.table.matching import match_images, nearest_file

NUMBERED = [f"images/{i:05d}.JPG" for i in range(1, 7)]
DATA = 'labeled = { csv = "train.csv", images = "images" }'


def lay_out(tmp_path: Path, files: list[str], ids: list[str]) -> None:
    """Write images of one byte, and a CSV that labels ids in turn."""
    for name in files:
        touch(tmp_path / "data", name)
        (tmp_path / "data" / name).write_bytes(b"x")
    rows = "".join(f'"{image_id}",{"ab"[n % 2]}\n' for n, image_id in enumerate(ids))
    write(tmp_path / "data" / "train.csv", f"id,label\n{rows}")


def read_files(tmp_path: Path, data: str = DATA) -> dict[str, str]:
    """Return the file of every id, below the data folder."""
    table = read(tmp_path, data)
    root = f"{(tmp_path / 'data').resolve()}/"
    return {image_id: path.removeprefix(root) for image_id, path in zip(table["id"], table["path"], strict=True)}


@pytest.mark.parametrize(
    ("form", "how"),
    [
        ("{:05d}", ""),
        ("{:05d}.JPG", ""),
        ("{:05d}.png", "suffix, spaces or slashes"),
        (" {:05d} ", "suffix, spaces or slashes"),
        ("./{:05d}.jpg", "suffix, spaces or slashes"),
        ("images/{:05d}.jpg", "folder"),
        ("images\\{:05d}.jpg", "folder"),
        ("/kaggle/input/comp/images/{:05d}.jpg", "folder"),
        ("{}", "number"),
        ("{}.0", "number"),
        ("{:08d}.jpg", "number"),
    ],
)
def test_an_id_is_matched_however_it_is_written(tmp_path, capsys, form, how):
    ids = [form.format(i) for i in range(1, 7)]
    lay_out(tmp_path, NUMBERED, ids)
    assert read_files(tmp_path) == dict(zip(ids, NUMBERED, strict=True))
    assert (f"were matched, 6 by {how}: " in shown(capsys)) == bool(how)


def test_case_matters_only_where_nothing_fits_otherwise(tmp_path, capsys):
    files = [f"images/{name}.png" for name in ("ABC", "abc", "D", "e")]
    lay_out(tmp_path, files, ["abc", "ABC", "d", "E.PNG"])
    assert read_files(tmp_path) == {
        "abc": "images/abc.png", "ABC": "images/ABC.png", "d": "images/D.png", "E.PNG": "images/e.png",
    }  # fmt: skip
    assert "matched, 2 by case" in shown(capsys)


def test_two_files_that_fit_alike_are_refused_naming_both(tmp_path):
    lay_out(tmp_path, ["images/ABC.png", "images/abc.png", "images/d.png", "images/e.png"], ["Abc", "d", "e"])
    text = refusal(tmp_path, DATA)
    assert "train.csv: row 2: id 'Abc' fits ABC.png, abc.png" in text and "name its folder (labeled.images)" in text


def test_a_file_that_an_id_names_is_not_lent_to_another(tmp_path, capsys):
    lay_out(tmp_path, [f"images/{i}.png" for i in range(1, 5)], ["1", "2", "3", "4", "01"])
    assert read_files(tmp_path) == {str(i): f"images/{i}.png" for i in range(1, 5)}
    assert "no image in" in (text := shown(capsys)) and "for '01' (row 6); the nearest file is '1.png'" in text


def test_an_id_of_a_folder_is_not_found_in_another(tmp_path, capsys):
    files = [f"train/{i}.jpg" for i in range(1, 6)] + [f"test/{i}.jpg" for i in range(6)]
    lay_out(tmp_path, files, [f"train/{i}.jpg" for i in range(6)])
    assert set(read_files(tmp_path, 'labeled = { csv = "train.csv" }').values()) == set(files[:5])
    assert "for 'train/0.jpg' (row 2); the nearest file is 'test/0.jpg'" in shown(capsys)


def test_images_are_searched_deeply_and_in_several_folders(tmp_path):
    files = [f"a/{i % 3}/{i}.png" for i in range(4)] + [f"b/deep/er/{i}.png" for i in range(4, 8)]
    lay_out(tmp_path, files, list("01234567"))
    data = 'labeled = { csv = "train.csv", images = ["a", "b"] }'
    assert read_files(tmp_path, data) == {str(i): name for i, name in enumerate(files)}


def test_of_several_files_the_readable_one_in_the_fullest_folder_is_taken(tmp_path, capsys):
    jpegs = [f"jpeg/train/{i}.jpg" for i in range(6)]
    lay_out(tmp_path, [*jpegs, "train/0.dcm", "train/1.dcm", "thumbs/2.jpg", "more/3.jpg"], list("012345"))
    (tmp_path / "data" / "more" / "3.jpg").write_bytes(b"")
    assert list(read_files(tmp_path, 'labeled = { csv = "train.csv" }').values()) == jpegs
    assert "the readable one in the folder that holds most was taken: 4 ids, '0' is" in shown(capsys)


def test_two_folders_that_hold_the_same_are_refused_naming_both(tmp_path):
    lay_out(tmp_path, [f"{folder}/{i}.jpg" for folder in "ab" for i in range(4)], list("0123"))
    assert "id '0' fits a/0.jpg, b/0.jpg" in refusal(tmp_path, 'labeled = { csv = "train.csv" }')


def test_another_unicode_form_is_the_same_name():
    files = [("d", "caf\u00e9.png"), ("d", "the.png")]
    assert match_images(["cafe\u0301", "th\u00e9"], files).paths == ["d/caf\u00e9.png", None]


def test_the_nearest_file_is_told_among_very_many():
    files = [("d", f"{i:06d}.jpg") for i in range(50_000)] + [("d", "notes.txt")]
    assert nearest_file("x/04999x.png", files) == "049999.jpg" and nearest_file("a", []) is None
    assert nearest_file("NOTES", files) is not None


def test_the_file_may_stand_in_another_column_than_the_id(tmp_path):
    touch(tmp_path / "data", *(f"images/0/test-{i:04d}.jpg" for i in range(4)))
    rows = "".join(f"{i},0/test-{i:04d}.jpg,{'ab'[i % 2]}\n" for i in range(4))
    write(tmp_path / "data" / "train.csv", f"id,file_name,label\n{rows}")
    files = read_files(tmp_path, 'labeled = { csv = "train.csv", images = "images", file = "file_name" }')
    assert files == {str(i): f"images/0/test-{i:04d}.jpg" for i in range(4)}
