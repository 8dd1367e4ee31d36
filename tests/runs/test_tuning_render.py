"""What a tuning says: the verdict first, then all trials; values to paste only where they help, or where asked for."""

from __future__ import annotations

import json
import tomllib

import pytest
from support.command import flat
from support.toys import DIAL

from kit.config.competition import Run
from kit.models.search import Between
from kit.runs.tuning import Tuned, render
from kit.runs.tuning.honest import Comparison
from kit.runs.tuning.study import Trial

RUN = Run(name="svm", model="svm", options={"C": 1.0, "pixels": 4})


def tuned(difference: float, error: float, is_own: bool = False, sign: int = 1, n_more: int = 0) -> Tuned:
    """Return a tuning whose first trial is the run's own values and whose second is the best."""
    trials = [Trial(0, {"C": 1.0}, "complete", 0.8), Trial(1, {"C": 9.0}, "complete", 0.8 + sign * 0.02)]
    trials += [Trial(2, {"C": 3.0}, "complete", 0.8 - sign * 0.1), Trial(3, {"C": 5.0}, "pruned", 0.3)]
    trials += [Trial(4 + i, {"C": 10.0 + i}, "complete", 0.8 - sign * 0.2) for i in range(n_more)]
    comparison = Comparison(1000, (0.8 + difference, 0.02), (0.8, 0.02), difference, error, {0: 1, 1: 1})
    space = {"C": Between(0.1, 10.0)}
    return Tuned(RUN, "accuracy", sign, space, trials, {"C": 9.0}, (0.82, 0.02), comparison, is_own, 0)


@pytest.mark.parametrize(
    ("outcome", "verdict", "has_helped"),
    [
        (tuned(0.002, 0.01), "svm: not distinguishable from what the run has: keep it", False),
        (tuned(0.1, 0.01, is_own=True), "svm: nothing that was tried beats what the run has: keep it", False),
        (tuned(-0.1, 0.01), "svm: the search's choice is worse on other folds than what the run has: keep it", False),
        (tuned(0.1, 0.01), "svm: tuning helped", True),
    ],
)
def test_the_verdict_comes_first_and_only_values_that_help_are_there_to_paste(outcome, verdict, has_helped):
    text = render(outcome)
    assert text.splitlines()[0] == verdict
    assert ("[runs.svm_tuned]" in text) == has_helped == outcome.as_dict()["helped"]


def test_values_that_may_not_help_are_printed_where_they_are_asked_for():
    table = render(tuned(0.002, 0.01), with_toml=True).partition("[runs.")
    assert tomllib.loads("".join(table[1:]))["runs"]["svm_tuned"] == {"model": "svm", "C": 9.0, "pixels": 4}
    assert "[runs." not in render(tuned(0.0, 0.0, is_own=True), with_toml=True), "the run has them"


@pytest.mark.parametrize("sign", [1, -1])
def test_trials_that_improved_on_nothing_are_listed_too_the_best_first(sign):
    lines = render(tuned(0.002, 0.01, sign=sign)).splitlines()
    start = lines.index("4 trials (3 complete, 1 pruned), the best first, on the search's folds:")
    assert [line.split()[2] for line in lines[start + 1 : start + 4]] == ["1", "0", "2"]
    assert "what the run has" in lines[start + 2] and lines[start + 4] == "  and 1 more: --json lists all"


def test_a_long_search_shows_the_ten_best():
    lines = render(tuned(0.002, 0.01, n_more=20)).splitlines()
    assert sum(" trial " in line for line in lines) == 10 and lines[-1] == "  and 14 more: --json lists all"


@pytest.fixture
def kit(colours, toys, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        root = colours(DIAL).workspace.root
        code, out, err = run_command(root, *arguments)
        return code, out, flat(err)

    return call


def test_the_command_says_where_values_that_help_belong(kit):
    code, out, err = kit("tune", "colours", "dialled", "--trials", "4", "--set", "competition.metric=log_loss")
    assert code == 0 and out.startswith("dialled: tuning helped") and "[runs.dialled_tuned]" in out
    assert "belongs into" in err and "train colours dialled_tuned" in err and "best so far" in err


def test_the_command_keeps_the_runs_values_where_nothing_is_better(kit):
    code, out, err = kit("tune", "colours", "dialled", "--trials", "2")
    assert code == 0 and "keep it" in out.splitlines()[0] and "[runs." not in out and "./run.sh leaderboard" in err
    assert tomllib.loads(json.loads(kit("tune", "colours", "dialled", "--trials", "2", "--json")[1])["toml"])
