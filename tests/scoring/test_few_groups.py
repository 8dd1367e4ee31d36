"""Standard errors and paired tests of few groups: never surer than the groups allow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from kit.scoring.metrics import distinguishable, paired_difference, score_with_error
from kit.scoring.metrics.uncertainty import error_of_ratio


def draw_runs(
    seed: int, n_groups: int, per_group: int | list[int] = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, two equally good runs that agree within groups, and the groups."""
    draw = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), per_group)
    labels = draw.integers(0, 2, len(groups))
    sides = []
    for _ in range(2):
        right = draw.random(len(groups)) < draw.uniform(0.4, 0.9, n_groups)[groups]
        sides.append(np.eye(2)[np.where(right, labels, 1 - labels)] * 0.8 + 0.1)
    return labels, *sides, groups


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("n_groups", [2, 3, 5])
def test_equally_good_runs_are_rarely_told_apart_by_few_groups(metric, n_groups):
    verdicts = [
        distinguishable(*paired_difference(metric, labels, ours, theirs, groups))
        for labels, ours, theirs, groups in (draw_runs(seed, n_groups) for seed in range(60))
    ]
    assert np.mean(verdicts) <= 0.15


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("sizes", [[95, 5], [80, 5, 5, 5, 5], [99, 1], [180] + [2] * 10], ids=str)
def test_a_group_that_holds_most_images_does_not_count_as_many(metric, sizes):
    verdicts = [
        distinguishable(*paired_difference(metric, labels, ours, theirs, groups))
        for labels, ours, theirs, groups in (draw_runs(seed, len(sizes), sizes) for seed in range(60))
    ]
    assert np.mean(verdicts) <= 0.15


def test_one_image_in_a_group_of_its_own_does_not_make_a_score_surer():
    labels, ours, _, groups = draw_runs(0, 1, per_group=100)
    groups[0] = 1
    assert score_with_error("accuracy", labels, ours, groups)[1] > score_with_error("accuracy", labels, ours)[1]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_one_group_tells_nothing_apart_and_is_as_unsure_as_one_image(metric):
    labels, ours, theirs, groups = draw_runs(0, 1)
    difference, error = paired_difference(metric, labels, ours, theirs, groups)
    assert difference and not distinguishable(difference, error)
    alone = score_with_error(metric, labels, ours)[1]
    assert score_with_error(metric, labels, ours, groups)[1] == pytest.approx(alone * np.sqrt(len(labels)))


@pytest.mark.parametrize("n_images", [49, 98, 103])  # whose shares do not sum to 1 in floating point
def test_one_group_of_any_size_is_as_unsure_as_one_image(n_images):
    labels, ours, _, groups = draw_runs(1, 1, per_group=n_images)
    alone = score_with_error("accuracy", labels, ours)[1]
    assert score_with_error("accuracy", labels, ours, groups)[1] == pytest.approx(alone * np.sqrt(n_images))


def test_one_group_leaves_a_ratio_as_unsure_as_one_image():
    upper, lower = np.array([1.0, 0, 1, 0]), np.ones(4)
    assert error_of_ratio(upper, lower, np.zeros(4)) == pytest.approx(2 * error_of_ratio(upper, lower))


@pytest.mark.parametrize("seed", range(20))
def test_the_verdict_is_that_of_students_paired_test(seed):
    labels, ours, theirs, _ = draw_runs(seed, 1, per_group=12)
    hits = [proba.argmax(axis=1) == labels for proba in (ours, theirs)]
    wanted = ttest_rel(*(own.astype(float) for own in hits)).pvalue < 0.05
    assert distinguishable(*paired_difference("accuracy", labels, ours, theirs)) == wanted
