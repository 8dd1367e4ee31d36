"""The best of many runs: which may be it, and how good it is without its luck."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from kit.scoring.metrics import compare_with_best, correct_best, distinguishable, find_metric, paired_difference


def draw_runs(seed: int, accuracies: list[float], n_images: int = 150, shared: float = 0.5):
    """Return labels and runs whose images are as hard for one as for the other, to the share `shared`."""
    draw = np.random.default_rng(seed)
    labels, hard = draw.integers(0, 3, n_images), draw.normal(size=n_images)
    probas = []
    for accuracy in accuracies:
        seen = np.sqrt(shared) * hard + np.sqrt(1 - shared) * draw.normal(size=n_images)
        decided = np.where(seen < norm.ppf(accuracy), labels, (labels + 1) % 3)
        probas.append(np.eye(3)[decided] * 0.7 + 0.1)
    return labels, probas


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
@pytest.mark.parametrize("n_groups", [None, 12])
def test_two_runs_are_compared_by_the_paired_test(metric, n_groups):
    for seed in range(10):
        labels, probas = draw_runs(seed, [0.8, 0.72])
        groups = None if n_groups is None else np.arange(150) % n_groups
        contest = compare_with_best(metric, labels, probas, groups)
        best = int(contest.difference.argmax())
        difference, error = paired_difference(metric, labels, probas[1 - best], probas[best], groups)
        assert contest.difference[1 - best] == pytest.approx(difference)
        assert contest.error[1 - best] == pytest.approx(error)
        assert contest.may_be_best[1 - best] == (not distinguishable(difference, error))


@pytest.mark.parametrize("n_runs", [2, 10, 30])
def test_of_equal_runs_one_is_rarely_called_worse(n_runs):
    families = [compare_with_best("accuracy", *draw_runs(seed, [0.8] * n_runs)) for seed in range(60)]
    assert np.mean([not contest.may_be_best.all() for contest in families]) <= 0.1


def test_runs_that_are_far_worse_are_told_apart_among_many():
    labels, probas = draw_runs(0, [0.9] * 6 + [0.5] * 6)
    contest = compare_with_best("accuracy", labels, probas)
    assert contest.may_be_best.tolist() == [True] * 6 + [False] * 6


def test_a_run_and_its_copy_may_both_be_the_best():
    labels, probas = draw_runs(0, [0.8, 0.4])
    contest = compare_with_best("accuracy", labels, [probas[0], probas[0], probas[1]])
    assert contest.may_be_best.tolist() == [True, True, False]
    assert contest.difference[1] == contest.error[1] == 0


@pytest.mark.parametrize(("metric", "n_families"), [("accuracy", 30), ("macro_f1", 6)])
def test_the_luck_of_the_best_of_equal_runs_is_taken_off(metric, n_families):
    raw, corrected = [], []
    for seed in range(n_families):
        labels, probas = draw_runs(seed, [0.8] * 8)
        raw.append(max(find_metric(metric).score(labels, proba) for proba in probas))
        corrected.append(correct_best(metric, labels, probas))
    assert np.mean(raw) - np.mean(corrected) > 0.015 and abs(np.mean(corrected) - 0.8) < 0.03


def test_of_a_loss_the_corrected_score_is_the_larger():
    labels, probas = draw_runs(0, [0.8] * 8)
    lowest = min(find_metric("log_loss").score(labels, proba) for proba in probas)
    assert correct_best("log_loss", labels, probas) > lowest


def test_a_run_that_is_the_best_on_every_draw_keeps_its_score():
    labels, probas = draw_runs(0, [0.95, 0.4, 0.4])
    score = find_metric("accuracy").score(labels, probas[0])
    assert correct_best("accuracy", labels, probas) == correct_best("accuracy", labels, probas[:1]) == score
