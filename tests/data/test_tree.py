"""Hierarchies of classes, read from paths, folders and tables."""

from __future__ import annotations

import pytest
from support.folders import competition_of, refusal, touch, write

from kit.data.table import read_classes, read_table
from kit.data.table.tree import read_hierarchy

CSV = 'labeled = { csv = "train.csv", images = "images" }'
PAIRS = 'hierarchy = { csv = "tree.csv" }'
LEVELS = 'hierarchy = { csv = "tree.csv", levels = ["group", "coarse", "fine"] }'


def label(tmp_path, *labels: str, tree: str | None = None) -> None:
    """Write images of these labels, and a file of the hierarchy."""
    root = tmp_path / "data"
    touch(root, *(f"images/{i}.jpg" for i in range(len(labels))))
    write(root / "train.csv", "id,label\n" + "".join(f"{i},{name}\n" for i, name in enumerate(labels)))
    if tree is not None:
        write(root / "tree.csv", tree)


def levels_of(tmp_path, hierarchy: str, *labels: str, tree: str | None = None) -> dict[str, list[str]]:
    """Return the group of every class at every level."""
    label(tmp_path, *labels, *labels, tree=tree)
    competition = competition_of(tmp_path, CSV, hierarchy)
    classes = read_classes(read_table(competition))
    levels = read_hierarchy(competition, classes, is_multilabel=False)
    return {name: [level.names[code] for code in level.codes] for name, level in levels.levels.items()}


def test_paths_name_their_levels(tmp_path):
    hierarchy = levels_of(tmp_path, 'hierarchy = "/"', "Fruit/Apple/Pink", "Fruit/Kiwi", "Milk/Oat")
    assert hierarchy["level_1"] == ["Fruit", "Fruit", "Milk"]
    assert hierarchy["level_2"] == ["Fruit/Apple", "Fruit/Kiwi", "Milk/Oat"]


def test_levels_of_paths_can_be_named(tmp_path):
    hierarchy = 'hierarchy = { separator = "/", levels = ["group"] }'
    assert levels_of(tmp_path, hierarchy, "a/b", "a/c", "d/e") == {"group": ["a", "a", "d"]}


def test_class_folders_within_folders_are_paths(tmp_path):
    touch(
        tmp_path / "data", *(f"train/{name}/{i}.jpg" for i, name in enumerate(["a/x", "a/x", "a/y", "a/y", "b", "b"]))
    )
    table = read_table(competition_of(tmp_path, 'labeled = "train"', 'hierarchy = "/"'))
    assert read_classes(table) == ("a/x", "a/y", "b")


def test_a_csv_of_levels_gives_each_class_its_groups(tmp_path):
    tree = "fine,coarse,group\npink,apple,fruit\nkiwi,,fruit\noat,milk,drink\nother,milk,drink\n"
    hierarchy = levels_of(tmp_path, LEVELS, "pink", "kiwi", "oat", tree=tree)
    assert hierarchy == {"group": ["fruit", "drink", "fruit"], "coarse": ["kiwi", "milk", "apple"]}


def test_a_csv_of_children_and_parents_gives_levels_by_depth(tmp_path):
    tree = "child,parent\npink,apple\napple,fruit\nkiwi,fruit\noat,milk\n"
    hierarchy = levels_of(tmp_path, PAIRS, "pink", "kiwi", "oat", tree=tree)
    assert hierarchy == {"level_1": ["fruit", "milk", "fruit"], "level_2": ["kiwi", "oat", "apple"]}


@pytest.mark.parametrize(
    ("hierarchy", "labels", "tree", "message"),
    [
        ('hierarchy = "/"', ["a/b", "a//b"], None, "train.csv: row 3: label 'a//b' has an empty part"),
        ('hierarchy = "/"', ["a/b", "a/"], None, "row 3: label 'a/' has an empty part"),
        (
            PAIRS,
            ["a", "b"],
            "child,parent\na,x\nb,x\na,y\n",
            "tree.csv: row 4: 'a' stands under 'y', in row 2 under 'x'",
        ),
        (PAIRS, ["a", "b"], "child,parent\na,b\nb,a\n", "tree.csv: 'a' under 'b' under 'a' is a circle"),
        (PAIRS, ["a", "b"], "child,parent\na,x\nb,X\nx,\n", "row 3: parent 'X' is unknown"),
        (PAIRS, ["a", "b"], "child,parent\na,x\nx,\n", "row 3: label 'b' is not in"),
        (PAIRS, ["a", "b"], "child\na\n", "one column only"),
        (LEVELS, ["a", "b"], "group,coarse,fine\nx,y,a\nx,y,c\n", "row 3: label 'b' is not in"),
        (LEVELS, ["a", "b"], "group,coarse,fine\nx,y,a\nz,y,b\n", "row 3: 'y' stands under 'z', in row 2 under 'x'"),
        (LEVELS, ["a", "b"], "group,fine\nx,a\nx,b\n", "no column 'coarse'"),
        ('hierarchy = "/"', ["a/b/c", "a/d/e"], None, None),
        ('hierarchy = { separator = "/", levels = ["x", "y", "z"] }', ["a/b", "a/d"], None, "names 3 levels"),
    ],
)
def test_what_is_no_hierarchy_is_refused(tmp_path, hierarchy, labels, tree, message):
    label(tmp_path, *labels, *labels, tree=tree)
    if message is None:
        assert levels_of(tmp_path, hierarchy, *labels)
    elif "names" in message:
        with pytest.raises(Exception, match=message):
            levels_of(tmp_path, hierarchy, *labels)
    else:
        assert message in refusal(tmp_path, CSV, hierarchy)


@pytest.mark.parametrize(
    ("hierarchy", "message"),
    [
        (
            'hierarchy = { csv = "a.csv", seperator = "/" }',
            "unknown key 'hierarchy.seperator'; did you mean 'separator'",
        ),
        ('hierarchy = { csv = "a.csv", separator = "/" }', "needs either separator"),
        ('hierarchy = { csv = "a.csv", levels = ["fine"] }', "two columns at least"),
        ('hierarchy = { csv = "a.csv", levels = ["a", "b"], child = "c" }', "columns of a csv without levels"),
    ],
)
def test_a_table_that_says_nothing_clear_is_refused(tmp_path, hierarchy, message):
    assert message in refusal(tmp_path, CSV, hierarchy)
