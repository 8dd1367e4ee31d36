"""Which metric suits which task, and what is refused by name."""

from __future__ import annotations

import pytest
from sklearn.metrics import fbeta_score
from support.draws import draw_single

from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.scoring.metrics import (
    METRICS,
    Classes,
    check_metric_classes,
    check_metric_name,
    find_metric,
    grades_of,
    positive_of,
)


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("acuracy", "multiclass", "'acuracy' is not a metric; did you mean 'accuracy'"),
        ("map@0", "multiclass", "the number must be 1..1000"),
        ("top_5000", "multiclass", "the number must be 1..1000"),
        ("map@five", "multiclass", "'map@five' is not a metric; did you mean .*'map@5'"),
        ("top_3", "multilabel", "'top_3' is no metric of task = 'multilabel', which has accuracy, brier"),
        ("hamming_accuracy", "multiclass", "is no metric of task = 'multiclass', which has accuracy, average"),
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
    check_metric_classes(find_metric("top_2"), Classes(("a", "b", "c")))
    with pytest.raises(InputError, match="'top_3' of 3 classes is always 1"):
        check_metric_classes(find_metric("top_3"), Classes(("a", "b", "c")))


@pytest.mark.parametrize(
    ("names", "order", "grades"),
    [
        (("02", "10"), (), [2, 10]),
        (("1", "10", "2"), (), [1, 10, 2]),
        (("-1 low", "0 none", "1.5 high"), (), [-1, 0, 1.5]),
        (("mild", "none", "severe"), ("none", "mild", "severe"), [1, 0, 2]),
        (("0", "10", "5"), ("0", "5", "10"), [0, 10, 5]),
    ],
)
def test_grades_are_numbers_in_the_names_or_places_in_the_declared_order(names, order, grades):
    assert grades_of(Classes(names, order=order)).tolist() == grades


@pytest.mark.parametrize(
    ("names", "order", "message"),
    [
        (("mild", "none", "severe"), (), "nothing says where 'mild' stands; write order = .\"mild\", "),
        (("mild", "none"), ("none", "mild", "severe"), "order must name every class once: 'severe' differ"),
        (("1 left", "1 right", "2"), (), "classes '1 left', '1 right' are one grade, 1"),
    ],
)
def test_kappa_refuses_classes_of_which_no_order_is_known(names, order, message):
    with pytest.raises(InputError, match=message):
        check_metric_classes(METRICS["quadratic_kappa"], Classes(names, order=order))


def test_an_order_that_no_metric_reads_is_refused(colours):
    with pytest.raises(InputError, match='order is read with metric = "quadratic_kappa" alone'):
        colours(changes=('competition.order=["red", "green", "blue"]',))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "binary_f1"])
def test_a_metric_of_two_classes_is_refused_of_more_and_its_like_named(name):
    several = {"roc_auc": "macro_auc", "average_precision": "map", "binary_f1": "macro_f1"}[name]
    with pytest.raises(InputError, match=rf"'{name}' is of two classes, and here are 3: .*'{several}'"):
        check_metric_classes(find_metric(name), Classes(("a", "b", "c")))


@pytest.mark.parametrize(
    ("names", "positive", "is_known"),
    [
        (("0", "1"), "1", True),
        (("False", "True"), "True", True),
        (("no", "yes"), "yes", True),
        (("Negative", "positive"), "positive", True),
        (("cat", "dog"), "dog", False),
    ],
)
def test_the_positive_class_is_a_yes_or_the_last_which_is_a_guess(names, positive, is_known):
    assert positive_of(names) == (positive, is_known)


def test_a_positive_class_that_is_none_is_refused_with_the_nearest(colours):
    changes = ("competition.metric=accuracy", "submission.positive=rd")
    with pytest.raises(InputError, match=r"competition.toml: .*positive = 'rd' is of two classes"):
        prepare(colours(changes=changes))
    with pytest.raises(InputError, match="positive = 'dgo' is no class; did you mean 'dog'"):
        check_metric_classes(METRICS["roc_auc"], Classes(("cat", "dog"), "dgo"))


@pytest.mark.parametrize(
    ("name", "beta"), [("macro_f05", 0.5), ("macro_f0.5", 0.5), ("macro_f10", 10), ("macro_f2", 2)]
)
def test_the_number_of_an_f_beta_is_read_as_kaggles_pages_write_it(name, beta):
    labels, proba = draw_single(0)
    expected = fbeta_score(labels, proba.argmax(1), beta=beta, average="macro")
    assert find_metric(name).score(labels, proba) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["macro_f0", "micro_f101", "samples_f00"])
def test_a_beta_out_of_range_is_refused(name):
    with pytest.raises(InputError, match="beta must lie above 0, at most 100"):
        find_metric(name)
