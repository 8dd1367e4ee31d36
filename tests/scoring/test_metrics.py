"""Metrics of both tasks agree with scikit-learn; names, errors by group, the table per class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as library
from sklearn import metrics as sklearn_metrics
from support.draws import N_CLASSES, N_IMAGES, draw_several, draw_single

from kit.core.errors import InputError
from kit.scoring.metrics import METRICS, decide, find_metric, score_with_error
from kit.scoring.metrics.uncertainty import _bootstrap_rows


def apk(labels: np.ndarray, proba: np.ndarray, k: int) -> float:
    """Return mAP@k as its definition reads: one image, one place at a time."""
    totals = []
    for label, row in zip(labels, proba, strict=True):
        right, total = 0, 0.0
        for place, code in enumerate(np.argsort(-row, kind="stable")[:k], start=1):
            if code in label:
                right += 1
                total += right / place
        totals.append(total / min(len(label), k) if len(label) else 0.0)
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
    ours = metric.read(labels, proba)
    shared = metric.share(labels, ours)
    for rows in list(_bootstrap_rows(N_IMAGES, n_draws=5)):
        assert shared(rows) == pytest.approx(metric.of(labels[rows], ours[rows]), abs=1e-9)


def test_top_1_is_accuracy_and_map_at_1_too():
    labels, proba = draw_single(0)
    accuracy = METRICS["accuracy"].score(labels, proba)
    assert [find_metric(name).score(labels, proba) for name in ("top_1", "map@1", "micro_f1")] == [accuracy] * 3


def test_a_class_that_nobody_names_does_not_count_in_macro_f1():
    labels, proba = draw_several(0)
    wider = [np.hstack([values, np.zeros((N_IMAGES, 1), dtype=values.dtype)]) for values in (labels, proba)]
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


def test_metrics_agree_with_scikit_learn(drawn):
    labels, proba = drawn
    predicted = proba.argmax(axis=1)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "macro_f1": sklearn_metrics.f1_score(labels, predicted, average="macro"),
        "balanced_accuracy": sklearn_metrics.recall_score(labels, predicted, average="macro", labels=range(4)),
        "log_loss": sklearn_metrics.log_loss(labels, proba, labels=range(5)),
    }
    assert {name: METRICS[name].score(labels, proba) for name in expected} == pytest.approx(expected)
