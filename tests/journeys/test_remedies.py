"""What is said where something is missing: one error, its cause, and a command that can be copied as it stands."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pytest
from support.colours import COLOURS, draw, lay_out, write_toml
from support.folders import refusal, touch, write

from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.errors import InputError, TeacherMissing
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.features.prompts.lists import read_prompts
from kit.runs.fit.crossval import crossval
from kit.runs.store import result_at
from kit.runs.store.find import teachers_of
from kit.runs.train import find_finished

SVM = '\n[runs.svm]\nmodel = "svm"\npixels = 4\n'
TAUGHT = SVM + '\n[runs.taught]\nmodel = "svm"\npixels = 4\npseudo = { teachers = ["svm"] }\n'
CLIP = '\n[runs.zero_shot]\nmodel = "zero_shot"\nencoder = "open_clip:ViT-B-32/openai"\n'
CLIP += '\n[runs.probe]\nmodel = "linear_probe"\nencoder = "open_clip:ViT-B-32/openai"\n'


@pytest.fixture
def kit(tmp_path, monkeypatch, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def call(*arguments: str) -> tuple[int, str, str]:
        return run_command(tmp_path, *arguments)

    return call


def elsewhere(tmp_path, runs: str = SVM):
    """Return a competition that is known by its folder's path alone, its path with a space."""
    lay_out(tmp_path / "data" / "colours")
    folder = tmp_path / "my files" / "colours"
    write_toml(folder, runs)
    return read_competition(str(folder), Workspace(tmp_path))


# --- no data


@pytest.mark.parametrize("command", ["train", "all", "verify", "leaderboard", "report", "check", "features"])
def test_a_missing_data_folder_comes_before_the_files_in_it(kit, tmp_path, command):
    code, out, err = kit(command, "inf473v")
    missing = f"[data] root = 'data/inf473v': {tmp_path}/data/inf473v is not there"
    assert code == 2 and out == "" and "sample_submission" not in err
    assert f"{missing}; fetch it with ./run.sh download inf473v --workspace {tmp_path}, as " in err


@pytest.mark.parametrize("command", ["all", "mine"])
def test_a_practice_competition_without_data_says_where_they_are_told(kit, tmp_path, command):
    code, _, err = kit(command, "characters")
    assert code == 2 and f"{tmp_path}/data/characters is not there; put the competition's files there, as " in err
    assert str(HOME / "characters" / "README.md") in err


def test_a_sample_submission_that_nothing_resembles_says_what_to_do(colours):
    competition = colours()
    for file in competition.root.glob("*.csv"):
        file.unlink()
    with pytest.raises(InputError, match=r"sample_submission is not there; put it there, or leave the key out$"):
        prepare(competition)


def test_an_unknown_competition_is_told_how_to_make_one(kit):
    code, _, err = kit("check", "flowers")
    assert code == 2 and "no competition 'flowers'; " in err and "; ./run.sh new NAME --data FOLDER makes one" in err


# --- commands to copy


def test_a_command_names_a_known_competition_by_its_name(colours, tmp_path):
    competition = colours()
    assert competition.command("train", "svm") == f"./run.sh train colours svm --workspace {tmp_path}"
    digits = read_competition("digits", Workspace(HOME.parents[1]))
    assert digits.command("all") == "./run.sh all digits"


def test_a_command_names_a_competition_read_by_path_by_its_folder(tmp_path):
    competition = elsewhere(tmp_path)
    words = shlex.split(competition.command("train", "svm"))
    assert words == ["./run.sh", "train", str(competition.folder), "svm", "--workspace", str(tmp_path)]
    assert read_competition(words[2], Workspace(tmp_path)) == competition


def test_a_name_that_the_workspace_takes_for_another_is_not_used(tmp_path):
    competition = elsewhere(tmp_path)
    shutil.copytree(competition.folder, tmp_path / "competitions" / "colours")
    assert str(competition.folder) in shlex.split(competition.command("all"))


def test_a_missing_teacher_is_named_with_the_command_that_trains_it(tmp_path):
    prepared = prepare(elsewhere(tmp_path, TAUGHT))
    with pytest.raises(TeacherMissing) as refused:
        teachers_of(prepared, prepared.competition.run("taught"))
    wanted = prepared.competition.command("train", "svm")
    assert str(refused.value) == f"run taught: its teacher svm has not been trained; {wanted}"


@pytest.mark.parametrize(("name", "words"), [("svm", ("train", "svm")), ("svm.2", ("train", "svm"))])
def test_a_run_that_is_gone_is_named_with_the_command_that_makes_it(tmp_path, name, words):
    prepared = prepare(elsewhere(tmp_path))
    with pytest.raises(InputError) as refused:
        result_at(prepared, name, "0" * 16)
    assert str(refused.value).endswith(f"not finished; {prepared.competition.command(*words)} makes it")


def test_an_ensemble_or_an_import_that_is_gone_is_not_to_be_trained(tmp_path):
    prepared = prepare(elsewhere(tmp_path))
    with pytest.raises(InputError, match=r"\./run\.sh ensemble .* makes it"):
        result_at(prepared, "ensemble", "0" * 16)
    with pytest.raises(InputError, match="import it again"):
        result_at(prepared, "friend", "0" * 16)


def test_runs_made_with_other_settings_are_named_with_the_command_that_makes_them_anew(tmp_path, capsys):
    competition = elsewhere(tmp_path)
    crossval(prepare(competition), "svm")
    changed = prepare(read_competition(str(competition.folder), Workspace(tmp_path), ("runs.svm.C=2.5",)))
    capsys.readouterr()
    find_finished(changed)
    assert f"not shown: svm; {competition.command('train', 'svm')} makes them anew" in capsys.readouterr().err


# --- nothing trained, nothing to send


@pytest.mark.parametrize("command", ["ensemble", "decisions", "bundle", "submission", "submit"])
def test_with_nothing_trained_there_is_one_error_and_no_warning(kit, colours, tmp_path, command):
    colours(SVM)
    code, out, err = kit(command, "colours", *(["--dry-run"] if command == "submit" else []))
    message = f"the ensemble has no finished member; ./run.sh all colours --workspace {tmp_path} makes them"
    assert code == 2 and out == "" and "warning" not in err
    assert re.findall("^error .*", err, re.MULTILINE) == [f"error       {message}"]


def test_a_dry_run_with_nothing_trained_is_one_error_before_anything_is_written(site):
    for place in ("runs", "submissions"):
        shutil.rmtree(site.workspace / place)
    code, _, err = site("submit", "colours", "--dry-run")
    assert code == 2 and "warning" not in err and "the ensemble has no finished member; ./run.sh all colours" in err
    assert not list((site.workspace / "submissions").rglob("*.csv"))


def test_all_says_once_of_skipped_runs_that_the_ensemble_lacks_them(kit, colours):
    colours(SVM + CLIP)
    _, _, err = kit("all", "colours")
    assert "left out of the ensemble" not in err and "skipped, as said above: zero_shot, probe" in err
    _, _, err = kit("ensemble", "colours")
    assert "not trained, so left out of the ensemble: zero_shot, probe" in err


def test_a_notebook_of_a_practice_competition_is_not_sent(kit, colours):
    colours(SVM)
    code, out, err = kit("submit", "colours", "-k", "me/notebook", "-v", "1", "--yes")
    assert code == 2 and out == "" and "colours is a practice competition, of which no notebook is sent" in err


def test_a_bundle_of_a_practice_competition_is_not_to_be_submitted(kit, colours, tmp_path):
    crossval(prepare(colours(SVM)), "svm")
    code, _, err = kit("bundle", "colours", "svm")
    assert code == 0 and "run.sh submit" not in err and "kaggle kernels push" not in err
    assert err.splitlines()[-1] == f"next        ./run.sh leaderboard colours --workspace {tmp_path}"


def test_a_bundle_of_one_run_is_submitted_as_that_run(kit, colours, tmp_path):
    crossval(prepare(colours(SVM)), "svm")
    file = tmp_path / "competitions" / "colours" / "competition.toml"
    file.write_text(file.read_text().replace('title = "colours"', 'title = "colours"\nslug = "colours-2025"'))
    code, _, err = kit("bundle", "colours", "svm", "--owner", "ada")
    assert code == 0 and "./run.sh submit colours svm -k ada/" in err.splitlines()[-1]


# --- files


def test_an_empty_class_folder_is_refused_with_what_to_do(tmp_path, data):
    (data / "train" / "bird").mkdir()
    assert refusal(tmp_path, 'labeled = "train"').endswith("holds no images; put images into it or remove it")


def test_a_class_folder_of_files_that_are_no_images_is_told_which_are(tmp_path, data):
    touch(data, "train/bird/1.psd", "train/bird/2.psd")
    text = refusal(tmp_path, 'labeled = "train"')
    assert "holds no images but .psd files (images are jpg, jpeg, jpe, jfif, png, " in text


def test_a_list_that_lacks_most_of_its_images_is_refused_with_what_to_do(tmp_path, listed):
    write(listed / "train.csv", "id,label\n000001,cat\n000007,cat\n000008,dog\n000009,dog\n")
    text = refusal(tmp_path, 'labeled = { csv = "train.csv", images = "images" }')
    remedy = "put the images there, mend the ids or name the images' folder (labeled.images)"
    assert "'000009' (row 5)" in text and text.endswith(remedy)


def test_a_test_folder_without_images_is_refused_with_what_to_do(tmp_path, data):
    (data / "test").mkdir()
    assert refusal(tmp_path, 'labeled = "train"', 'test = "test"').endswith("put some there or leave the key out")


# --- words


def test_a_class_that_a_prompt_list_lacks_is_refused_with_a_line_to_copy(tmp_path):
    file = tmp_path / "first.toml"
    file.write_text('[words]\n"cat" = ["cat"]\n')
    with pytest.raises(InputError, match='prompts = "names" in the run') as refused:
        read_prompts(tmp_path, "first", ("cat", 'sea_"lion" '))
    line = re.search(r"add (.*) or better words below \[words\]", str(refused.value))[1]
    file.write_text(file.read_text() + line)
    assert read_prompts(tmp_path, "first", ("cat", 'sea_"lion" ')).words == (("cat",), ('sea "lion"',))


def test_images_added_to_an_empty_class_after_new_end_in_a_line_to_copy(kit, tmp_path):
    lay_out(tmp_path / "photos", n_unlabeled=0)
    rose = tmp_path / "photos" / "train" / "rose"
    rose.mkdir()
    assert kit("new", "flowers", "--data", str(tmp_path / "photos"))[0] == 2
    for number in range(3):
        draw(COLOURS["red"], np.random.default_rng(number)).save(rose / f"rose{number}.png")
    code, _, err = kit("train", "flowers", "zero_shot")
    assert code == 2 and """lacks 1 class: 'rose'; add "rose" = ["rose"] or better words below [words]""" in err


# --- runs whose weights are out of reach


def test_train_says_that_all_leaves_out_runs_without_weights(kit, colours, tmp_path):
    colours(SVM + CLIP)
    code, _, err = kit("train", "colours")
    assert code == 2 and f"; or leave such runs out: ./run.sh all colours --workspace {tmp_path} does" in err
    code, _, err = kit("train", "colours", "probe")
    assert code == 2 and "leave such runs out" not in err


def test_features_says_once_why_several_runs_are_skipped(kit, colours):
    pytest.importorskip("open_clip")
    colours(SVM + CLIP)
    code, out, err = kit("features", "colours")
    assert code == 0 and err.count("the hub cannot be reached") == 1 and "skipped zero_shot, probe: " in err
    assert out == "nothing was encoded: every run that reads features was skipped\n"
