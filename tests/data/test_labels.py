"""Several labels per image: read in every form that CSV files have, split, learned and kept apart from one label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.folders import CSV_LABELED, of, of_several, refusal, shown, touch, write

from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.words import compare_prompts
from kit.data.table import read_classes, read_table
from kit.data.table.labels import read_label_lists
from kit.report.correlation import check_trains
from kit.runs.fit.crossval import crossval
from kit.runs.store.build import build_model
from kit.runs.verify import verify

FORMS = {
    "rows": "id,label\na,x\nb,y\na,y\nc,\nd,x\n",
    "cell": "id,label\na,x;y\nb,y\nc,\nd,x\n",
    "columns": "id,x,y\na,1,1\nb,0,1\nc,0,0\nd,1.0,0.0\n",
    "tags": "image,tag1,tag2\na,y,x\nb,,y\nc,,\nd,x,\n",
}


def labels(tmp_path: Path, text: str, *data: str, **listing: str) -> dict[str, str]:
    """Return the label cell of every image."""
    table = read_table(of_several(tmp_path, text, *data, **listing))
    return dict(zip(table["id"], table["label"], strict=True))


def refused(tmp_path: Path, text: str, *data: str, **listing: str) -> str:
    with pytest.raises(InputError) as refusal:
        labels(tmp_path, text, *data, **listing)
    return str(refusal.value)


def with_keys(keys: str) -> str:
    """Return the listing with more keys; they need the task."""
    return f'labeled = {{ csv = "train.csv", images = "images", {keys} }}'


def set_task(tmp_path: Path, listing: str, runs: str = "") -> Competition:
    """Return a competition whose file says that it is multilabel."""
    facts = '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n'
    write(tmp_path / "comp" / "competition.toml", f'{facts}[data]\nroot = "data"\n{listing}\n{runs}')
    return read_competition(str(tmp_path / "comp"), Workspace(tmp_path))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_out_and_says_the_same(tmp_path, form):
    assert labels(tmp_path, FORMS[form]) == {"a": "x|y", "b": "y", "c": "", "d": "x"}


@pytest.mark.parametrize(
    ("form", "keys"),
    [
        ("rows", 'form = "rows"'),
        ("cell", 'separator = ";"'),
        ("columns", 'label = ["x", "y"]'),
        ("tags", 'id = "image", label = ["tag1", "tag2"], form = "tags"'),
    ],
)
def test_every_form_can_be_named(tmp_path, form, keys):
    touch(tmp_path / "data", *(f"images/{name}.jpg" for name in "abcd"))
    write(tmp_path / "data" / "train.csv", FORMS[form])
    table = read_table(set_task(tmp_path, with_keys(keys)))
    assert table["label"].tolist() == ["x|y", "y", "", "x"]


TRIPLES = "id,label,has\na,x,1\na,y,1\nb,x,0\nb,y,1\nc,x,0\nc,y,0\nd,x,1\nd,y,0\n"


def test_rows_of_labels_that_an_image_lacks_are_left_out_and_never_read_as_labels(tmp_path):
    touch(tmp_path / "data", *(f"images/{name}.jpg" for name in "abcd"))
    write(tmp_path / "data" / "train.csv", TRIPLES)
    table = read_table(set_task(tmp_path, with_keys('label = "label", form = "rows", value = "has"')))
    assert table["label"].tolist() == ["x|y", "y", "", "x"]
    with pytest.raises(InputError, match=r"every image has a row of every 'label', .* labeled\.value = .has."):
        read_table(set_task(tmp_path, with_keys('label = "label", form = "rows"')))
    with pytest.raises(InputError, match=r'labeled\.value is read with form = "rows" alone'):
        set_task(tmp_path, with_keys('form = "cell", value = "has"'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,x y\nb,y\n", "how 'x y' parts labels is in doubt"),
        ('id,label\na,x;y\nb,"y,x"\n', "how 'x;y' parts labels is in doubt"),
        ("id,label\na,\"['x', 'y']\"\nb,y\n", "is in doubt; write"),
        ("id,label\na,x;;y\nb,y\n", "row 2: an empty label in 'x;;y'"),
        ("id,x,y\na,1,2\nb,0,1\n", "which of the columns x, y hold labels is in doubt"),
        ("id,x,y,z\na,1,2,0\nb,0,1,1\n", "columns y hold other cells than 0 and 1"),
        ("id,label\na,x|y\na,z\n", "row 2: label 'x|y' holds '|'"),
        ("id,label\na,x\nb,x\n", "one class only, 'x'"),
        ("id,label\na,\nb,\n", "no image has a label"),
        ("id\na\nb\n", "no column but 'id'"),
    ],
)
def test_labels_in_doubt_are_refused(tmp_path, text, message):
    assert message in refused(tmp_path, text)


def test_a_cell_that_is_no_switch_is_named(tmp_path):
    touch(tmp_path / "data", "images/a.jpg", "images/b.jpg")
    write(tmp_path / "data" / "train.csv", "id,x,y\na,1,0\nb,0,yes\n")
    with pytest.raises(InputError, match="row 3, column 'y': 'yes' is not 0 or 1"):
        read_table(set_task(tmp_path, with_keys('form = "columns"')))


def test_an_image_of_two_groups_is_refused(tmp_path):
    touch(tmp_path / "data", "images/a.jpg", "images/b.jpg")
    write(tmp_path / "data" / "train.csv", "id,label,who\na,x,1\nb,y,1\na,y,2\n")
    with pytest.raises(InputError, match="rows 2, 4: image 'a' is in several groups"):
        read_table(set_task(tmp_path, with_keys('label = "label", group = "who"')))


@pytest.mark.parametrize("keys", ['form = "rows"', 'separator = " "', 'form = "tags"'])
def test_keys_on_several_labels_need_the_task(tmp_path, keys):
    assert 'it needs task = "multilabel"' in refusal(tmp_path, with_keys(keys))


def test_pseudo_labels_and_mined_ones_are_refused(tmp_path):
    runs = '[runs.a]\nmodel = "forest"\n[runs.b]\nmodel = "forest"\npseudo = { teachers = ["a"] }\n'
    with pytest.raises(InputError, match=r"\[runs.b\] pseudo labels name one class per image"):
        set_task(tmp_path, CSV_LABELED, runs)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ('model = "svm"', "several labels can be had of forest"),
        ('model = "linear_probe"\nencoder = "given"\nprompts = "names"', "prompts: words choose one class"),
        ('model = "linear_probe"\nencoder = "given"\ntransduction = "transclip"', "neighbours speak by"),
        ('model = "fine_tune"\nencoder = "timm:x"\nsemi = "fixmatch"', 'semi = "fixmatch" names one class'),
        ('model = "fine_tune"\nencoder = "timm:x"\nprobe_first = true', "probe_first: the probe names one class"),
    ],
)
def test_what_names_one_class_is_refused_when_it_is_built(tmp_path, run, message):
    made = set_task(tmp_path, CSV_LABELED, f"[runs.r]\n{run}\n")
    with pytest.raises(InputError, match=message):
        build_model(made, made.run("r"))


def test_parents_are_labels_too(tmp_path):
    text = "id,label\na,Cans/Slim/Cranpom;No Yerb\nb,Cans/Slim\nc,No Yerb\nd,No Yerb\n"
    cells = labels(tmp_path, text, 'hierarchy = "/"')
    assert cells["a"] == "Cans|Cans/Slim|Cans/Slim/Cranpom|No Yerb" and cells["b"] == "Cans|Cans/Slim"
    write(tmp_path / "data" / "tree.csv", "child,parent\nx,top\ny,top\n")
    cells = labels(tmp_path, "id,label\na,x;y\nb,y\nc,x\nd,z\n", 'hierarchy = { csv = "tree.csv" }')
    assert cells == {"a": "top|x|y", "b": "top|y", "c": "top|x", "d": "z"}


def test_a_path_with_an_empty_part_is_named_by_its_row(tmp_path):
    text = "id,label\na,Cans//Slim;x\nb,x\n"
    assert "train.csv: row 2: label 'Cans//Slim' has an empty part" in refused(tmp_path, text, 'hierarchy = "/"')


def test_a_class_of_one_image_is_said(tmp_path, capsys):
    labels(tmp_path, "id,label\na,x;y\nb,x\nc,x\n")
    assert "class 'y' has one image" in shown(capsys)


def test_labels_become_zeros_and_ones_with_their_parents(tiles):
    assert tiles.classes == ("cold", "cold/blue", "warm", "warm/red", "warm/yellow")
    assert tiles.labels.dtype == np.int8 and tiles.labels.shape == (50, 5)
    assert tiles.hierarchy.parents.tolist() == [-1, 0, -1, 2, 2]
    assert (tiles.labels[:, 0] == tiles.labels[:, 1]).all()


def test_withheld_labels_are_unknown_in_every_column(tiles):
    held_out, training = tiles.held_out(0), tiles.training(0)
    assert (held_out.labels == -1).all() and held_out.labels.shape[1] == 5
    assert not held_out.is_known.any() and training.is_known.all()
    assert training.join(held_out).take(np.arange(3)).labels.shape == (3, 5)


@pytest.mark.parametrize("run", ["forest", "bags", "probe", "net"])
def test_a_run_learns_several_labels_and_verifies(tiles, run):
    result = crossval(tiles, run)
    oof = result.predictions("oof")
    assert oof.task == "multilabel" and tiles.hierarchy.is_consistent(oof.proba).all()
    assert verify(tiles, [result])
    if run in ("forest", "probe"):
        truth = tiles.labels[np.argsort(tiles.pool.ids[tiles.labeled])]
        assert ((oof.at(np.sort(oof.ids)).proba >= 0.5) == truth).mean() > 0.8


def test_classes_of_cells_are_sorted(tmp_path):
    table = read_table(of_several(tmp_path, FORMS["cell"]))
    assert read_classes(table, "multilabel") == ("x", "y") and len(of(table, "labeled")) == 4


def test_what_takes_one_class_per_image_says_so(tiles):
    with pytest.raises(InputError, match=r"words are scored by the one class .* several labels"):
        compare_prompts(tiles)
    with pytest.raises(InputError, match="correlation measures between classes"):
        check_trains(tiles.competition, "net")


def test_a_tab_in_a_cell_of_labels_is_in_doubt_too(several):
    listing = several[0].competition.data.labeled.model_copy(update={"separator": None, "form": "cell", "group": None})
    rows = pd.DataFrame({"id": ["1"], "label": ["a\tb"]})
    with pytest.raises(InputError, match="how 'a\\\\tb' parts labels is in doubt"):
        read_label_lists(rows, "id", listing, "key", Path("x.csv"))


@pytest.mark.parametrize(
    "rows",
    [{"id": ["1", "1", "2"], "label": ["a;b", "b", "a"]}, {"id": ["1", "2"], "tag1": ["a, b", "a"], "tag2": ["", "b"]}],
)
def test_a_cell_of_several_labels_is_not_taken_for_one(several, rows):
    listing = several[0].competition.data.labeled.model_copy(
        update={"separator": None, "group": None, "label": None, "form": None}
    )
    with pytest.raises(InputError, match="looks like several labels where one is read"):
        read_label_lists(pd.DataFrame(rows), "id", listing, "key", Path("x.csv"))
