"""A user's own metric: found by its dotted path, named in whatever goes wrong, and what every score is in."""

from __future__ import annotations

import numpy as np
import pytest
from support.folders import write

from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.report.board import leaderboard
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result
from kit.runs.verify import verify
from kit.scoring.metrics import METRICS, find_metric, paired_difference, score_with_error

RULES = """
import numpy as np
COSTS = np.array([[0, 1, 5], [1, 0, 1], [5, 1, 0]])
def cost(labels, said):
    return COSTS[labels, said].mean()
cost.greater_is_better = False
cost.needs = "labels"
def sure(labels, proba):
    return proba[np.arange(len(labels)), labels].mean()
def broken(labels, proba):
    return labels[10**6]
def nothing(labels, proba):
    return None
def asks(labels, proba):
    return 0.0
asks.needs = "label"
"""
SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'
MINE = "competition.metric=mine.wrong"
WRONG = "def wrong(labels, predicted):\n    return (labels != predicted).mean() * {}\nwrong.needs = 'labels'\n"


@pytest.fixture
def metric_of(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "birds.py").write_text(RULES)
    return lambda function: find_metric(f"rules.birds.{function}", [tmp_path / "nowhere", tmp_path])


def test_a_metric_of_the_users_is_found_by_its_dotted_path(metric_of):
    labels, proba = np.array([0, 1, 2]), np.array([[0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    cost, sure = metric_of("cost"), metric_of("sure")
    assert cost.score(labels, proba) == pytest.approx(5 / 3) and cost.sign == -1
    assert sure.score(labels, proba) == pytest.approx(0.5) and sure.sign == 1
    better = np.eye(3)[labels]
    assert paired_difference(cost, labels, better, proba)[0] > 0 and score_with_error(sure, labels, proba)[1] > 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("coast", r"birds\.py: no function 'coast'; did you mean 'cost'"),
        ("broken", r"birds\.py: broken failed \(IndexError: "),
        ("nothing", r"birds\.py: nothing returned None, not a number"),
        ("asks", r"birds\.py: asks\.needs = 'label'; did you mean 'labels'"),
    ],
)
def test_what_is_wrong_with_a_metric_of_the_users_is_named(metric_of, function, message):
    with pytest.raises(InputError, match=message):
        metric_of(function).score(np.array([0, 1]), np.eye(2))


def test_a_metric_whose_file_is_not_there_or_not_python_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no file rules/cats\.py in .*; put it beside competition\.toml"):
        find_metric("rules.cats.cost", [tmp_path])
    (tmp_path / "odd.py").write_text("def cost(:\n")
    with pytest.raises(InputError, match=r"odd\.py: cannot be run \(SyntaxError"):
        find_metric("odd.cost", [tmp_path])


def test_a_metric_of_the_users_that_was_edited_is_another_metric(tmp_path):
    (tmp_path / "mine.py").write_text("def cost(labels, proba):\n    return 1.0\n")
    first = find_metric("mine.cost", [tmp_path])
    (tmp_path / "mine.py").write_text("def cost(labels, proba):\n    return 2.0\n")
    again = find_metric("mine.cost", [tmp_path])
    assert (first.score(np.zeros(2, int), np.eye(2)), again.score(np.zeros(2, int), np.eye(2))) == (1, 2)
    assert first.key != again.key and METRICS["accuracy"].key == "accuracy"


@pytest.mark.parametrize("beside", ["competitions/colours", "."])
def test_a_competition_is_scored_in_a_metric_of_the_users(colours, tmp_path, beside):
    colours(SVM)
    (tmp_path / beside / "mine.py").write_text(WRONG.format(100) + "wrong.greater_is_better = False\n")
    prepared = prepare(colours(SVM, (MINE,)))
    result = crossval(prepared, "svm")
    assert result.record.metric == "mine.wrong" and result.record.cv == 0
    row = leaderboard(prepared, [result], {})[0]
    assert row.beside["accuracy"].score == 1 and row.local is not None
    assert len(verify(prepared, [result])) == 3


def test_a_missing_metric_of_ones_own_is_named_before_any_work(colours):
    with pytest.raises(InputError, match=r"metric 'mine\.wrong': no file mine\.py in .*colours, "):
        prepare(colours(SVM, (MINE,)))


def test_a_run_is_scored_anew_when_its_metric_was_edited(colours, tmp_path):
    competition = colours(SVM)
    (competition.folder / "mine.py").write_text(WRONG.format("1 + 5"))
    prepared = prepare(colours(SVM, (MINE,)))
    assert crossval(prepared, "svm").record.cv == 5
    (competition.folder / "mine.py").write_text(WRONG.format("1 + 7"))
    assert find_result(prepare(colours(SVM, (MINE,))), "svm").record.cv == 7


def test_a_users_metric_that_wants_every_class_has_an_error_though_a_rare_one_is_not_always_drawn(tmp_path):
    body = "    return log_loss(labels, proba)\ncost.greater_is_better = False\n"
    write(tmp_path / "own.py", f"from sklearn.metrics import log_loss\ndef cost(labels, proba):\n{body}")
    labels = np.array([0, 1] * 20 + [2])
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 41)
    score, error = score_with_error(find_metric("own.cost", [tmp_path]), labels, proba)
    assert score == pytest.approx(score_with_error("log_loss", labels, proba)[0]) and error > 0
