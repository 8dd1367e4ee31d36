"""The first competition.toml: read back by what reads competitions, and accepted by every model."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest
from rich.console import Console
from support.folders import touch

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.start import check_competition_name, describe_layout, write_competition
from kit.curate.start.layout import infer_layout
from kit.data.table import read_classes, read_table
from kit.features.prompts import read_prompts
from kit.runs.store.build import build_model

TRAIN = ["train/cat/1.jpg", "train/cat/2.png", "train/dog/3.JPG", "train/dog/4.webp"]


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data" / "pets"


@pytest.fixture
def layout(data):
    touch(data, *TRAIN, "extra/5.jpg", "test/6.jpg")
    return infer_layout(data)


def test_the_written_competition_has_runs_that_work_offline_and_an_ensemble(tmp_path, layout):
    home = write_competition("pets", layout, tmp_path / "competitions", workspace=Workspace(tmp_path))
    competition = read_competition("pets", Workspace(tmp_path))
    assert home == tmp_path / "competitions" / "pets"
    assert (competition.runs["forest"].model, competition.runs["svm"].model) == ("forest", "svm")
    assert competition.runs["probe_pseudo"].pseudo.teachers == ["probe", "wise_ft"]
    assert competition.ensemble.members is None


def test_every_run_is_accepted_by_its_model(tmp_path, layout):
    write_competition("pets", layout, tmp_path / "competitions")
    competition = read_competition("pets", Workspace(tmp_path))
    offline = []
    for name, run in competition.runs.items():
        model = build_model(competition, run)
        if model.encoder is None:
            offline.append(name)
        if getattr(model, "prompts", None):
            read_prompts(competition.folder / "prompts", model.prompts, layout.classes)
    assert offline == ["forest", "extra_trees", "svm", "label_spreading"]


def test_without_a_pool_nothing_learns_from_one(tmp_path, data):
    touch(data, *TRAIN)
    write_competition("pets", infer_layout(data), tmp_path / "competitions")
    runs = read_competition("pets", Workspace(tmp_path)).runs
    assert not {"probe_pseudo", "label_spreading"} & set(runs)
    assert all(run.pseudo is None for run in runs.values())


def test_data_inside_the_workspace_are_named_relative_to_it(tmp_path, layout):
    write_competition("pets", layout, tmp_path / "competitions", workspace=Workspace(tmp_path))
    assert read_competition("pets", Workspace(tmp_path)).data.root == "data/pets"


def test_odd_paths_and_classes_survive_the_file(tmp_path):
    data = tmp_path / 'my "data" \\ été 😀'
    names = ('a "b" \\/1.jpg', 'a "b" \\/2.jpg', "犬\x7f/3.jpg", "犬\x7f/4.jpg")
    touch(data, *(f"train set/{name}" for name in names))
    layout = infer_layout(data)
    home = write_competition("odd", layout, tmp_path / "ws" / "competitions", workspace=Workspace(tmp_path / "ws"))
    competition = read_competition("odd", Workspace(tmp_path / "ws"))
    assert Path(competition.data.root) == data
    assert read_classes(read_table(competition)) == ('a "b" \\', "犬\x7f")
    assert set(tomllib.loads((home / "prompts" / "first.toml").read_text("utf-8"))["words"]) == set(layout.classes)


def test_prompt_words_are_spoken_and_never_shared(tmp_path, data):
    names = ["school_bus", "pick-up", "a_b", "a-b", "_"]
    touch(data, *(f"train/{name}/{i}.jpg" for name in names for i in range(2)))
    home = write_competition("pets", infer_layout(data), tmp_path / "competitions")
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


def test_a_name_of_the_kits_own_is_refused_elsewhere(tmp_path):
    with pytest.raises(InputError, match="'digits' is one of the kit's own competitions"):
        check_competition_name("digits", tmp_path / "competitions")


def test_what_was_understood_is_shown(data):
    touch(data, *TRAIN, "val/cat/5.jpg", "extra/[red].jpg")
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(describe_layout(infer_layout(data)))
    text = console.export_text()
    assert "2 classes: cat, dog" in text and '"extra"' in text and "not used" in text
