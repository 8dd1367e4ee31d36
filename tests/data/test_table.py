"""The image table: what silently goes wrong between a folder of files and the first model."""

import os

import pytest
from support.folders import CSV_LABELED, competition_of, of, read, refusal, shown, tar_files, touch, write, zip_files

from kit.core.errors import InputError
from kit.data.table import TABLE_COLUMNS, read_classes, read_table

# --- folders


def test_rows_are_ordered_by_split_and_id(tmp_path, data):
    touch(data, "unlabeled/9.jpg", "unlabeled/10.jpg", "test/b.png", "test/a.png")
    table = read(tmp_path, 'test = "test"', 'labeled = "train"', 'unlabeled = "unlabeled"')
    assert list(table.columns) == TABLE_COLUMNS
    assert table["id"].tolist() == ["000001", "000002", "000003", "000004", "10", "9", "a", "b"]
    assert table["split"].tolist() == ["labeled"] * 4 + ["unlabeled"] * 2 + ["test"] * 2
    assert table.index.tolist() == list(range(8))


def test_cells_are_text_or_none(tmp_path, data):
    touch(data, "test/7.jpg")
    table = read(tmp_path, 'labeled = "train"', 'test = "test"')
    assert all(type(value) is str for value in table["id"])
    assert table["label"].tolist() == ["cat", "cat", "dog", "dog", None]
    assert table["group"].tolist() == [None] * 5
    assert all(os.path.isabs(path) and os.path.isfile(path) for path in table["path"])  # noqa: PTH113, PTH117


def test_class_folders_are_found_below_the_data_folder_itself(tmp_path):
    touch(tmp_path / "data", "cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg", "test/5.jpg")
    table = read(tmp_path, 'labeled = "."', 'test = "test"')
    assert read_classes(table) == ("cat", "dog")


def test_class_folders_are_searched_deeply(tmp_path, data):
    touch(data, "train/cat/more/still/000009.webp")
    table = read(tmp_path, 'labeled = "train"')
    assert table.loc[table["id"] == "000009", "label"].item() == "cat"


def test_a_class_ending_in_a_space_keeps_it(tmp_path, data):
    touch(data, "train/vintage /a.jpg", "train/vintage /b.jpg")
    assert "vintage " in read_classes(read(tmp_path, 'labeled = "train"'))


def test_spaces_and_unicode_in_paths_are_kept(tmp_path):
    touch(tmp_path / "data", "mes données/chat noir/é 1.jpg", "mes données/chat noir/2.jpg")
    touch(tmp_path / "data", "mes données/犬/3.jpg", "mes données/犬/4.jpg")
    table = read(tmp_path, 'labeled = "mes données"')
    assert read_classes(table) == ("chat noir", "犬")
    assert "é 1" in table["id"].tolist()


def test_a_stray_file_never_shifts_the_classes(tmp_path, data):
    touch(data, "train/README.txt", "train/.DS_Store", "train/Thumbs.db", "train/aaa.jpg", "train/cat/notes.txt")
    touch(data, "train/.ipynb_checkpoints/x.jpg", "train/__MACOSX/cat/._000001.jpg", "train/cat/._000001.jpg")
    table = read(tmp_path, 'labeled = "train"')
    assert table["id"].tolist() == ["000001", "000002", "000003", "000004"]
    assert read_classes(table) == ("cat", "dog")


def test_ids_take_the_class_when_names_repeat(tmp_path):
    touch(tmp_path / "data", "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/1.jpg", "train/dog/3.jpg")
    table = read(tmp_path, 'labeled = "train"')
    assert table["id"].tolist() == ["cat/1", "cat/2", "dog/1", "dog/3"]


def test_two_suffixes_of_one_name_are_refused(tmp_path, data):
    touch(data, "test/a.png", "test/a.jpg")
    text = refusal(tmp_path, 'labeled = "train"', 'test = "test"')
    assert "a.jpg, a.png" in text and "same id 'a'" in text


def test_several_pool_folders_are_one_pool(tmp_path, data):
    touch(data, "pool/1.jpg", "extra/2.jpg")
    table = read(tmp_path, 'labeled = "train"', 'unlabeled = ["pool", "extra"]')
    assert of(table, "unlabeled")["id"].tolist() == ["1", "2"]


def test_pool_folders_with_the_same_names_lend_theirs(tmp_path, data):
    touch(data, "pool/1.jpg", "extra/1.jpg")
    table = read(tmp_path, 'labeled = "train"', 'unlabeled = ["pool", "extra"]')
    assert of(table, "unlabeled")["id"].tolist() == ["extra/1", "pool/1"]


def test_labelled_and_test_images_are_left_out_of_the_pool(tmp_path, listed):
    touch(listed, "images/5.jpg", "images/6.jpg")
    write(listed / "test.csv", "id\n5\n")
    table = read(tmp_path, CSV_LABELED, 'unlabeled = "images"', 'test = { csv = "test.csv", images = "images" }')
    assert of(table, "unlabeled")["id"].tolist() == ["6"]
    assert len(table) == table["path"].nunique()


def test_a_test_image_whose_label_is_known_is_warned_of(tmp_path, listed, capsys):
    read(tmp_path, CSV_LABELED, 'test = "images"')
    assert "4 test images are labelled ones too" in shown(capsys)


def test_a_link_back_up_does_not_loop(tmp_path, data):
    (data / "train" / "cat" / "up").symlink_to(data / "train")
    assert len(read(tmp_path, 'labeled = "train"')) == 4


def test_a_linked_folder_is_followed(tmp_path, data):
    touch(tmp_path, "elsewhere/1.jpg")
    (data / "test").symlink_to(tmp_path / "elsewhere")
    assert len(of(read(tmp_path, 'labeled = "train"', 'test = "test"'), "test")) == 1


# --- refusals of folders


def test_a_missing_data_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"root = 'data'.*\./run\.sh download some-slug"):
        read_table(competition_of(tmp_path, 'labeled = "train"', slug="some-slug"))
    assert "put the competition's files there" in refusal(tmp_path, 'labeled = "train"')


def test_a_missing_folder_names_its_key_and_the_nearest(tmp_path, data):
    touch(data, "test/1.jpg")
    text = refusal(tmp_path, 'labeled = "train"', 'test = "tets"')
    assert "[data] test = 'tets'" in text and "did you mean 'test'" in text


def test_a_missing_inner_folder_names_what_lies_there(tmp_path, data):
    assert "'dogs' is not in" in refusal(tmp_path, 'labeled = "train/dogs/all"')


def test_an_empty_class_folder_is_refused_by_name(tmp_path, data):
    (data / "train" / "ferret").mkdir()
    assert "class folder 'ferret'" in refusal(tmp_path, 'labeled = "train"')


def test_a_labelled_folder_without_class_folders_is_refused_with_the_remedy(tmp_path):
    touch(tmp_path / "data", "train/1.jpg", "train/2.jpg")
    text = refusal(tmp_path, 'labeled = "train"')
    assert "holds 2 images but no class folders" in text and 'labeled = { csv = "train.csv", images = "train" }' in text


def test_an_empty_folder_is_refused(tmp_path, data):
    (data / "test").mkdir()
    assert "holds no images" in refusal(tmp_path, 'labeled = "train"', 'test = "test"')
    (data / "none").mkdir()
    assert "none is empty" in refusal(tmp_path, 'labeled = "none"')


def test_a_nested_single_folder_is_refused_with_the_remedy(tmp_path):
    touch(tmp_path / "data", "train/train/cat/1.jpg", "train/train/dog/2.jpg")
    assert 'write labeled = "train/train"' in refusal(tmp_path, 'labeled = "train"')


def test_a_class_with_one_image_is_kept_unless_too_few_are_left_to_score(tmp_path, data):
    touch(data, "train/ferret/9.jpg")
    assert read_classes(read(tmp_path, 'labeled = "train"')) == ("cat", "dog", "ferret")
    (data / "train" / "dog" / "000004.JPEG").unlink()
    assert "class 'dog', 'ferret' has one image; cross-validation needs two classes" in refusal(
        tmp_path, 'labeled = "train"'
    )


def test_classes_differing_in_case_or_spaces_are_warned_of(tmp_path, data, capsys):
    touch(data, "train/Cat /8.jpg", "train/Cat /9.jpg")
    assert read_classes(read(tmp_path, 'labeled = "train"')) == ("Cat ", "cat", "dog")
    assert "'Cat ', 'cat' differ in case or outer spaces only" in shown(capsys)


def test_a_csv_given_as_a_folder_is_refused_with_the_remedy(tmp_path, data):
    write(data / "test.csv", "id\n1\n")
    assert 'test = { csv = "test.csv"' in refusal(tmp_path, 'labeled = "train"', 'test = "test.csv"')


# --- archives


@pytest.mark.parametrize("name", ["train.zip", "train.tar", "train.tar.gz", "train.tgz", "train.tar.xz", "TRAIN.ZIP"])
def test_archives_are_read_like_folders(tmp_path, name):
    names = ["train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "train/dog/4.jpg", "__MACOSX/train/._1.jpg"]
    modes = {"gz": "w:gz", "tgz": "w:gz", "xz": "w:xz"}
    archive = tmp_path / "data" / name
    if name.lower().endswith("zip"):
        zip_files(archive, names)
    else:
        tar_files(archive, names, modes.get(name.rpartition(".")[2], "w"))
    table = read(tmp_path, f'labeled = "{name}"')
    assert table["id"].tolist() == ["1", "2", "3", "4"]
    assert read_classes(table) == ("cat", "dog")
    assert table["path"].str.startswith(str(tmp_path / "runs" / "comp" / "unpacked")).all()


def test_an_archive_is_unpacked_once_and_again_when_it_changes(tmp_path, data):
    zip_files(data / "test.zip", ["1.jpg"])
    first = read(tmp_path, 'labeled = "train"', 'test = "test.zip"')
    again = read(tmp_path, 'labeled = "train"', 'test = "test.zip"')
    assert first["path"].tolist() == again["path"].tolist()
    zip_files(data / "test.zip", ["1.jpg", "2.jpg"])
    assert len(of(read(tmp_path, 'labeled = "train"', 'test = "test.zip"'), "test")) == 2


@pytest.mark.parametrize("name", ["test.zip", "test.tar.xz", "test.tgz"])
def test_an_archive_cut_short_is_refused(tmp_path, data, name):
    whole = tmp_path / name
    names = [f"{i:05d}.jpg" for i in range(500)]
    if name.endswith(".zip"):
        zip_files(whole, names)
    else:
        tar_files(whole, names, "w:xz" if name.endswith("xz") else "w:gz")
    (data / name).write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert f"{name}: cannot be unpacked" in refusal(tmp_path, 'labeled = "train"', f'test = "{name}"')
    assert not list((tmp_path / "runs" / "comp" / "unpacked").glob("*"))
