"""Standard errors and 95 % intervals hold near the ceiling, for few groups and for losses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom
from support.draws import draw_several, draw_single

from kit.scoring.metrics import METRICS, Estimate, Metric, estimate


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


@pytest.mark.parametrize("sizes", [[30] * 5, [5] * 30, [14, 9, 22, 38, 67]], ids=["5", "30", "unequal"])
def test_the_interval_of_few_or_unequal_groups_covers_the_truth(sizes):
    groups, covered = np.repeat(np.arange(len(sizes)), sizes), []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        right = draw.random(len(groups)) < draw.beta(7.2, 0.8, len(sizes))[groups]
        labels = draw.integers(0, 2, len(groups))
        proba = np.eye(2)[np.where(right, labels, 1 - labels)] * 0.6 + 0.2
        _, _, low, high = estimate("accuracy", labels, proba, groups)
        covered.append(low <= 0.9 <= high)
    assert np.mean(covered) >= 0.91  # the error of 200 draws is .015


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
