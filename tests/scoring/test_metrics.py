"""Metrics of both tasks agree with scikit-learn; names, errors by group, the table per class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import config_context
from sklearn import metrics as library
from sklearn import metrics as sklearn_metrics
from support.draws import N_CLASSES, N_IMAGES, draw_several, draw_single

from kit.core.errors import InputError
from kit.scoring.metrics import METRICS, Classes, count_zeros, decide, find_metric, score_with_error
from kit.scoring.metrics.uncertainty.resamples import bootstrap_rows


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


def rank_all(labels: np.ndarray, proba: np.ndarray) -> float:
    """Return the global average precision as its definition reads: down one list of all images, image by image."""
    rows = sorted(range(len(labels)), key=lambda row: -proba[row].max())
    right, total = 0, 0.0
    for place, row in enumerate(rows, start=1):
        if proba[row].argmax() == labels[row]:
            right += 1
            total += right / place
    return total / len(labels)


def gap_of_library(is_right: np.ndarray, confidence: np.ndarray) -> float:
    """Return the global average precision by the library's, which is a mean over what is right alone."""
    return float(library.average_precision_score(is_right, confidence) * is_right.mean()) if is_right.any() else 0.0


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
    "brier": lambda y, p: np.square(p - np.eye(N_CLASSES)[y]).sum(axis=1).mean(),  # scikit-learn's since 1.7
    "macro_f2": lambda y, p: library.fbeta_score(y, p.argmax(1), beta=2, average="macro"),
    "micro_f05": lambda y, p: library.fbeta_score(y, p.argmax(1), beta=0.5, average="micro"),
    "weighted_f3": lambda y, p: library.fbeta_score(y, p.argmax(1), beta=3, average="weighted"),
    "top_2": lambda y, p: library.top_k_accuracy_score(y, p, k=2, labels=range(N_CLASSES)),
    "map@3": lambda y, p: apk(y[:, None], p, 3),
    "gap": lambda y, p: gap_of_library(p.argmax(1) == y, p.max(1)),
}
TWO = {  # of the second class, as where nobody says which is positive
    "roc_auc": lambda y, p: library.roc_auc_score(y, p[:, 1]),
    "average_precision": lambda y, p: library.average_precision_score(y, p[:, 1]),
    "brier": lambda y, p: library.brier_score_loss(y, p[:, 1]),
    "log_loss": lambda y, p: library.log_loss(y, p[:, 1]),
    "binary_f1": lambda y, p: library.f1_score(y, p.argmax(1), zero_division=0),
    "binary_f2": lambda y, p: library.fbeta_score(y, p.argmax(1), beta=2, zero_division=0),
}
SEVERAL = {
    "accuracy": lambda y, p: library.accuracy_score(y, p >= 0.5),
    "hamming_accuracy": lambda y, p: 1 - library.hamming_loss(y, p >= 0.5),
    "macro_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="macro"),
    "micro_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="micro"),
    "weighted_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="weighted"),
    "macro_f2": lambda y, p: library.fbeta_score(y, p >= 0.5, beta=2, average="macro"),
    "micro_f05": lambda y, p: library.fbeta_score(y, p >= 0.5, beta=0.5, average="micro"),
    "weighted_f3": lambda y, p: library.fbeta_score(y, p >= 0.5, beta=3, average="weighted"),
    "samples_f2": lambda y, p: library.fbeta_score(y, p >= 0.5, beta=2, average="samples", zero_division=1),
    "brier": lambda y, p: np.mean([library.brier_score_loss(y[:, c], p[:, c]) for c in range(N_CLASSES)]),
    "samples_f1": lambda y, p: library.f1_score(y, p >= 0.5, average="samples", zero_division=1),
    "log_loss": lambda y, p: np.mean([library.log_loss(y[:, c], p[:, c]) for c in range(N_CLASSES)]),
    "macro_auc": lambda y, p: library.roc_auc_score(y, p, average="macro"),
    "map": lambda y, p: library.average_precision_score(y, p, average="macro"),
    "map@3": lambda y, p: apk([np.flatnonzero(row) for row in y], p, 3),
}


N_DRAWS = 300  # of a metric, a few images each: rare classes, ties and certain errors among them


def draw_few(seed: int, n_classes: int, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw few images, so that classes without images occur; a third of the draws has ties, a third exact zeros."""
    draws = np.random.default_rng(seed)
    n_images = int(draws.integers(12, 40))
    logits = draws.normal(size=(n_images, n_classes)) * draws.uniform(0.5, 4)
    proba = 1 / (1 + np.exp(-logits)) if several else np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if seed % 3 == 0:
        proba = proba.round(1)
    elif seed % 3 == 1:
        proba = np.where(proba < 0.15, 0, proba)
    if several:
        labels = (draws.random(proba.shape) < 0.4).astype(np.int8)
        labels[:2] = [[0], [1]]  # of a class without images, or of images alone, the library's areas are not defined
        return labels, proba
    proba = np.where(proba.sum(axis=1, keepdims=True) > 0, proba, 1 / n_classes)
    labels = draws.integers(0, n_classes, n_images)
    labels[:n_classes] = np.arange(n_classes)
    return labels, proba / proba.sum(axis=1, keepdims=True)


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


ON_DRAWS = [
    *(("two", name) for name in TWO),
    *(("one", name) for name in ("brier", "log_loss", "macro_f2", "micro_f05", "weighted_f3", "gap")),
    *(("several", name) for name in ("macro_f2", "micro_f05", "weighted_f3", "samples_f2")),
]


@pytest.mark.parametrize(("task", "name"), ON_DRAWS)
def test_metrics_agree_with_scikit_learn_on_random_draws(task, name):
    compared = {"one": SINGLE, "two": TWO, "several": SEVERAL}[task][name]
    metric, n_classes = find_metric(name), 2 if task == "two" else N_CLASSES
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for seed in range(N_DRAWS):
            labels, proba = draw_few(seed, n_classes, task == "several")
            assert metric.score(labels, proba) == pytest.approx(compared(labels, proba), abs=1e-9), seed


def test_global_average_precision_is_that_of_one_list_of_all_images_and_has_an_error():
    labels, proba = draw_single(0)
    score, error = score_with_error(find_metric("gap@1"), labels, proba)
    assert score == pytest.approx(rank_all(labels, proba), abs=1e-12)
    drawn = [rank_all(labels[rows], proba[rows]) for rows in bootstrap_rows(len(labels))]
    assert error == pytest.approx(np.std(drawn), rel=0.1)
    halves = [rank_all(labels[rows], proba[rows]) for rows in np.array_split(np.arange(len(labels)), 2)]
    assert score != pytest.approx(np.mean(halves), abs=1e-6)  # no mean over images


@pytest.mark.parametrize(("name", "n_classes"), [("log_loss", 3), ("brier", 3)])
def test_losses_of_several_labels_are_the_mean_of_the_classes_on_random_draws(name, n_classes):
    cost = {
        "brier": lambda y, p: (y - p) ** 2,
        "log_loss": lambda y, p: -np.log(np.clip(np.where(y == 1, p, 1 - p), 2**-52, 1 - 2**-52)),
    }[name]
    for seed in range(N_DRAWS):
        labels, proba = draw_few(seed, n_classes, True)
        assert METRICS[name].score(labels, proba) == pytest.approx(cost(labels, proba).mean(), abs=1e-9)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "binary_f1", "binary_f2"])
def test_a_metric_of_two_classes_is_of_the_one_that_is_said_to_be_positive(name):
    bound = find_metric(name).for_classes(Classes(("cat", "dog"), "cat"))
    for seed in range(0, N_DRAWS, 10):
        labels, proba = draw_few(seed, 2, False)
        expected = TWO[name](1 - labels, proba[:, ::-1])
        if name.startswith("binary") and (proba[:, 0] == proba[:, 1]).any():
            continue  # of equal ones the first is decided for, which the library is told the other way round
        assert bound.score(labels, proba) == pytest.approx(expected, abs=1e-9)
    assert bound.key != find_metric(name).key


def kappa_of_ratings(given: np.ndarray, chosen: np.ndarray) -> float:
    """Return quadratic kappa as Kaggle's page has it: observed and expected matrices over all ratings."""
    ratings = np.arange(min(given.min(), chosen.min()), max(given.max(), chosen.max()) + 0.5, 0.5)
    place = {rating: row for row, rating in enumerate(ratings)}
    observed = np.zeros((len(ratings), len(ratings)))
    for row, column in zip(given, chosen, strict=True):
        observed[place[row], place[column]] += 1
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()
    weights = (ratings[:, None] - ratings) ** 2
    return 1 - (weights * observed).sum() / (weights * expected).sum()


@pytest.mark.parametrize("names", ["0 1 10 2 3", "0 0.5 2 4.5 9", "-2 1 3 4 5"])
def test_kappa_weighs_by_the_grades_values_with_gaps_and_halves(names):
    metric = METRICS["quadratic_kappa"].for_classes(Classes(tuple(names.split())))
    grades = np.array([float(name) for name in names.split()])
    for seed in range(N_DRAWS):
        labels, proba = draw_few(seed, N_CLASSES, False)
        expected = kappa_of_ratings(grades[labels], grades[proba.argmax(axis=1)])
        assert metric.score(labels, proba) == pytest.approx(expected, abs=1e-9)


def test_kappa_of_a_declared_order_is_that_of_the_places_in_it():
    names, order = (
        ("mild", "none", "proliferate", "severe", "trace"),
        ("none", "trace", "mild", "severe", "proliferate"),
    )
    metric = METRICS["quadratic_kappa"].for_classes(Classes(names, order=order))
    labels, proba = draw_single(0)
    places = np.array([order.index(name) for name in names])
    expected = library.cohen_kappa_score(places[labels], places[proba.argmax(1)], weights="quadratic")
    assert metric.score(labels, proba) == pytest.approx(expected)


def test_a_certain_error_costs_what_scikit_learn_and_kaggle_say_and_is_counted():
    labels, proba = np.array([0, 1, 1]), np.array([[1.0, 0.0], [1.0, 0.0], [0.25, 0.75]], dtype=np.float32)
    expected = library.log_loss(labels, proba.astype(np.float64), labels=[0, 1])
    assert METRICS["log_loss"].score(labels, proba) == pytest.approx(expected)
    assert expected == pytest.approx((36.0437 - np.log(0.75)) / 3, abs=1e-4)
    assert count_zeros(labels, proba) == 1
    assert count_zeros(np.array([[1, 0], [0, 1]]), np.array([[0.5, 1.0], [0.5, 0.5]])) == 1


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "binary_f2", "brier", "log_loss"])
def test_groups_that_agree_with_themselves_make_the_error_larger(name):
    draws = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 6)
    labels = draws.integers(0, 2, 60)[groups]
    logits = draws.normal(size=60)[groups] + 1.2 * labels
    proba = np.column_stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))])
    metric = find_metric(name).for_classes(Classes(("cat", "dog"), "dog"))
    alone, together = (score_with_error(metric, labels, proba, given)[1] for given in (None, groups))
    assert together == pytest.approx(alone * np.sqrt(6), rel=0.2)


@pytest.mark.parametrize("name", ["macro_auc", "map"])
def test_equal_probabilities_are_ranked_as_scikit_learn_ranks_them(name):
    labels, proba = draw_single(3, ties=True)
    assert find_metric(name).score(labels, proba) == pytest.approx(SINGLE[name](labels, proba), abs=1e-9)
    labels, proba = draw_several(3, ties=True)
    assert find_metric(name).score(labels, proba) == pytest.approx(SEVERAL[name](labels, proba), abs=1e-9)


def test_every_metric_of_every_task_is_compared_with_scikit_learn():
    for task, compared in (("multiclass", SINGLE | TWO), ("multilabel", SEVERAL)):
        assert {name for name, metric in METRICS.items() if task in metric.tasks} <= set(compared)


@pytest.mark.parametrize("name", ["macro_auc", "map", "macro_f1", "micro_f1", "weighted_f1", "macro_f2"])
@pytest.mark.parametrize("draw", [draw_single, draw_several])
def test_what_resamples_share_gives_what_each_would_give_alone(name, draw):
    labels, proba = draw(0, ties=True)
    metric = find_metric(name)
    ours = metric.read(labels, proba)
    samples = [*bootstrap_rows(N_IMAGES, n_draws=5), np.arange(7), np.arange(0)]
    alone = [metric.of(labels[rows], ours[rows]) for rows in samples[:-1]]
    assert metric.share(labels, ours)(samples) == pytest.approx([*alone, np.nan], abs=1e-9, nan_ok=True)


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
