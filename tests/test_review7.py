"""What the report says beyond its first sections: errors of every class, balance, decisions, levels, words."""

from __future__ import annotations

import numpy as np
import pytest

from kit.metrics import decide, per_class
from kit.metrics.decisions import count_classes


@pytest.mark.parametrize("is_multilabel", [False, True])
def test_the_errors_of_every_class_agree_with_a_bootstrap(is_multilabel):
    draws = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 3)
    codes = np.repeat(draws.integers(0, 3, 200), 3)  # images of a group are alike: their number misleads
    proba = draws.random((600, 3)) + np.repeat(0.6 * draws.random((200, 3)), 3, axis=0)
    labels = codes
    if is_multilabel:
        proba, labels = proba / proba.max(), np.eye(3, dtype=np.int8)[codes]
    else:
        proba[np.arange(600), codes] += 0.3
    rows = per_class(labels, proba, ("a", "b", "c"), groups)
    said, drawn = decide(proba, is_multilabel), []
    for _ in range(600):
        taken = (3 * draws.integers(0, 200, 200)[:, None] + np.arange(3)).ravel()
        counts = count_classes(labels[taken], said[taken], 3)
        drawn.append((counts.precision, counts.recall, counts.f1))
    spread = np.std(drawn, axis=0).T
    found = [(row.precision_se, row.recall_se, row.f1_se) for row in rows]
    assert np.array(found) == pytest.approx(spread, rel=0.15)
