"""Which metric suits which task, and what is refused by name."""

from __future__ import annotations

import pytest

from kit.core.errors import InputError
from kit.scoring.metrics import METRICS, check_metric_name, find_metric
from kit.scoring.metrics.names import check_metric_classes


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("acuracy", "multiclass", "'acuracy' is not a metric; did you mean 'accuracy'"),
        ("map@0", "multiclass", "the number must be 1..1000"),
        ("top_5000", "multiclass", "the number must be 1..1000"),
        ("map@five", "multiclass", "'map@five' is not a metric; did you mean .*'map@5'"),
        ("top_3", "multilabel", "'top_3' is no metric of task = 'multilabel', which has accuracy, hamming_accuracy"),
        ("hamming_accuracy", "multiclass", "is no metric of task = 'multiclass', which has accuracy, balanced"),
        ("", "multiclass", "'' is not a metric; valid: "),
    ],
)
def test_a_metric_that_does_not_suit_is_refused_with_those_that_do(name, task, message):
    with pytest.raises(ValueError, match=message):
        check_metric_name(name, task)


@pytest.mark.parametrize(
    ("name", "task"), [("map@5", "multilabel"), ("top_3", "multiclass"), ("own.cost", "multilabel")]
)
def test_metrics_that_suit_are_taken(name, task):
    check_metric_name(name, task)


def test_a_competition_whose_metric_is_of_another_task_is_refused(colours):
    with pytest.raises(
        InputError, match=r"competition.toml: \[competition\] metric: 'samples_f1' is no metric of task"
    ):
        colours(changes=("competition.metric=samples_f1",))


def test_top_k_of_as_few_classes_is_refused():
    check_metric_classes(find_metric("top_2"), ("a", "b", "c"))
    with pytest.raises(InputError, match="'top_3' of 3 classes is always 1"):
        check_metric_classes(find_metric("top_3"), ("a", "b", "c"))


def test_kappa_refuses_numbers_that_are_not_in_their_order():
    check_metric_classes(METRICS["quadratic_kappa"], ("02", "10"))
    with pytest.raises(InputError, match="as text '10' is not in its place; write the numbers with as many digits"):
        check_metric_classes(METRICS["quadratic_kappa"], ("1", "10", "2"))


def test_kappa_refuses_names_that_say_nothing_of_their_order():
    check_metric_classes(METRICS["quadratic_kappa"], ("0 none", "1 mild", "2 severe"))
    with pytest.raises(InputError, match=r"nothing says where 'mild' stands; .* merge = .* under \[data\]"):
        check_metric_classes(METRICS["quadratic_kappa"], ("mild", "none", "severe"))
