"""Metrics agree with scikit-learn; errors agree with theory."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from kit.scoring.metrics import METRICS, N_BOOTSTRAP, distinguishable, paired_difference, score_with_error
from kit.scoring.metrics.uncertainty import _bootstrap_rows


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 4, 300)
    proba = draws.dirichlet(np.ones(5), 300)
    return labels, proba


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


def test_the_error_of_accuracy_is_the_binomial_one(drawn):
    score, error = score_with_error("accuracy", *drawn)
    assert error == pytest.approx(np.sqrt(score * (1 - score) / 300))


def test_the_bootstrap_agrees_with_the_closed_form(drawn):
    closed = score_with_error("accuracy", *drawn)[1]
    boot = score_with_error("balanced_accuracy", *drawn)[1]
    assert boot == pytest.approx(closed, rel=0.25)


@pytest.mark.parametrize("metric", [name for name, own in METRICS.items() if "multiclass" in own.tasks])
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
    resamples = _bootstrap_rows(50)
    assert iter(resamples) is resamples
    for _ in range(N_BOOTSTRAP):
        assert (next(resamples) == draw.integers(0, 50, 50)).all()
    assert next(resamples, None) is None


def test_the_bootstraps_memory_does_not_grow_with_its_draws():
    """All resamples of a million images at once would be 3.2 GB."""
    import itertools
    import tracemalloc

    tracemalloc.start()
    for _ in itertools.islice(_bootstrap_rows(1_000_000), 5):
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
