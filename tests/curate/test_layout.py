"""The layout of a folder: every one it may have, and that the image table then reads what was shown."""

import io
import tarfile

import pytest
from support.folders import touch, write, zip_files

from kit.config.data import Listing
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.start import write_competition
from kit.curate.start.layout import infer_layout
from kit.data.table import read_classes, read_table

CLASS_FOLDERS = ["cat/1.jpg", "cat/2.png", "dog/3.JPG", "dog/4.webp"]
LABELS = "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n"


def below(folder, names):
    return [f"{folder}/{name}" for name in names]


def counts_of(layout, tmp_path):
    """Write the competition, read it back, and count its images by split."""
    workspace = Workspace(tmp_path)
    home = write_competition("first", layout, tmp_path / "competitions", workspace=workspace)
    table = read_table(read_competition(str(home), workspace))
    assert read_classes(table) == layout.classes
    counts = table["split"].value_counts()
    return tuple(int(counts.get(split, 0)) for split in ("labeled", "unlabeled", "test"))


def check(layout, tmp_path, expected):
    """The counts shown are those that the image table then has."""
    assert tuple(layout.counts[split] for split in ("labeled", "unlabeled", "test")) == expected
    assert counts_of(layout, tmp_path) == expected


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data" / "pets"


# --- layouts


def test_class_folders_pool_and_test_are_found(tmp_path, data):
    touch(data, *below("train", CLASS_FOLDERS), "unlabelled/5.jpg", "test_images/6.jpg")
    (data / "sample_submission.csv").write_text("id,label\n6,cat\n")
    layout = infer_layout(data)
    assert (layout.labeled, layout.unlabeled, layout.test) == ("train", "unlabelled", "test_images")
    assert (layout.classes, layout.sample_submission) == (("cat", "dog"), "sample_submission.csv")
    check(layout, tmp_path, (4, 1, 1))


def test_the_folder_itself_may_hold_the_class_folders(tmp_path, data):
    touch(data, *CLASS_FOLDERS, "test/5.jpg")
    layout = infer_layout(data)
    assert layout.labeled == "."
    check(layout, tmp_path, (4, 0, 1))


@pytest.mark.parametrize("wrap", ["train/train", "pets/train", "a/b/c", "images"])
def test_nested_single_folders_are_entered(tmp_path, data, wrap):
    touch(data, *below(wrap, CLASS_FOLDERS))
    layout = infer_layout(data)
    assert layout.labeled == wrap
    check(layout, tmp_path, (4, 0, 0))


def test_a_pool_inside_the_training_folder_is_found(tmp_path, data):
    touch(data, *below("training/labeled", CLASS_FOLDERS), "training/unlabeled/00/5.jpg", "testing/6.jpg")
    layout = infer_layout(data)
    assert (layout.labeled, layout.unlabeled, layout.test) == ("training/labeled", "training/unlabeled", "testing")
    check(layout, tmp_path, (4, 1, 1))


def test_several_pools_are_kept(tmp_path, data):
    touch(data, *below("train", CLASS_FOLDERS), "unlabeled_1/5.jpg", "unlabeled_2/5.jpg", "extra/6.jpg")
    layout = infer_layout(data)
    assert layout.unlabeled == ("extra", "unlabeled_1", "unlabeled_2")
    check(layout, tmp_path, (4, 3, 0))


def test_classes_named_like_a_role_stay_classes(data):
    touch(data, *below("train", ["test_tube/1.jpg", "test_tube/2.jpg", "extra/3.jpg", "extra/4.jpg"]))
    assert infer_layout(data).classes == ("extra", "test_tube")


def test_a_csv_beside_the_images_labels_them(tmp_path, data):
    touch(data, *(f"train_images/{i}.jpg" for i in range(1, 5)), "test_images/5.jpg")
    (data / "train.csv").write_text("x,Image_ID,Label\n0,1.jpg,NA\n0,2.jpg,NA\n0,3.jpg,dog \n0,4.jpg,dog \n")
    layout = infer_layout(data)
    assert layout.labeled == Listing(csv="train.csv", images="train_images", id="Image_ID", label="Label")
    assert layout.classes == ("NA", "dog ")
    check(layout, tmp_path, (4, 0, 1))


def test_two_columns_of_any_name_are_id_and_label(tmp_path, data):
    touch(data, *(f"train/{i}.jpg" for i in range(1, 5)))
    (data / "labels.csv").write_text(LABELS.replace("id,label", "photo,breed of dog"))
    check(infer_layout(data), tmp_path, (4, 0, 0))


def test_one_folder_of_images_is_parted_by_the_csvs(tmp_path, data):
    touch(data, *(f"images/{i}.jpg" for i in range(1, 10)))
    (data / "train.csv").write_text(LABELS)
    (data / "test.csv").write_text("id\n5\n6\n")
    layout = infer_layout(data)
    assert (layout.unlabeled, layout.test) == ("images", Listing(csv="test.csv", images="images", id="id"))
    check(layout, tmp_path, (4, 3, 2))


def test_the_sample_submission_lists_the_test_images_where_nothing_else_does(tmp_path, data):
    touch(data, *(f"images/{i}.jpg" for i in range(1, 7)))
    (data / "train.csv").write_text(LABELS)
    (data / "sampleSubmission.csv").write_text("id,label\n5,cat\n6,cat\n")
    layout = infer_layout(data)
    assert layout.test == Listing(csv="sampleSubmission.csv", images="images", id="id")
    check(layout, tmp_path, (4, 0, 2))


def test_equal_names_in_train_and_test_are_told_apart(tmp_path, data):
    touch(data, *(f"{folder}/{i}.jpg" for i in range(1, 5) for folder in ("train", "test")))
    (data / "train.csv").write_text(LABELS)
    layout = infer_layout(data)
    assert layout.labeled.images == "train"
    check(layout, tmp_path, (4, 0, 4))


def test_ids_of_labelled_images_are_never_taken_for_test(data):
    touch(data, *below("train", CLASS_FOLDERS))
    (data / "sample_submission.csv").write_text("id,label\n1,cat\n2,cat\n")
    assert infer_layout(data).test is None


def test_class_folders_win_over_a_csv_that_says_the_same(data):
    touch(data, *below("train", CLASS_FOLDERS))
    (data / "train.csv").write_text("path,label\ncat/1.jpg,cat\ncat/2.png,cat\ndog/3.JPG,dog\ndog/4.webp,dog\n")
    assert infer_layout(data).labeled == "train"


def test_a_csv_wins_over_folders_that_are_no_classes(data):
    touch(data, *below("train", ["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"]))
    (data / "train.csv").write_text("path,label\na/1.jpg,cat\na/2.jpg,dog\nb/3.jpg,cat\nb/4.jpg,dog\n")
    assert infer_layout(data).classes == ("cat", "dog")


def test_a_solution_is_kept_and_labels_nothing(data):
    touch(data, *below("train", CLASS_FOLDERS), "test/5.jpg", "test/6.jpg", "test/7.jpg")
    (data / "solution.csv").write_text("id,label\n5,cat\n6,dog\n7,dog\n")
    layout = infer_layout(data)
    assert (layout.labeled, layout.solution) == ("train", "solution.csv")


def test_validation_images_are_shown_and_not_used(tmp_path, data):
    touch(data, *below("train", CLASS_FOLDERS), *below("valid", CLASS_FOLDERS))
    layout = infer_layout(data)
    assert (layout.validation, layout.counts["validation"]) == (("valid",), 4)
    check(layout, tmp_path, (4, 0, 0))


def test_class_folders_beside_validation_images_are_refused(data):
    touch(data, *CLASS_FOLDERS, "valid/cat/5.jpg")
    with pytest.raises(InputError, match=r"beside valid; move the class folders"):
        infer_layout(data)


def test_stray_files_and_hidden_folders_are_no_classes(data):
    touch(data, *below("train", CLASS_FOLDERS), "train/readme.txt", "train/.cache/1.jpg", "__MACOSX/train/cat/1.jpg")
    assert infer_layout(data).classes == ("cat", "dog")


# --- archives


def test_an_archive_given_as_data_is_unpacked(tmp_path, data):
    zip_files(tmp_path / "pets.zip", [*below("pets/train", CLASS_FOLDERS), "pets/test/5.jpg"])
    layout = infer_layout(tmp_path / "pets.zip", unpack_to=data)
    assert layout.root == data / "pets"
    check(layout, tmp_path, (4, 0, 1))


def test_an_archive_alone_in_the_folder_is_unpacked(tmp_path, data):
    zip_files(tmp_path / "given" / "pets.zip", [*below("train", CLASS_FOLDERS), "test/5.jpg"])
    layout = infer_layout(tmp_path / "given", unpack_to=data)
    assert layout.root == data
    check(layout, tmp_path, (4, 0, 1))


def test_a_tar_given_as_data_is_unpacked(tmp_path, data):
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz") as archive:
        for name in below("./train", CLASS_FOLDERS):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    check(infer_layout(tmp_path / "pets.tar.gz", unpack_to=data), tmp_path, (4, 0, 0))


def test_archives_inside_the_folder_are_read_as_folders(tmp_path, data):
    zip_files(data / "train.zip", below("train", CLASS_FOLDERS))
    zip_files(data / "test.zip", ["5.jpg", "__MACOSX/._5.jpg"])
    layout = infer_layout(data)
    assert (layout.labeled, layout.test) == ("train.zip", "test.zip")
    check(layout, tmp_path, (4, 0, 1))


def test_an_archive_unpacked_beside_is_left_alone(tmp_path, data):
    zip_files(data / "train.zip", below("train", CLASS_FOLDERS))
    touch(data, *below("train", CLASS_FOLDERS))
    check(infer_layout(data), tmp_path, (4, 0, 0))


def test_images_deep_inside_an_archive_are_refused_with_the_remedy(data):
    zip_files(data / "all.zip", [*below("train", CLASS_FOLDERS), "test/5.jpg"])
    with pytest.raises(InputError, match=r"--data .*all\.zip"):
        infer_layout(data)


# --- refusals


def test_nothing_there_is_refused(tmp_path, data):
    with pytest.raises(InputError, match="no such folder or archive"):
        infer_layout(data)
    data.mkdir(parents=True)
    with pytest.raises(InputError, match="holds no files"):
        infer_layout(data)


def test_a_folder_without_images_is_refused(data):
    touch(data, "notes.txt", "sub/table.csv")
    with pytest.raises(InputError, match=r"holds no images \(jpg, .*\); found notes\.txt, sub/"):
        infer_layout(data)


def test_images_without_labels_are_refused_with_what_was_looked_for(data):
    touch(data, "train/1.jpg", "train/2.jpg", "readme.txt")
    with pytest.raises(InputError, match=r"no labels found: .*class folders .*CSV.*found readme\.txt, train/"):
        infer_layout(data)


def test_labels_that_cannot_be_read_are_named(data):
    touch(data, "train/1.jpg", "train/2.jpg")
    (data / "train.csv").write_bytes("id,label\n1,café\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"train\.csv: not UTF-8"):
        infer_layout(data)


def test_an_archive_in_a_folder_of_its_own_is_named_whole_in_the_remedy(data):
    zip_files(data / "deep" / "all.zip", [*below("train", CLASS_FOLDERS), "test/5.jpg"])
    with pytest.raises(InputError, match=r"--data .*/pets/deep/all\.zip"):
        infer_layout(data)


def test_a_csv_is_believed_where_folders_beside_validation_images_are_no_classes(tmp_path, data):
    touch(data, "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "valid/5.jpg")
    (data / "train.csv").write_text("path,label\na/1.jpg,cat\nb/3.jpg,cat\na/2.jpg,dog\nb/4.jpg,dog\n")
    check(infer_layout(data), tmp_path, (4, 0, 0))


def test_images_beside_the_class_folders_are_not_counted(tmp_path, data):
    touch(data, *below("train", CLASS_FOLDERS), "train/stray.jpg")
    check(infer_layout(data), tmp_path, (4, 0, 0))


def test_shares_of_raters_become_the_likeliest_class_with_a_sentence(tmp_path, data, capsys):
    touch(data, *(f"train/{i}.jpg" for i in range(4)), "test/9.jpg")
    write(data / "train.csv", "id,smooth,disk\n0,.7,.3\n1,.1,.9\n2,.2,.8\n3,.5,.5\n")
    write(data / "sample_submission.csv", "id,smooth,disk\n9,.5,.5\n")
    layout = infer_layout(data)
    assert (layout.task, layout.metric, layout.labeled.form) == ("multiclass", "log_loss", "shares")
    write_competition("shares", layout, tmp_path / "competitions")
    table = read_table(read_competition("shares", Workspace(tmp_path)))
    labeled = table[table["split"] == "labeled"]
    assert dict(zip(labeled["id"], labeled["label"], strict=True)) == {
        "0": "smooth",
        "1": "disk",
        "2": "disk",
        "3": "smooth",
    }
    told = " ".join(capsys.readouterr().err.split())
    assert "the class of the largest share, 0.75 in the median; below one half it is in 0 of 4 rows" in told
    write(data / "train.csv", "id,smooth,disk,star\n0,.7,.9,.1\n1,.1,.6,.3\n2,.2,.3,.5\n3,.4,.3,.3\n")
    with pytest.raises(InputError, match=r"add up to 0\.5 to 1\.6 a row: they answer several questions"):
        infer_layout(data)


@pytest.mark.parametrize(
    ("files", "ids", "cause"),
    [
        (
            ["0_1", "0_2", "1_1", "1_2"],
            ["0", "1"],
            "'0' has several images, 'train/0_1.jpg', 'train/0_2.* side by",
        ),
        (["im0", "im1"], ["im0_cat", "im0_dog", "im1_cat", "im1_dog"], "'im0_cat' is an image and a class in one"),
    ],
)
def test_ids_that_name_no_image_by_themselves_are_explained(data, files, ids, cause):
    touch(data, *(f"train/{name}.jpg" for name in files))
    rows = "".join(f"{image_id},{'cd'[n % 2]}\n" for n, image_id in enumerate(ids))
    write(data / "train.csv", f"id,label\n{rows}")
    with pytest.raises(InputError, match=cause):
        infer_layout(data)
