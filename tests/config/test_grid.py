"""Grids: one table, several runs, each with a name that says what differs."""

from __future__ import annotations

import sys

import pytest

from kit.cli import main
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.runs.ensemble import check_members
from kit.runs.train import find_finished, train_runs

RUNS = """
[runs.forest]
model = "forest"
n_trees = 5
[runs.svm_grid]
model = "svm"
pixels = 4
"""
GRID = RUNS + 'grid = { C = [0.05, 3.0], kernel = ["rbf", "linear"] }\n'
NAMES = ["svm_grid_5e-2_rbf", "svm_grid_5e-2_linear", "svm_grid_3_rbf", "svm_grid_3_linear"]


def test_a_grid_is_a_run_for_each_combination_of_its_values(colours):
    competition = colours(GRID)
    assert list(competition.runs) == ["forest", *NAMES]
    run = competition.run("svm_grid_5e-2_linear")
    assert (run.model, run.options, run.grid) == ("svm", {"pixels": 4, "C": 0.05, "kernel": "linear"}, "svm_grid")


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        ("1e-7", "1e-7"),
        ("0.00001", "1e-5"),
        ("0.0", "0"),
        ("0.025", "25e-3"),
        ("-1.5", "-15e-1"),
        ("30.0", "30"),
        ("300", "300"),
        ("1_000_000", "1e6"),
        ("true", "true"),
        ('"open_clip:ViT-B-16/openai"', "open-clip-ViT-B-16-openai"),
    ],
)
def test_values_are_spelled_so_that_they_can_be_part_of_a_name(colours, value, spelled):
    assert list(colours(f"[runs.a]\nmodel = 'svm'\ngrid = {{ C = [{value}] }}").runs) == [f"a_{spelled}"]


def test_a_grid_may_vary_the_model_and_the_seed(colours):
    text = "[runs.a]\ngrid = { model = ['svm', 'forest'], seed = [0, 1] }\n"
    assert [(run.model, run.seed) for run in colours(text).runs.values()] == [
        ("svm", 0), ("svm", 1), ("forest", 0), ("forest", 1),
    ]  # fmt: skip


def test_one_seed_is_every_runs_but_those_of_a_grid_over_seeds(colours):
    competition = colours(GRID + "[runs.seeds]\nmodel = 'svm'\ngrid = { seed = [3, 4] }\n")
    again = read_competition("colours", competition.workspace, seed=9)
    assert [run.seed for run in again.runs.values()] == [9, 9, 9, 9, 9, 3, 4]


def test_a_change_of_the_grid_is_a_change_of_all_its_runs(colours):
    competition = colours(GRID, changes=("runs.svm_grid.pixels=8", "runs.svm_grid.grid.C=[1]"))
    assert {name: run.options["pixels"] for name, run in competition.runs.items() if run.grid} == {
        "svm_grid_1_rbf": 8,
        "svm_grid_1_linear": 8,
    }


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("[1, 2]", r"\[runs.svm_grid\] grid must be a table of keys and the values to try"),
        ("{}", "grid must be a table of keys"),
        ("{ C = 3 }", r"grid.C = 3 must be a list of at least one value"),
        ("{ C = [] }", r"grid.C = \[\] must be a list of at least one value"),
        ("{ C = [[1]] }", r"grid.C: \[1\] is not a number, a word, true or false"),
        ("{ pixels = [4, 8] }", "grid.pixels: pixels stands beside the grid too; keep one of them"),
        ("{ C = [1, 1.0] }", "there would be two runs 'svm_grid_1'; leave out the value that is there twice"),
        ("{ C = [1] }\n[runs.svm_grid_1]\nmodel = 'svm'", "there would be two runs 'svm_grid_1'; rename one"),
        ("{ C = [1] }\n[runs.t]\nmodel = 'svm'\npseudo = { teachers = ['svm_grid'] }", "no run 'svm_grid'.*svm_grid_1"),
    ],
)
def test_a_grid_that_is_none_is_refused(colours, grid, message):
    with pytest.raises(InputError, match=message):
        colours(RUNS + f"grid = {grid}\n")


def test_a_wrong_option_is_named_with_the_run_of_the_grid(colours):
    prepared = prepare(colours(RUNS + "grid = { D = [1] }\n"))
    with pytest.raises(InputError, match=r"\[runs.svm_grid_1\] model 'svm' has no option 'D'"):
        train_runs(prepared, ["svm_grid_1"], strict=True)


def test_a_grid_is_no_run_where_one_is_wanted(colours):
    with pytest.raises(InputError, match="svm_grid is a grid; name one of its runs: svm_grid_5e-2_rbf, "):
        colours(GRID).run("svm_grid")


def test_a_grid_or_one_of_its_runs_is_trained_by_name(colours):
    competition = colours(GRID)
    assert competition.runs_of("svm_grid") == NAMES
    assert competition.runs_of("svm_grid_3_rbf") == ["svm_grid_3_rbf"]
    assert competition.runs_of("forest") == ["forest"]
    with pytest.raises(InputError, match="no run 'svm_gird'; did you mean 'svm_grid'"):
        competition.runs_of("svm_gird")


def test_grids_are_neither_trained_nor_combined_unless_asked_for(colours):
    competition = colours(GRID)
    assert competition.default_runs == ["forest"]
    assert check_members(prepare(competition)) == ["forest"]


def test_a_member_of_the_ensemble_is_trained_though_it_comes_from_a_grid(colours):
    competition = colours(GRID, rest='[ensemble]\nmembers = ["forest", "svm_grid_3_rbf"]')
    assert competition.default_runs == ["forest", "svm_grid_3_rbf"]


def test_the_runs_of_a_grid_are_taught_by_others_and_stand_in_the_leaderboard(colours):
    prepared = prepare(colours(GRID + 'pseudo = { teachers = ["forest"] }\n'))
    results, skipped = train_runs(prepared, prepared.competition.runs_of("svm_grid")[:2], strict=True)
    assert [result.name for result in results] == ["forest", NAMES[0], NAMES[1]] and not skipped
    assert {result.name for result in find_finished(prepared)} >= {NAMES[0], NAMES[1]}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Return a function that runs one command in this process: exit code and all it said."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["kit", *arguments, "--workspace", str(tmp_path)])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return int(stop.value.code or 0), " ".join((streams.out + streams.err).split())

    return run


def test_the_command_trains_a_grid_and_all_leaves_it_out(colours, call):
    root = colours(GRID).workspace.root
    assert call("all", "colours")[0] == 0
    assert {path.name for path in (root / "runs/colours").iterdir()} & {*NAMES} == set()
    code, message = call("train", "colours", "svm_grid")
    assert code == 0 and all(f"{name}: CV" in message for name in NAMES)
    code, message = call("leaderboard", "colours", "--json")
    assert code == 0 and all(name in message for name in NAMES)


def test_a_competition_of_grids_alone_says_how_to_train_them(colours, call):
    colours("[runs.a]\nmodel = 'svm'\ngrid = { C = [1, 3] }\n")
    code, message = call("train", "colours")
    assert code == 2 and "a grid is trained by its name" in message
    assert call("train", "colours", "a_3")[0] == 0
