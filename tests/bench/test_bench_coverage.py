"""The bench of standard errors draws what it says, and finds an interval that is too sure."""

from __future__ import annotations

import numpy as np
import pytest

from kit.bench import coverage as bench_of
from kit.scoring.metrics import Estimate, find_metric


def test_drawn_images_have_the_accuracy_that_is_called_the_truth():
    groups = np.repeat(np.arange(4000), 5)
    labels, proba = bench_of._right_at(0.9, groups)(np.random.default_rng(0), len(groups))
    assert find_metric("accuracy").score(labels, proba) == pytest.approx(0.9, abs=0.01)


def test_intervals_that_are_too_narrow_are_seen(monkeypatch):
    draw = bench_of._right_at(0.9)
    honest = bench_of._cover("accuracy 0.9", "accuracy", 60, draw, None, 200)
    assert honest.coverage >= 0.9 and 0.8 < honest.width < 1.3
    monkeypatch.setattr(bench_of, "estimate", lambda *given: narrow(*given))
    narrowed = bench_of._cover("accuracy 0.9", "accuracy", 60, draw, None, 200)
    assert narrowed.coverage < 0.5 and narrowed.width < 0.5


def narrow(metric, labels, proba, groups) -> Estimate:
    """Return an interval of a fifth of a standard error."""
    score = find_metric(metric).score(labels, proba)
    return Estimate(score, 0.01, score - 0.01, score + 0.01)


def test_the_best_of_equal_runs_is_above_the_truth_and_corrected():
    luck = bench_of._try_luck(6, 0.5, 30)
    assert luck.raw > 0.02 > abs(luck.corrected) and luck.called_worse <= 0.2
