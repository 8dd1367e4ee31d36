"""Metrics agree with scikit-learn; errors agree with theory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata, t, ttest_rel
from support.draws import N_IMAGES, draw_several, draw_single

from kit.scoring.metrics import METRICS, N_BOOTSTRAP, Z_95, distinguishable, paired_difference, score_with_error
from kit.scoring.metrics.uncertainty.resamples import bootstrap_rows
from kit.scoring.metrics.uncertainty.spread import error_of_ratio


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


def test_the_error_of_accuracy_is_the_binomial_one(drawn):
    score, error = score_with_error("accuracy", *drawn)
    binomial, one_more_mistake = t.ppf(0.975, 299) / Z_95 * np.sqrt(score * (1 - score) / 299), 1 / 300
    assert error == pytest.approx(np.hypot(binomial, one_more_mistake), rel=0.005)


def test_the_bootstrap_agrees_with_the_closed_form(drawn):
    closed = score_with_error("accuracy", *drawn)[1]
    boot = score_with_error("balanced_accuracy", *drawn)[1]
    assert boot == pytest.approx(closed, rel=0.25)


@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if "multiclass" in metric.tasks])
def test_a_run_cannot_be_told_from_itself(drawn, metric):
    labels, proba = drawn
    assert paired_difference(metric, labels, proba, proba) == (0.0, 0.0)
    assert not distinguishable(0.0, 0.0)


def test_the_paired_error_is_smaller_than_the_unpaired_one(drawn):
    labels, proba = drawn
    other = proba.copy()
    other[:30] = np.roll(other[:30], 1, axis=1)
    difference, error = paired_difference("accuracy", labels, proba, other)
    assert difference == pytest.approx(
        METRICS["accuracy"].score(labels, proba) - METRICS["accuracy"].score(labels, other)
    )
    assert error < score_with_error("accuracy", labels, proba)[1]


def test_a_smaller_loss_is_a_positive_difference(drawn):
    labels, proba = drawn
    good = np.eye(5)[labels] * 0.9 + 0.02
    assert paired_difference("log_loss", labels, good, proba)[0] > 0


def test_resamples_are_the_same_every_time_and_drawn_one_at_a_time():
    draw = np.random.default_rng(0)
    resamples = bootstrap_rows(50)
    assert iter(resamples) is resamples
    for _ in range(N_BOOTSTRAP):
        assert (next(resamples) == draw.integers(0, 50, 50)).all()
    assert next(resamples, None) is None


def test_the_bootstraps_memory_does_not_grow_with_its_draws():
    """All resamples of a million images at once would be 3.2 GB."""
    import itertools
    import tracemalloc

    tracemalloc.start()
    for _ in itertools.islice(bootstrap_rows(1_000_000), 5):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_one_image_that_turned_wrong_is_not_more_than_one_standard_error():
    labels = np.zeros(150, dtype=int)
    right = np.tile([0.9, 0.1], (150, 1))
    wrong = right.copy()
    wrong[7] = [0.1, 0.9]
    difference, error = paired_difference("accuracy", labels, wrong, right)
    assert difference == pytest.approx(-1 / 150) and error == pytest.approx(1 / 150, rel=0.01)


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
    wanted = ttest_rel(*(hit.astype(float) for hit in hits)).pvalue < 0.05
    assert distinguishable(*paired_difference("accuracy", labels, ours, theirs)) == wanted


def test_images_of_one_group_do_not_make_the_error_smaller():
    labels, proba = draw_single(0)
    groups = np.tile(np.arange(N_IMAGES), 4)
    labels4, proba4 = np.tile(labels, 4), np.tile(proba, (4, 1))
    for name in ("accuracy", "log_loss", "macro_f1", "macro_auc"):
        once = score_with_error(name, labels, proba)
        copied = score_with_error(name, labels4, proba4, groups)
        assert copied == pytest.approx(once, rel=0.01)  # a group's mistakes count between one and all of it
        assert score_with_error(name, labels4, proba4)[1] == pytest.approx(once[1] / 2, rel=0.15)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "map"])
def test_groups_of_one_are_no_groups(name):
    labels, proba = draw_single(0)
    groups = np.arange(N_IMAGES) + 7
    assert score_with_error(name, labels, proba, groups) == pytest.approx(score_with_error(name, labels, proba))
    other = np.roll(proba, 1, axis=0)
    alone, grouped = (paired_difference(name, labels, proba, other, grouping) for grouping in (None, groups))
    assert grouped == pytest.approx(alone)


def test_a_resample_holds_whole_groups_as_often_as_they_were_drawn():
    groups = np.array([5, 5, 2, 9, 9, 9, 2, 5])
    members = [set(np.flatnonzero(groups == group)) for group in (2, 5, 9)]
    draw = np.random.default_rng(0)
    for rows in bootstrap_rows(len(groups), groups, 20):
        drawn = draw.integers(0, 3, 3)
        expected = sorted(row for group in drawn for row in members[group])
        assert sorted(rows.tolist()) == expected


def test_the_bootstrap_of_auc_agrees_with_the_closed_form_of_delong():
    """DeLong et al. (1988): the variance of the share of pairs in order, from each image's own share."""
    draws = np.random.default_rng(0)
    labels = (draws.random(600) < 0.3).astype(np.int8)[:, None]
    score = draws.random((600, 1)) + 0.3 * labels
    of_class, others = score[labels == 1], score[labels == 0]
    ranks = rankdata(np.concatenate([of_class, others]))
    of_own = (ranks[: len(of_class)] - rankdata(of_class)) / len(others)
    of_others = 1 - (ranks[len(of_class) :] - rankdata(others)) / len(of_class)
    closed = np.sqrt(of_own.var(ddof=1) / len(of_class) + of_others.var(ddof=1) / len(others))
    ours, error = score_with_error("macro_auc", labels, score)
    assert ours == pytest.approx(of_own.mean()) and error == pytest.approx(closed, rel=0.1)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if "multilabel" in metric.tasks])
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
