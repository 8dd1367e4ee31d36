"""The image table: what silently goes wrong between a folder of files and the first model."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from kit.competition import read_competition
from kit.errors import InputError
from kit.files import Workspace
from kit.table import COLUMNS, read_classes, read_csv, read_embeddings, read_table, scan_files

CSV_LABELED = 'labeled = { csv = "train.csv", images = "images" }'


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def zip_files(archive, names):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for name in names:
            opened.writestr(name, b"")


def tar_files(archive, names, mode="w"):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode) as opened:
        for name in names:
            opened.addfile(tarfile.TarInfo(name), io.BytesIO(b""))


def competition(tmp_path, *data, slug=None):
    facts = '[competition]\ntitle = "t"\n' + (f'slug = "{slug}"\n' if slug else "")
    text = facts + '[data]\nroot = "data"\n' + "\n".join(data) + "\n"
    write(tmp_path / "comp" / "competition.toml", text)
    return read_competition(str(tmp_path / "comp"), Workspace(tmp_path))


def read(tmp_path, *data):
    return read_table(competition(tmp_path, *data))


def refusal(tmp_path, *data):
    with pytest.raises(InputError) as refused:
        read(tmp_path, *data)
    return str(refused.value)


def of(table, split):
    return table[table["split"] == split]


def shown(capsys):
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def data(tmp_path):
    """Two classes of two images, as class folders."""
    root = tmp_path / "data"
    touch(root, "train/cat/000001.jpg", "train/cat/000002.jpg", "train/dog/000003.png", "train/dog/000004.JPEG")
    return root


@pytest.fixture
def listed(tmp_path):
    """Four images in one folder, labelled by a CSV."""
    root = tmp_path / "data"
    touch(root, *(f"images/00000{i}.jpg" for i in range(1, 5)))
    write(root / "train.csv", "id,label\n000003,dog\n000001,cat\n000002,cat\n000004,dog\n")
    return root


# --- folders


def test_rows_are_ordered_by_split_and_id(tmp_path, data):
    touch(data, "unlabeled/9.jpg", "unlabeled/10.jpg", "test/b.png", "test/a.png")
    table = read(tmp_path, 'test = "test"', 'labeled = "train"', 'unlabeled = "unlabeled"')
    assert list(table.columns) == COLUMNS
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


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    with pytest.raises(InputError, match=r"caf\\xe9.jpg is not UTF-8; rename it"):
        scan_files(tmp_path)


# --- refusals of folders


def test_a_missing_data_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"root = 'data'.*\./run\.sh download some-slug"):
        read_table(competition(tmp_path, 'labeled = "train"', slug="some-slug"))
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


def test_a_class_with_one_image_is_refused_by_name(tmp_path, data):
    touch(data, "train/ferret/9.jpg")
    assert "class 'ferret' has one image" in refusal(tmp_path, 'labeled = "train"')


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


# --- listings


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


def test_rows_are_counted_as_an_editor_counts_them(tmp_path):
    write(tmp_path / "a.csv", 'id,label\n1,"two\nlines"\n\n2,x\n')
    assert read_csv(tmp_path / "a.csv").index.tolist() == [2, 5]


def test_an_empty_label_is_refused_with_its_row(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,cat\n000002, \n")
    assert "train.csv: row 3: the label is empty" in refusal(tmp_path, CSV_LABELED)


def test_a_missing_file_is_refused_with_its_row_and_folder(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,cat\n000002,cat\n999,dog\n998,dog\n")
    text = refusal(tmp_path, CSV_LABELED)
    assert f"no image in {listed / 'images'} for '999' (row 4), '998' (row 5)" in text


def test_a_missing_file_that_lies_elsewhere_is_hinted_at(tmp_path, listed):
    touch(listed, "images/deep/999.png")
    write(listed / "train.csv", "id,label\n000001,cat\n000002,cat\n999.jpg,dog\n")
    assert "there is 'deep/999.png'" in refusal(tmp_path, CSV_LABELED)


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


def test_a_csv_with_semicolons_is_refused(tmp_path, listed):
    write(listed / "train.csv", "id;label\n000001;cat\n")
    assert "is it separated by commas?" in refusal(tmp_path, CSV_LABELED)


@pytest.mark.parametrize(
    ("text", "cause"), [("", "empty"), ("id,label\n", "a header and no rows"), ('id\n"a', "not CSV")]
)
def test_a_csv_without_rows_is_refused(tmp_path, listed, text, cause):
    write(listed / "train.csv", text)
    assert cause in refusal(tmp_path, CSV_LABELED)


def test_a_missing_csv_names_its_key(tmp_path, listed):
    text = refusal(tmp_path, 'labeled = { csv = "trian.csv", images = "images" }')
    assert "[data] labeled.csv = 'trian.csv'" in text and "did you mean 'train.csv'" in text


# --- embeddings


def embeddings_of(tmp_path, values, *data):
    np.save(tmp_path / "data" / "embeddings.npy", values)
    given = competition(tmp_path, 'embeddings = "embeddings.npy"', *data)
    table = read_table(given)
    return table, read_embeddings(given, table)


@pytest.fixture
def pool_keys(data):
    touch(data, "pool/1.jpg", "pool/2.jpg", "pool/3.jpg")
    write(data / "pool.csv", "id\n3\n1\n2\n")
    return 'labeled = "train"', 'unlabeled = { csv = "pool.csv", images = "pool" }'


def test_embeddings_follow_the_listing_not_the_row_order(tmp_path, pool_keys):
    table, embeddings = embeddings_of(tmp_path, np.array([[3.0], [1.0], [2.0]]), *pool_keys)
    assert embeddings.dtype == np.float32 and embeddings.shape == (7, 1)
    pool = table["split"] == "unlabeled"
    assert dict(zip(table["id"][pool], embeddings[pool, 0], strict=True)) == {"1": 1, "2": 2, "3": 3}
    assert np.isnan(embeddings[~pool]).all()


def test_embeddings_of_a_listed_labelled_image_are_found_by_its_file(tmp_path, listed):
    touch(listed, "images/5.jpg")
    write(listed / "all.csv", "id\n5\n000002\n000001\n")
    pool = 'unlabeled = { csv = "all.csv", images = "images" }'
    _, embeddings = embeddings_of(tmp_path, np.array([[5.0], [2.0], [1.0]]), CSV_LABELED, pool)
    assert np.array_equal(embeddings[:, 0], [1, 2, np.nan, np.nan, 5], equal_nan=True)


def test_embeddings_of_the_whole_table_are_taken_as_they_are(tmp_path, pool_keys):
    values = np.arange(1, 15, dtype=np.float32).reshape(7, 2)
    assert np.array_equal(embeddings_of(tmp_path, values, *pool_keys)[1], values)


def test_embeddings_of_another_number_of_rows_are_refused_with_both_counts(tmp_path, pool_keys):
    with pytest.raises(InputError, match=r"5 rows for 7 images in the table or 3 rows in pool\.csv"):
        embeddings_of(tmp_path, np.ones((5, 2)), *pool_keys)


@pytest.mark.parametrize(("value", "cause"), [(0.0, "all zero"), (np.nan, "not finite")])
def test_an_embedding_that_says_nothing_is_refused_with_its_row(tmp_path, pool_keys, value, cause):
    values = np.ones((3, 2))
    values[1] = value
    with pytest.raises(InputError, match=rf"row 1 \(counted from 0\) is {cause}"):
        embeddings_of(tmp_path, values, *pool_keys)


def test_a_pickled_array_is_refused(tmp_path, pool_keys):
    with pytest.raises(InputError, match=r"not an array in numpy's \.npy form"):
        embeddings_of(tmp_path, np.array([[{}], [1], [2]], dtype=object), *pool_keys)


def test_no_embeddings_are_none(tmp_path, data):
    given = competition(tmp_path, 'labeled = "train"')
    assert read_embeddings(given, read_table(given)) is None
