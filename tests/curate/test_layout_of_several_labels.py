"""A new competition of several labels per image, found from its files."""

from __future__ import annotations

import pytest
from support.folders import touch, write

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.curate.start import write_competition
from kit.curate.start.layout import infer_layout
from kit.data.table import read_classes, read_table
from kit.runs.store.build import build_model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,x\nb,y\na,y\nc,x\n", {"form": "rows", "separator": None}),
        ("id,label,is\na,x,1\na,y,1\nb,x,0\nb,y,1\nc,x,1\nc,y,0\n", {"form": "rows", "value": "is"}),
        ("id,label\na,x;y\nb,y\nc,x\n", {"form": "cell", "separator": ";"}),
        ("id,tags\na,x y\nb,y\nc,x\n", {"form": "cell", "separator": " "}),
        ("id,x,y\na,1,1\nb,0,1\nc,1,0\n", {"form": "columns", "label": None}),
        ("image,tag1,tag2\na,x,y\nb,,y\nc,x,\n", {"form": "tags", "label": None}),
    ],
)
def test_a_new_competition_finds_several_labels(tmp_path, text, message):
    data = tmp_path / "data"
    touch(data, *(f"train/{name}.jpg" for name in "abc"))
    write(data / "train.csv", text)
    layout = infer_layout(data)
    listing = layout.labeled.model_dump()
    assert layout.task == "multilabel" and layout.classes == ("x", "y")
    assert {key: listing[key] for key in message} == message
    made = write_competition("sets", layout, tmp_path / "competitions")
    competition = read_competition("sets", Workspace(tmp_path))
    assert not (made / "prompts").exists() and read_classes(read_table(competition), "multilabel") == ("x", "y")
    assert all(build_model(competition, run) for run in competition.runs.values())


def test_commas_part_labels_of_which_some_stand_alone(tmp_path):
    touch(tmp_path, *(f"train/{name}.jpg" for name in "abcd"))
    write(tmp_path / "train.csv", 'id,thing\na,red car\nb,dog\nc,"red car, dog"\nd,"big tree, dog"\n')
    layout = infer_layout(tmp_path)
    assert (layout.labeled.separator, layout.classes) == (",", ("big tree", "dog", "red car"))


def test_a_new_competition_keeps_names_with_spaces_whole(tmp_path):
    touch(tmp_path, *(f"train/{name}.jpg" for name in "abcd"))
    write(tmp_path / "train.csv", "id,labels\na,red apple\nb,green apple\nc,red apple\nd,green apple\n")
    assert infer_layout(tmp_path).task == "multiclass"


def test_a_new_competition_finds_paths(tmp_path):
    touch(tmp_path / "data", *(f"train/{name}.jpg" for name in "abc"))
    write(tmp_path / "data" / "train.csv", "id,label\na,x/u;x/v\nb,x/v\nc,x/u\n")
    layout = infer_layout(tmp_path / "data")
    assert layout.hierarchy == "/"
    write_competition("paths", layout, tmp_path / "competitions")
    competition = read_competition("paths", Workspace(tmp_path))
    assert read_classes(read_table(competition), "multilabel") == ("x", "x/u", "x/v")
