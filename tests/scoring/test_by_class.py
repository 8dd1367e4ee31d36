"""Scores and errors class by class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as library
from support.draws import draw_several, draw_single

from kit.scoring.metrics import decide, per_class
from kit.scoring.metrics.decisions import count_decisions


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
    predicted, drawn = decide(proba, is_multilabel), []
    for _ in range(600):
        taken = (3 * draws.integers(0, 200, 200)[:, None] + np.arange(3)).ravel()
        counts = count_decisions(labels[taken], predicted[taken], 3)
        drawn.append((counts.precision, counts.recall, counts.f1))
    spread = np.std(drawn, axis=0).T
    ours = [(row.precision_se, row.recall_se, row.f1_se) for row in rows]
    assert np.array(ours) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("draw", [draw_single, draw_several])
def test_the_table_per_class_agrees_with_scikit_learn(draw):
    labels, proba = draw(0)
    rows = per_class(labels, proba, tuple("abcde"))
    predicted = decide(proba, labels.ndim == 2)
    expected = library.precision_recall_fscore_support(labels, predicted, average=None)
    ours = np.array([(row.precision, row.recall, row.f1, row.support) for row in rows]).T
    assert [row.name for row in rows] == list("abcde") and ours == pytest.approx(np.array(expected))
    assert [row.recall_se for row in rows] == pytest.approx(np.sqrt(ours[1] * (1 - ours[1]) / ours[3]))
    n_said = [row.decided for row in rows]
    assert [row.precision_se for row in rows] == pytest.approx(np.sqrt(ours[0] * (1 - ours[0]) / n_said))


@pytest.mark.parametrize("code", [0, 1])
def test_no_recall_is_certain_however_few_its_images(code):
    proba = np.eye(2)[[code] * 5]
    few, many = (per_class(np.zeros(n, dtype=int), proba[:n], ("a", "b"))[0] for n in (2, 5))
    assert few.recall == many.recall == 1 - code and few.recall_se > many.recall_se > 0.1
    twins = per_class(np.zeros(5, dtype=int), proba, ("a", "b"), groups=np.array([1, 1, 1, 2, 2]))[0]
    assert twins.recall_se == few.recall_se and twins.f1_se == few.f1_se and few.f1_se > many.f1_se > 0.02


def test_a_class_without_images_has_no_recall_and_one_never_said_no_precision():
    rows = per_class(np.array([0, 0, 1]), np.eye(3)[[0, 2, 0]], ("a", "b", "c"))
    assert [row.recall for row in rows] == [0.5, 0.0, None] and rows[2].recall_se is None
    assert [row.precision for row in rows] == [0.5, None, 0.0] and [row.decided for row in rows] == [2, 0, 1]
