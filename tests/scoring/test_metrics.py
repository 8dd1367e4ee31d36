"""Metrics of both tasks agree with scikit-learn; names, errors by group, the table per class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn import metrics as library

from kit.core.errors import InputError
from kit.scoring.metrics import METRICS, check_name, decide, find_metric, paired_difference, per_class, score_with_error
from kit.scoring.metrics.names import check_classes
from kit.scoring.metrics.uncertainty import _bootstrap_rows

N_IMAGES, N_CLASSES = 240, 5


def draw_single(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    labels = draws.choice(N_CLASSES, N_IMAGES, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    logits = draws.normal(size=(N_IMAGES, N_CLASSES)) + 1.5 * np.eye(N_CLASSES)[labels]
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, proba.round(1) if ties else proba


def draw_several(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    labels = (draws.random((N_IMAGES, N_CLASSES)) < [0.6, 0.4, 0.3, 0.2, 0.1]).astype(np.int8)
    proba = 1 / (1 + np.exp(-draws.normal(size=labels.shape) - 2 * labels + 1))
    return labels, proba.round(1) if ties else proba


def apk(labels: np.ndarray, proba: np.ndarray, k: int) -> float:
    """Return mAP@k as its definition reads: one image, one place at a time."""
    totals = []
    for own, row in zip(labels, proba, strict=True):
        right, total = 0, 0.0
        for place, code in enumerate(np.argsort(-row, kind="stable")[:k], start=1):
            if code in own:
                right += 1
                total += right / place
        totals.append(total / min(len(own), k) if len(own) else 0.0)
    return float(np.mean(totals))


SINGLE = {
    "accuracy": lambda y, p: library.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: library.balanced_accuracy_score(y, p.argmax(1)),
    "macro_f1": lambda y, p: library.f1_score(y, p.argmax(1), average="macro"),
    "micro_f1": lambda y, p: library.f1_score(y, p.argmax(1), average="micro"),
    "weighted_f1": lambda y, p: library.f1_score(y, p.argmax(1), average="weighted"),
    "mcc": lambda y, p: library.matthews_corrcoef(y, p.argmax(1)),
    "quadratic_kappa": lambda y, p: library.cohen_kappa_score(y, p.argmax(1), weights="quadratic"),
    "log_loss": lambda y, p: library.log_loss(y, p, labels=range(N_CLASSES)),
    "macro_auc": lambda y, p: library.roc_auc_score(np.eye(N_CLASSES)[y], p, average="macro"),
    "map": lambda y, p: library.average_precision_score(np.eye(N_CLASSES)[y], p, average="macro"),
    "top_2": lambda y, p: library.top_k_accuracy_score(y, p, k=2, labels=range(N_CLASSES)),
    "map@3": lambda y, p: apk(y[:, None], p, 3),
}
SEVERAL = {
    "accuracy": lambda y, p: library.accuracy_score(y, p >= 0.5),
    "hamming_accuracy": lambda y, p: 1 - library.hamming_loss(y, p >= 0.5),
    "macro_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="macro"),
    "micro_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="micro"),
    "weighted_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="weighted"),
    "samples_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="samples", zero_division=1),
    "log_loss": lambda y, p: np.mean([library.log_loss(y[:, c], p[:, c]) for c in range(N_CLASSES)]),
    "macro_auc": lambda y, p: library.roc_auc_score(y, p, average="macro"),
    "map": lambda y, p: library.average_precision_score(y, p, average="macro"),
    "map@3": lambda y, p: apk([np.flatnonzero(row) for row in y], p, 3),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SINGLE)
def test_metrics_of_one_label_agree_with_scikit_learn(name, seed):
    labels, proba = draw_single(seed)
    assert find_metric(name).score(labels, proba) == pytest.approx(SINGLE[name](labels, proba), abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SEVERAL)
def test_metrics_of_several_labels_agree_with_scikit_learn(name, seed):
    labels, proba = draw_several(seed)
    assert find_metric(name).score(labels, proba) == pytest.approx(SEVERAL[name](labels, proba), abs=1e-9)


@pytest.mark.parametrize("name", ["macro_auc", "map"])
def test_equal_probabilities_are_ranked_as_scikit_learn_ranks_them(name):
    labels, proba = draw_single(3, ties=True)
    assert find_metric(name).score(labels, proba) == pytest.approx(SINGLE[name](labels, proba), abs=1e-9)
    labels, proba = draw_several(3, ties=True)
    assert find_metric(name).score(labels, proba) == pytest.approx(SEVERAL[name](labels, proba), abs=1e-9)


def test_every_metric_of_every_task_is_compared_with_scikit_learn():
    for task, compared in (("multiclass", SINGLE), ("multilabel", SEVERAL)):
        assert {name for name, metric in METRICS.items() if task in metric.tasks} <= set(compared)


@pytest.mark.parametrize("name", ["macro_auc", "map", "macro_f1"])
@pytest.mark.parametrize("draw", [draw_single, draw_several])
def test_what_resamples_share_gives_what_each_would_give_alone(name, draw):
    labels, proba = draw(0, ties=True)
    metric = METRICS[name]
    said = metric.read(labels, proba)
    shared = metric.share(labels, said)
    for rows in list(_bootstrap_rows(N_IMAGES, n_draws=5)):
        assert shared(rows) == pytest.approx(metric.of(labels[rows], said[rows]), abs=1e-9)


def test_top_1_is_accuracy_and_map_at_1_too():
    labels, proba = draw_single(0)
    accuracy = METRICS["accuracy"].score(labels, proba)
    assert [find_metric(name).score(labels, proba) for name in ("top_1", "map@1", "micro_f1")] == [accuracy] * 3


def test_a_class_that_nobody_names_does_not_count_in_macro_f1():
    labels, proba = draw_several(0)
    wider = [np.hstack([own, np.zeros((N_IMAGES, 1), dtype=own.dtype)]) for own in (labels, proba)]
    for name in ("macro_f1", "micro_f1", "weighted_f1"):
        assert METRICS[name].score(*wider) == pytest.approx(METRICS[name].score(labels, proba))


def test_an_image_without_labels_of_which_none_is_said_is_right():
    labels, proba = np.zeros((3, 4), dtype=np.int8), np.full((3, 4), 0.2)
    assert METRICS["samples_f1"].score(labels, proba) == METRICS["accuracy"].score(labels, proba) == 1


def test_even_odds_are_a_yes():
    assert decide(np.array([[0.5, 0.49]]), is_multilabel=True).tolist() == [[1, 0]]


def test_auc_leaves_out_a_class_without_images_and_says_which():
    labels, proba = draw_single(0)
    labels = np.where(labels == 2, 0, labels)
    present = [0, 1, 3, 4]
    expected = np.mean([library.roc_auc_score(labels == code, proba[:, code]) for code in present])
    assert METRICS["macro_auc"].score(labels, proba) == pytest.approx(expected)
    assert METRICS["macro_auc"].classes_left_out(labels, ("a", "b", "c", "d", "e")) == ("c",)
    assert METRICS["accuracy"].classes_left_out(labels, ("a", "b", "c", "d", "e")) == ()


def test_auc_leaves_out_a_label_that_every_image_has():
    labels, proba = draw_several(0)
    labels[:, 1] = 1
    assert METRICS["macro_auc"].classes_left_out(labels, tuple("abcde")) == ("b",)
    assert METRICS["map"].classes_left_out(labels, tuple("abcde")) == ()
    assert np.isfinite(METRICS["macro_auc"].score(labels, proba))


def test_a_metric_that_no_class_defines_is_refused_not_nan():
    with pytest.raises(InputError, match=r"metric macro_auc is not defined on these 4 images: no class has"):
        METRICS["macro_auc"].score(np.zeros(4, dtype=int), np.full((4, 2), 0.5))
    with pytest.raises(InputError, match="macro_f1 is not defined on these 0 images: there are none"):
        score_with_error("macro_f1", np.zeros(0, dtype=int), np.zeros((0, 2)))


@pytest.mark.parametrize("name", ["mcc", "quadratic_kappa"])
def test_agreement_of_one_class_with_itself_shows_nothing(name):
    assert METRICS[name].score(np.zeros(6, dtype=int), np.tile([0.9, 0.1], (6, 1))) == 0


def test_kappa_counts_how_far_off_a_class_is():
    labels, near, far = np.arange(5), np.eye(5)[[1, 1, 2, 3, 4]], np.eye(5)[[4, 1, 2, 3, 4]]
    assert METRICS["quadratic_kappa"].score(labels, near) > METRICS["quadratic_kappa"].score(labels, far)


@pytest.mark.parametrize(
    ("name", "task", "said"),
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
def test_a_metric_that_does_not_suit_is_refused_with_those_that_do(name, task, said):
    with pytest.raises(ValueError, match=said):
        check_name(name, task)


@pytest.mark.parametrize(
    ("name", "task"), [("map@5", "multilabel"), ("top_3", "multiclass"), ("own.cost", "multilabel")]
)
def test_metrics_that_suit_are_taken(name, task):
    check_name(name, task)


def test_a_competition_whose_metric_is_of_another_task_is_refused(colours):
    with pytest.raises(
        InputError, match=r"competition.toml: \[competition\] metric: 'samples_f1' is no metric of task"
    ):
        colours(changes=("competition.metric=samples_f1",))


def test_top_k_of_as_few_classes_is_refused():
    check_classes(find_metric("top_2"), ("a", "b", "c"))
    with pytest.raises(InputError, match="'top_3' of 3 classes is always 1"):
        check_classes(find_metric("top_3"), ("a", "b", "c"))


def test_kappa_refuses_numbers_that_are_not_in_their_order():
    check_classes(METRICS["quadratic_kappa"], ("02", "10"))
    with pytest.raises(InputError, match="as text '10' is not in its place; write the numbers with as many digits"):
        check_classes(METRICS["quadratic_kappa"], ("1", "10", "2"))


def test_kappa_refuses_names_that_say_nothing_of_their_order():
    check_classes(METRICS["quadratic_kappa"], ("0 none", "1 mild", "2 severe"))
    with pytest.raises(InputError, match=r"nothing says where 'mild' stands; .* merge = .* under \[data\]"):
        check_classes(METRICS["quadratic_kappa"], ("mild", "none", "severe"))


def test_images_of_one_group_do_not_make_the_error_smaller():
    labels, proba = draw_single(0)
    groups = np.tile(np.arange(N_IMAGES), 4)
    labels4, proba4 = np.tile(labels, 4), np.tile(proba, (4, 1))
    for name in ("accuracy", "log_loss", "macro_f1", "macro_auc"):
        once = score_with_error(name, labels, proba)
        copied = score_with_error(name, labels4, proba4, groups)
        assert copied == pytest.approx(once, rel=1e-6)
        assert score_with_error(name, labels4, proba4)[1] == pytest.approx(once[1] / 2, rel=0.15)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "map"])
def test_groups_of_one_are_no_groups(name):
    labels, proba = draw_single(0)
    groups = np.arange(N_IMAGES) + 7
    assert score_with_error(name, labels, proba, groups) == pytest.approx(score_with_error(name, labels, proba))
    other = np.roll(proba, 1, axis=0)
    alone, grouped = (paired_difference(name, labels, proba, other, own) for own in (None, groups))
    assert grouped == pytest.approx(alone)


def test_a_resample_holds_whole_groups_as_often_as_they_were_drawn():
    groups = np.array([5, 5, 2, 9, 9, 9, 2, 5])
    members = [set(np.flatnonzero(groups == group)) for group in (2, 5, 9)]
    draw = np.random.default_rng(0)
    for rows in _bootstrap_rows(len(groups), groups, 20):
        drawn = draw.integers(0, 3, 3)
        expected = sorted(row for group in drawn for row in members[group])
        assert sorted(rows.tolist()) == expected


def test_the_bootstrap_of_auc_agrees_with_the_closed_form_of_delong():
    """DeLong et al. (1988): the variance of the share of pairs in order, from each image's own share."""
    draws = np.random.default_rng(0)
    labels = (draws.random(600) < 0.3).astype(np.int8)[:, None]
    score = draws.random((600, 1)) + 0.3 * labels
    own, others = score[labels == 1], score[labels == 0]
    ranks = rankdata(np.concatenate([own, others]))
    of_own = (ranks[: len(own)] - rankdata(own)) / len(others)
    of_others = 1 - (ranks[len(own) :] - rankdata(others)) / len(own)
    closed = np.sqrt(of_own.var(ddof=1) / len(own) + of_others.var(ddof=1) / len(others))
    found, error = score_with_error("macro_auc", labels, score)
    assert found == pytest.approx(of_own.mean()) and error == pytest.approx(closed, rel=0.1)


@pytest.mark.parametrize("name", [name for name, own in METRICS.items() if "multilabel" in own.tasks])
def test_a_run_of_several_labels_cannot_be_told_from_itself(name):
    labels, proba = draw_several(0)
    assert paired_difference(name, labels, proba, proba) == (0, 0)
    score, error = score_with_error(name, labels, proba)
    assert np.isfinite(score) and 0 < error < 0.2


def test_errors_of_macro_f1_over_many_images_and_classes_take_no_more_than_a_moment():
    """400 resamples of 15,000 images and 48 classes; the limit leaves room for a busy machine."""
    import time

    draws = np.random.default_rng(0)
    labels, proba = draws.integers(0, 48, 15_000), draws.random((15_000, 48), dtype=np.float32)
    started = time.process_time()
    score_with_error("macro_f1", labels, proba)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("draw", [draw_single, draw_several])
def test_the_table_per_class_agrees_with_scikit_learn(draw):
    labels, proba = draw(0)
    rows = per_class(labels, proba, tuple("abcde"))
    said = decide(proba, labels.ndim == 2)
    expected = library.precision_recall_fscore_support(labels, said, average=None)
    found = np.array([(row.precision, row.recall, row.f1, row.support) for row in rows]).T
    assert [row.name for row in rows] == list("abcde") and found == pytest.approx(np.array(expected))
    assert [row.recall_se for row in rows] == pytest.approx(np.sqrt(found[1] * (1 - found[1]) / found[3]))
    n_said = [row.said for row in rows]
    assert [row.precision_se for row in rows] == pytest.approx(np.sqrt(found[0] * (1 - found[0]) / n_said))


@pytest.mark.parametrize("code", [0, 1])
def test_no_recall_is_certain_however_few_its_images(code):
    proba = np.eye(2)[[code] * 5]
    few, many = (per_class(np.zeros(n, dtype=int), proba[:n], ("a", "b"))[0] for n in (2, 5))
    assert few.recall == many.recall == 1 - code and few.recall_se > many.recall_se > 0.1
    twins = per_class(np.zeros(5, dtype=int), proba, ("a", "b"), groups=np.array([1, 1, 1, 2, 2]))[0]
    assert twins.recall_se == few.recall_se and twins.f1_se == few.f1_se and few.f1_se > many.f1_se > 0.02


def test_a_class_without_images_has_no_recall_and_one_never_said_no_precision():
    rows = per_class(np.array([0, 0, 1]), np.eye(3)[[0, 2, 0]], ("a", "b", "c"))
    assert [row.recall for row in rows] == [0.5, 0.0, None] and rows[2].recall_se is None
    assert [row.precision for row in rows] == [0.5, None, 0.0] and [row.said for row in rows] == [2, 0, 1]
