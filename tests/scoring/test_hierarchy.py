"""The hierarchy: read from paths or CSV files, refused where it is none, and predictions that fit it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.folders import competition_of, refusal, touch, write

from kit.cli.call import make_board, say
from kit.data.prepared import prepare
from kit.data.table import read_classes, read_table
from kit.data.table.tree import read_hierarchy
from kit.models.heads.logistic import fit_shared
from kit.report.board.levels import score_levels
from kit.runs.fit.crossval import crossval
from kit.runs.store import oof_rows
from kit.runs.store.build import build_model
from kit.scoring.hierarchy import Hierarchy, Level

CSV = 'labeled = { csv = "train.csv", images = "images" }'
PAIRS = 'hierarchy = { csv = "tree.csv" }'
LEVELS = 'hierarchy = { csv = "tree.csv", levels = ["group", "coarse", "fine"] }'
TREE = Hierarchy(np.array([-1, 0, 1, 0, -1]))  # 0 over 1 and 3, 1 over 2; 4 alone


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
    found = read_hierarchy(competition, classes, is_multilabel=False)
    return {name: [level.names[code] for code in level.codes] for name, level in found.levels.items()}


def test_paths_name_their_levels(tmp_path):
    found = levels_of(tmp_path, 'hierarchy = "/"', "Fruit/Apple/Pink", "Fruit/Kiwi", "Milk/Oat")
    assert found["level_1"] == ["Fruit", "Fruit", "Milk"]
    assert found["level_2"] == ["Fruit/Apple", "Fruit/Kiwi", "Milk/Oat"]


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
    found = levels_of(tmp_path, LEVELS, "pink", "kiwi", "oat", tree=tree)
    assert found == {"group": ["fruit", "drink", "fruit"], "coarse": ["kiwi", "milk", "apple"]}


def test_a_csv_of_children_and_parents_gives_levels_by_depth(tmp_path):
    tree = "child,parent\npink,apple\napple,fruit\nkiwi,fruit\noat,milk\n"
    found = levels_of(tmp_path, PAIRS, "pink", "kiwi", "oat", tree=tree)
    assert found == {"level_1": ["fruit", "milk", "fruit"], "level_2": ["kiwi", "oat", "apple"]}


@pytest.mark.parametrize(
    ("hierarchy", "labels", "tree", "said"),
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
def test_what_is_no_hierarchy_is_refused(tmp_path, hierarchy, labels, tree, said):
    label(tmp_path, *labels, *labels, tree=tree)
    if said is None:
        assert levels_of(tmp_path, hierarchy, *labels)
    elif "names" in said:
        with pytest.raises(Exception, match=said):
            levels_of(tmp_path, hierarchy, *labels)
    else:
        assert said in refusal(tmp_path, CSV, hierarchy)


@pytest.mark.parametrize(
    ("hierarchy", "said"),
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
def test_a_table_that_says_nothing_clear_is_refused(tmp_path, hierarchy, said):
    assert said in refusal(tmp_path, CSV, hierarchy)


def test_ancestors_hold_the_class_itself_and_all_above():
    above = {child: np.flatnonzero(TREE.ancestors[child]).tolist() for child in range(5)}
    assert above == {0: [0], 1: [0, 1], 2: [0, 1, 2], 3: [0, 3], 4: [4]}


def test_no_child_is_above_its_parent_afterwards():
    proba = np.random.default_rng(0).random((200, 5)).astype(np.float32)
    made = TREE.make_consistent(proba)
    assert not TREE.is_consistent(proba).all() and TREE.is_consistent(made).all()
    assert made.dtype == np.float32 and (made[:, 4] == proba[:, 4]).all()


def test_what_is_consistent_stays_as_it_is():
    made = TREE.make_consistent(np.random.default_rng(0).random((50, 5)))
    assert (TREE.make_consistent(made) == made).all()


def test_a_mean_of_consistent_predictions_is_consistent():
    draws = np.random.default_rng(0)
    ours, theirs = (TREE.make_consistent(draws.random((50, 5)).astype(np.float32)) for _ in range(2))
    assert TREE.is_consistent((0.3 * ours + 0.7 * theirs).astype(np.float32)).all()


def test_a_level_is_the_sum_of_its_classes():
    level = Level(("x", "y"), np.array([0, 1, 0]))
    tree = Hierarchy(np.full(3, -1), {"group": level})
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    said = tree.level_proba(proba, "group")
    assert said.sum(axis=1) == pytest.approx(1)
    assert said[:, 0] == pytest.approx(proba[:, 0] + proba[:, 2])


def test_the_best_path_listens_to_the_coarser_levels():
    tree = Hierarchy(np.full(3, -1), {"group": Level(("x", "y"), np.array([0, 1, 1]))})
    proba = np.array([[0.40, 0.35, 0.25], [0.80, 0.15, 0.05]])
    assert tree.best_paths(proba).tolist() == [1, 0]
    flat = Hierarchy(np.full(3, -1), {"all": Level(("x",), np.zeros(3, dtype=np.int64))})
    assert (flat.best_paths(proba) == proba.argmax(axis=1)).all()


def shared(groups: np.ndarray, seed: int = 0, n_images: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes and features of four classes, and the fit's coefficients."""
    draws = np.random.default_rng(seed)
    codes = np.arange(n_images) % 4
    features = draws.normal(size=(n_images, 6)) + np.eye(6)[codes] + 2 * np.eye(6)[4 + codes // 2]
    return features, codes, fit_shared(features, codes, np.ones(n_images), 1.0, groups)[0]


def test_without_sharing_the_regression_is_scikit_learns():
    features, codes, coefficients = shared(np.zeros((4, 2)))
    regression = LogisticRegression(C=1.0, max_iter=1000, tol=1e-6).fit(features, codes)
    assert coefficients == pytest.approx(regression.coef_, abs=0.01)


def test_classes_that_share_weights_are_more_alike():
    groups = np.eye(2)[[0, 0, 1, 1]]
    apart, together = (np.corrcoef(shared(own)[2])[0, 1] for own in (0 * groups, 3 * groups))
    assert together > apart + 0.1


def test_a_probe_ignores_the_hierarchy_at_zero_and_needs_one_otherwise(colours):
    runs = '\n[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\nhierarchy = "nested"\n'
    with pytest.raises(Exception, match=r"\[runs.probe\] hierarchy = 'nested' needs \[data\] hierarchy"):
        competition = colours(runs)
        build_model(competition, competition.run("probe"))
    competition = colours(runs, data='hierarchy = "/"')
    probe = build_model(competition, competition.run("probe"))
    assert [setting["hierarchy"] for setting in probe.own_settings()] == [0.0, 0.5, 1.5]
    plain = colours(runs, ("runs.probe.hierarchy=0.0",))
    assert "hierarchy" not in build_model(plain, plain.run("probe")).own_settings()[0]


def test_the_leaderboard_shows_every_level(colours, capsys):
    competition = colours(data='hierarchy = { csv = "tree.csv", levels = ["kind", "colour"] }')
    write(competition.root / "tree.csv", "kind,colour\ncold,blue\ncold,green\nwarm,red\n")
    prepared = prepare(competition)
    result = crossval(prepared, "forest")
    said_board = score_levels(prepared, result)
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    said = prepared.hierarchy.best_paths(proba)
    assert list(said_board) == ["kind", "classes"]
    assert said_board["classes"][0] == pytest.approx((said == labels).mean())
    assert said_board["kind"][0] == pytest.approx(((said < 2) == (labels < 2)).mean())
    say(*make_board(prepared, [result], {}))
    assert "accuracy of one path at each level" in " ".join(capsys.readouterr().out.split())
