"""What `new` takes for what: the evidence, the alternatives, the options that correct it, and what it refuses."""

from __future__ import annotations

import json
import tomllib

import pytest
from support.command import flat
from support.folders import touch, write

from kit.core.errors import InputError
from kit.curate.start import Answers, infer_layout, write_competition
from kit.curate.start.roles import FolderTree, find_roles, role_of

pytestmark = pytest.mark.usefixtures("quick_looks")

TWO_LABELS = "image,species,breed\n1,cat,tabby\n2,cat,siam\n3,dog,tabby\n4,dog,siam\n"


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data" / "pets"


def four_images(data, text=TWO_LABELS, sample=None):
    touch(data, *(f"train/{i}.jpg" for i in range(1, 5)), "test/5.jpg", "test/6.jpg")
    write(data / "train.csv", text)
    if sample:
        write(data / "sample_submission.csv", sample)


@pytest.mark.parametrize(
    "name", ["test_stg1", "test-jpg", "testA", "test_final", "ISIC_2019_Test_Input", "stage1_test"]
)
def test_a_role_is_told_by_a_word_among_fillers(name):
    assert role_of(f"deep/{name}") == "test"


@pytest.mark.parametrize("name", ["test_tube", "images_001", "HAM10000_images_part_1", "contest"])
def test_other_words_tell_no_role(name):
    assert role_of(name) is None


def test_a_class_may_be_called_train_among_classes():
    tree = FolderTree.of([f"{name}/{i}.jpg" for name in ("bus", "car", "train") for i in range(2)])
    assert not any(find_roles(tree).values())


def test_two_likely_columns_and_no_sample_are_refused_with_both_and_the_option(data):
    four_images(data)
    with pytest.raises(InputError, match=r"'species', 'breed' may all do so.*--label 'species'"):
        infer_layout(data)


def test_an_answer_decides(data):
    four_images(data)
    layout = infer_layout(data, answers=Answers(label="breed"))
    assert layout.classes == ("siam", "tabby") and layout.choice("label").evidence == "--label breed"


def test_the_samples_column_decides_and_the_other_is_said(data):
    four_images(data, sample="image,breed\n5,tabby\n6,tabby\n")
    choice = infer_layout(data).choice("label")
    assert choice.value == "train.csv:breed" and choice.rejected == ("species",)


def test_the_samples_cells_decide_where_its_column_has_another_name(data):
    four_images(data, sample="image,predictions\n5,tabby siam\n6,tabby siam\n")
    assert infer_layout(data).choice("label").value == "train.csv:breed"


def test_the_samples_columns_are_the_classes_whatever_folders_say(data):
    touch(data, *(f"train/{place}/{i}.jpg" for i, place in enumerate(["site1", "site2"] * 2)), "test/9.jpg")
    write(data / "labels.csv", "id,kind,weather\n0,a,wet\n1,a,dry\n2,b,dry\n3,b,wet\n")
    write(data / "sample_submission.csv", "id,a,b\n9,.5,.5\n")
    assert infer_layout(data).classes == ("a", "b")


@pytest.mark.parametrize(
    ("sample", "text", "metric"),
    [
        ("id,cat,dog\n5,.5,.5\n6,.5,.5\n", "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n", "log_loss"),
        ("id,label\n5,.5\n6,.5\n", "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n", "roc_auc"),
        ("id,label\n5,a b c d e\n6,a b c d e\n", "id,label\n1,a\n2,a\n3,b\n4,b\n", "map@5"),
        ("id,label\n5,cat 0.1\n6,cat 0.1\n", "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n", "gap"),
        ("id,label\n5,cat\n6,cat\n", "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n", "accuracy"),
        ("id,labels\n5,cat\n6,cat\n", "id,labels\n1,cat\n2,cat dog\n3,dog\n4,dog cat\n", "samples_f1"),
    ],
)
def test_the_metric_is_guessed_by_the_samples_form_and_said_to_be_a_guess(tmp_path, data, sample, text, metric):
    four_images(data, text, sample)
    layout = infer_layout(data)
    assert layout.metric == metric and layout.choice("metric").is_guess
    home = write_competition("first", layout, tmp_path / "competitions")
    assert "# metric: a guess: " in (home / "competition.toml").read_text("utf-8")
    assert not infer_layout(data, answers=Answers(metric="accuracy")).choice("metric").is_guess


def test_an_individual_of_several_images_groups_them_with_the_reason(tmp_path, data):
    rows = "".join(f"{i},{'ab'[i % 2]},P{i // 2},{i % 3}\n" for i in range(1, 5))
    four_images(data, f"id,label,patientId,fold\n{rows}")
    layout = infer_layout(data)
    assert layout.group == "patientId" and "3 of them in 4 rows" in layout.choice("group").evidence
    assert layout.choice("folds").option == "--group fold keeps them"
    assert infer_layout(data, answers=Answers(group="none")).group is None
    kept = infer_layout(data, answers=Answers(group="fold"))
    assert (kept.group, kept.n_folds) == ("fold", 3)


def test_a_column_of_individuals_who_are_the_classes_groups_nothing(data):
    four_images(data, "image,label,individual_id\n1,a,x\n2,a,x\n3,b,y\n4,b,y\n")
    assert infer_layout(data).group is None


def test_what_nothing_reads_is_counted_by_kind(data):
    four_images(data, "id,label\n1,a\n2,a\n3,b\n4,b\n")
    touch(data, "thumbs/1_small.jpg", "records/a.tfrec", "records/b.tfrec")
    assert infer_layout(data).left_aside == {"images in thumbs": 1, ".tfrec files": 2}


def test_a_folder_called_like_a_slug_gives_it_as_a_guess_and_plain_words_do_not(data):
    touch(data.with_name("leaf-types-2020"), *(f"train/{c}/{i}.jpg" for c in "ab" for i in range(2)))
    layout = infer_layout(data.with_name("leaf-types-2020"))
    assert layout.slug == "leaf-types-2020" and layout.choice("slug").is_guess
    four_images(data, "id,label\n1,a\n2,a\n3,b\n4,b\n")
    assert infer_layout(data).slug is None


def test_codes_get_no_run_that_reads_words_until_a_file_names_them(tmp_path, data):
    four_images(data, "id,label\n1,0\n2,0\n3,1\n4,1\n")
    home = write_competition("codes", infer_layout(data), tmp_path / "competitions")
    assert 'prompts = "first"' not in (home / "competition.toml").read_text("utf-8")
    write(data / "names.json", '{"0": "ripe banana", "1": "green banana"}')
    home = write_competition("words", infer_layout(data), tmp_path / "competitions")
    tables = tomllib.loads((home / "competition.toml").read_text("utf-8"))
    assert tables["data"]["names"] == "names.json"
    words = tomllib.loads((home / "prompts" / "first.toml").read_text("utf-8"))["words"]
    assert words == {"0": ["ripe banana"], "1": ["green banana"]}


def test_the_command_prints_choices_and_called_again_changes_nothing_without_force(tmp_path, run_command, data):
    four_images(data, "id,label\n1,a\n2,a\n3,b\n4,b\n", "id,label\n5,a\n6,a\n")
    call = ("new", "pets", "--data", str(data), "--json")
    code, out, err = run_command(tmp_path, *call)
    choices = {choice["question"]: choice for choice in json.loads(out)["choices"]}
    assert code == 0 and choices["metric"]["is_guess"] and choices["metric"]["option"] == "--metric NAME"
    assert choices["label"] == {
        "question": "label", "value": "train.csv:label", "evidence": "the column of sample_submission.csv",
        "rejected": [], "option": "--label COLUMN", "is_guess": False,
    }  # fmt: skip
    assert "the Evaluation page names it" in flat(err)
    file = tmp_path / "competitions" / "pets" / "competition.toml"
    before = file.read_bytes()
    code, _, err = run_command(tmp_path, *call, "--metric", "macro_f1")
    assert code == 2 and "is there already" in flat(err) and "--force" in flat(err) and file.read_bytes() == before
    code, out, _ = run_command(tmp_path, *call, "--metric", "macro_f1", "--force")
    assert code == 0 and 'metric = "macro_f1"' in file.read_text()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--metric", "accuracies"), "did you mean 'accuracy'"),
        (("--task", "several"), "--task several"),
        (("--label", "lable"), "did you mean 'label'"),
        (("--positive", "c"), "--positive c: not a class"),
        (("--group", "label"), "not a column beside the labels"),
    ],
)
def test_answers_that_fit_nothing_are_refused(tmp_path, run_command, data, option, message):
    four_images(data, "id,label\n1,a\n2,a\n3,b\n4,b\n")
    code, _, err = run_command(tmp_path, "new", "pets", "--data", str(data), *option)
    assert code == 2 and message in flat(err)
