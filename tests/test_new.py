"""The first competition.toml: every layout a folder may have, read back by what reads competitions."""

import io
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from kit.competition import Listing, read_competition
from kit.errors import InputError
from kit.files import Workspace
from kit.new import describe, infer_layout, read_slug, toml_text, write_competition
from kit.table import read_classes, read_table

CLASS_FOLDERS = ["cat/1.jpg", "cat/2.png", "dog/3.JPG", "dog/4.webp"]
LABELS = "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


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


def zipped(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


def test_an_archive_given_as_data_is_unpacked(tmp_path, data):
    names = [*below("pets/train", CLASS_FOLDERS), "pets/test/5.jpg"]
    layout = infer_layout(zipped(tmp_path / "pets.zip", names), unpack_to=data)
    assert layout.root == data / "pets"
    check(layout, tmp_path, (4, 0, 1))


def test_a_tar_given_as_data_is_unpacked(tmp_path, data):
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz") as archive:
        for name in below("./train", CLASS_FOLDERS):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    check(infer_layout(tmp_path / "pets.tar.gz", unpack_to=data), tmp_path, (4, 0, 0))


def test_archives_inside_the_folder_are_read_as_folders(tmp_path, data):
    zipped(data / "train.zip", below("train", CLASS_FOLDERS))
    zipped(data / "test.zip", ["5.jpg", "__MACOSX/._5.jpg"])
    layout = infer_layout(data)
    assert (layout.labeled, layout.test) == ("train.zip", "test.zip")
    check(layout, tmp_path, (4, 0, 1))


def test_an_archive_unpacked_beside_is_left_alone(tmp_path, data):
    zipped(data / "train.zip", below("train", CLASS_FOLDERS))
    touch(data, *below("train", CLASS_FOLDERS))
    check(infer_layout(data), tmp_path, (4, 0, 0))


def test_images_deep_inside_an_archive_are_refused_with_the_remedy(data):
    zipped(data / "all.zip", [*below("train", CLASS_FOLDERS), "test/5.jpg"])
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


# --- what is written


@pytest.fixture
def layout(data):
    return infer_layout(touch(data, *below("train", CLASS_FOLDERS), "extra/5.jpg", "test/6.jpg"))


def test_the_written_competition_has_runs_that_work_offline_and_an_ensemble(tmp_path, layout):
    home = write_competition("pets", layout, tmp_path / "competitions", workspace=Workspace(tmp_path))
    competition = read_competition("pets", Workspace(tmp_path))
    assert home == tmp_path / "competitions" / "pets"
    assert (competition.runs["forest"].model, competition.runs["svm"].model) == ("forest", "svm")
    assert competition.runs["probe_pseudo"].pseudo.teachers == ["probe", "wise_ft"]
    assert competition.members == list(competition.runs)


def test_without_a_pool_nothing_learns_from_one(tmp_path, data):
    layout = infer_layout(touch(data, *below("train", CLASS_FOLDERS)))
    write_competition("pets", layout, tmp_path / "competitions")
    assert "probe_pseudo" not in read_competition("pets", Workspace(tmp_path)).runs


def test_data_inside_the_workspace_are_named_relative_to_it(tmp_path, layout):
    write_competition("pets", layout, tmp_path / "competitions", workspace=Workspace(tmp_path))
    assert read_competition("pets", Workspace(tmp_path)).data.root == "data/pets"


def test_odd_paths_and_classes_survive_the_file(tmp_path):
    data = tmp_path / 'my "data" \\ été 😀'
    touch(data, *below("train set", ['a "b" \\/1.jpg', 'a "b" \\/2.jpg', "犬\x7f/3.jpg", "犬\x7f/4.jpg"]))
    layout = infer_layout(data)
    home = write_competition("odd", layout, tmp_path / "ws" / "competitions", workspace=Workspace(tmp_path / "ws"))
    competition = read_competition("odd", Workspace(tmp_path / "ws"))
    assert Path(competition.data.root) == data
    assert read_classes(read_table(competition)) == ('a "b" \\', "犬\x7f")
    assert set(tomllib.loads((home / "prompts" / "first.toml").read_text("utf-8"))["words"]) == set(layout.classes)


def test_prompt_words_are_spoken_and_never_shared(tmp_path, data):
    names = ["school_bus", "pick-up", "a_b", "a-b", "_"]
    layout = infer_layout(touch(data, *(f"train/{name}/{i}.jpg" for name in names for i in range(2))))
    home = write_competition("pets", layout, tmp_path / "competitions")
    prompts = tomllib.loads((home / "prompts" / "first.toml").read_text("utf-8"))
    words = {name: [word] for name, word in zip(names, ["school bus", "pick up", "a_b", "a-b", "_"], strict=True)}
    assert prompts["words"] == words
    assert all(template.count("{}") == 1 for template in prompts["templates"])


def test_the_same_competition_may_be_written_again_and_words_are_kept(tmp_path, layout):
    home = write_competition("pets", layout, tmp_path / "competitions")
    (home / "prompts" / "first.toml").write_text("# better words")
    write_competition("pets", layout, tmp_path / "competitions")
    assert (home / "prompts" / "first.toml").read_text() == "# better words"


def test_another_competition_of_that_name_is_refused(tmp_path, layout):
    write_competition("pets", layout, tmp_path / "competitions")
    with pytest.raises(InputError, match=r"competition\.toml is there already and says something else"):
        write_competition("pets", layout, tmp_path / "competitions", slug="other")


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", "-x", "été"])
def test_names_that_are_no_folder_names_are_refused(tmp_path, layout, name):
    with pytest.raises(InputError, match="is no name for a competition"):
        write_competition(name, layout, tmp_path / "competitions")


@pytest.mark.parametrize(
    "text",
    [
        "digit-recognizer",
        "https://www.kaggle.com/competitions/digit-recognizer/data?x=1",
        "kaggle.com/c/digit-recognizer",
    ],
)
def test_a_slug_may_be_an_address(text):
    assert read_slug(text) == "digit-recognizer"


def test_what_is_no_slug_is_refused():
    with pytest.raises(InputError, match="is no Kaggle competition"):
        read_slug("https://example.org/x y")


@pytest.mark.parametrize("text", ["a", 'quote " and \\', "tab\tline\n\x00\x1f\x7f", "é 犬 😀"])
def test_toml_text_is_read_back_as_it_was(text):
    assert tomllib.loads(f"x = {toml_text(text)}\n{toml_text(text)} = 1") == {"x": text, text: 1}


def test_what_was_understood_is_shown(data):
    touch(data, *below("train", CLASS_FOLDERS), *below("val", CLASS_FOLDERS), "extra/[red].jpg")
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(describe(infer_layout(data)))
    text = console.export_text()
    assert "2 classes: cat, dog" in text and '"extra"' in text and "not used" in text
