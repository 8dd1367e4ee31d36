"""Standard errors and 95 % intervals hold near the ceiling, for few groups and for losses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom
from support.draws import draw_several, draw_single

from kit.scoring.metrics import METRICS, Estimate, Metric, estimate
from kit.scoring.metrics.uncertainty.alike import interval_of_groups
from kit.scoring.metrics.uncertainty.resamples import error_of_score


def score_right(n_right: int, n_images: int) -> Estimate:
    """Return the estimate of an accuracy."""
    labels = np.arange(n_images) % 2
    decided = np.where(np.arange(n_images) < n_right, labels, 1 - labels)
    return estimate("accuracy", labels, np.eye(2)[decided] * 0.6 + 0.2)


@pytest.mark.parametrize("n_images", [30, 150, 720])
@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.99])
def test_the_interval_of_an_accuracy_covers_the_truth_and_is_not_wide(accuracy, n_images):
    """Every possible number of right images, weighed by its probability: no simulation is needed."""
    counts = np.arange(n_images + 1)
    chance = binom.pmf(counts, n_images, accuracy)
    counts, chance = counts[chance > 1e-6], chance[chance > 1e-6]
    lows, highs = np.array([score_right(int(count), n_images)[2:] for count in counts]).T
    assert chance @ ((lows <= accuracy) & (accuracy <= highs)) >= 0.93
    spread = 2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / n_images)
    assert chance @ (highs - lows) <= 1.5 * spread


def test_images_that_are_all_right_leave_the_score_unsure():
    score, error, low, high = score_right(30, 30)
    assert (score, high) == (1.0, 1.0) and error == pytest.approx(1 / 30)
    assert low == pytest.approx(beta.ppf(0.025, 30.5, 0.5))


def test_of_many_images_the_interval_is_that_of_jeffreys():
    _, _, low, high = score_right(3600, 4000)
    assert (low, high) == pytest.approx(beta.ppf([0.025, 0.975], 3600.5, 400.5), rel=1e-4)


@pytest.mark.parametrize("together", [0.1, 0.5])
@pytest.mark.parametrize("sizes", [[30] * 5, [5] * 30, [14, 9, 22, 38, 67]], ids=["5", "30", "unequal"])
def test_the_interval_of_few_or_unequal_groups_covers_the_truth(sizes, together):
    groups, covered = np.repeat(np.arange(len(sizes)), sizes), []
    count = (1 - together) / together
    for seed in range(200):
        draw = np.random.default_rng(seed)
        right = draw.random(len(groups)) < draw.beta(0.9 * count, 0.1 * count, len(sizes))[groups]
        labels = draw.integers(0, 2, len(groups))
        proba = np.eye(2)[np.where(right, labels, 1 - labels)] * 0.6 + 0.2
        _, _, low, high = estimate("accuracy", labels, proba, groups)
        covered.append(low <= 0.9 <= high)
    assert np.mean(covered) >= 0.91  # the error of 200 draws is .015


def test_groups_of_one_image_each_have_the_interval_of_jeffreys():
    ends = interval_of_groups((np.arange(50) < 45) * 1.0, np.arange(50), 0.025)
    assert ends == pytest.approx(beta.ppf([0.025, 0.975], 45.5, 5.5), abs=0.0005)


def test_the_interval_of_groups_does_not_depend_on_how_they_are_named_or_ordered():
    draw = np.random.default_rng(0)
    groups, values = draw.integers(0, 12, 90), draw.random(90)
    order = draw.permutation(90)
    assert interval_of_groups(values, groups, 0.025) == pytest.approx(
        interval_of_groups(values[order], (groups * 7 + 3)[order], 0.025)
    )


def test_groups_that_are_alike_make_an_interval_wide_and_groups_that_are_not_do_not():
    groups = np.repeat(np.arange(10), 20)
    alike, mixed = (np.arange(10) < 7).repeat(20) * 1.0, np.tile(np.arange(20) < 14, 10) * 1.0
    low, high = interval_of_groups(alike, groups, 0.025)
    assert high - low > 0.4  # as of 10 images
    low, high = interval_of_groups(mixed, groups, 0.025)
    assert high - low < 0.2


def test_a_score_of_classes_of_few_images_is_less_sure_than_the_number_of_all_images_says():
    """15 and 3 images of a class: the mean over classes has as few degrees of freedom as the rare one alone has."""
    labels = np.repeat([0, 1], [27, 3])
    proba = np.eye(2)[np.where(np.arange(30) % 3 == 0, 1 - labels, labels)] * 0.6 + 0.2
    rare, common = (estimate(name, labels, proba) for name in ("balanced_accuracy", "accuracy"))
    error_of_balanced = error_of_score(METRICS["balanced_accuracy"], labels, proba, None)
    assert rare.se > 1.3 * error_of_balanced and common.se < 1.2 * np.sqrt(2 / 9 / 30)


@pytest.mark.parametrize("name", ["macro_f1", "macro_auc", "balanced_accuracy", "micro_f1", "mcc", "log_loss"])
@pytest.mark.parametrize("n_images", [30, 90])
def test_no_score_is_certain_where_every_image_is_right(name, n_images):
    labels = np.arange(n_images) % 3
    score, error, low, high = estimate(name, labels, np.eye(3)[labels] * 0.97 + 0.01)
    assert error > 0 and low <= score <= high and high - low > 0.1 / n_images
    lowest, highest = METRICS[name].bounds
    assert lowest <= low and high <= highest + 1e-9


def test_a_mistake_on_a_rare_class_counts_more():
    labels = np.repeat([0, 1, 2], [60, 60, 4])
    proba = np.eye(3)[labels] * 0.9 + 0.033
    rare = np.repeat([0, 1, 2], [42, 41, 41])
    assert estimate("macro_f1", labels, proba).se > 1.25 * estimate("macro_f1", rare, np.eye(3)[rare] * 0.9 + 0.033).se


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if "multilabel" in metric.tasks])
def test_every_metric_of_several_labels_has_an_interval_around_its_score(name):
    score, error, low, high = estimate(name, *draw_several(0))
    assert low < score < high and 0 < error < 0.2


def test_a_metric_without_known_bounds_has_a_symmetric_interval():
    double = Metric("double", lambda labels, proba: 2 * float((labels == proba.argmax(axis=1)).mean()), range=UNKNOWN)
    score, error, low, high = estimate(double, *draw_single(0))
    assert (score - low, high - score) == pytest.approx((1.96 * error, 1.96 * error))


def test_one_class_alone_and_predictions_that_are_sure_give_numbers():
    labels = np.zeros(12, dtype=int)
    score, error, low, high = estimate("accuracy", labels, np.eye(2)[labels])
    assert (score, high) == (1, 1) and 0 < error < 0.2 and 0.7 < low < 1


UNKNOWN = (-np.inf, np.inf)
