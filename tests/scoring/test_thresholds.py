"""Thresholds of several labels: shifted, shrunk, proved, nested; ROC curves and confusions of each class."""

from __future__ import annotations

import numpy as np
import pytest
from support.draws import draw_unsure

from kit.scoring.hierarchy import Hierarchy
from kit.scoring.metrics import METRICS, find_metric
from kit.scoring.thresholds import apply_thresholds, choose_thresholds, fit_thresholds, nest_thresholds, shift_proba

MACRO_F1 = find_metric("macro_f1")


def test_a_threshold_of_one_half_changes_nothing():
    _, proba, _ = draw_unsure()
    assert (shift_proba(proba, np.full(3, 0.5)) == proba).all()


def test_what_is_at_its_threshold_comes_out_at_one_half_and_the_order_stays():
    thresholds = np.array([0.1, 0.4, 0.9])
    assert shift_proba(thresholds[None], thresholds) == pytest.approx(np.full((1, 3), 0.5))
    _, proba, _ = draw_unsure()
    assert (np.argsort(shift_proba(proba, thresholds), axis=0) == np.argsort(proba, axis=0)).all()


def test_certain_probabilities_stay_certain():
    assert shift_proba(np.array([[0.0, 1.0]]), np.array([0.9, 0.1])).tolist() == [[0.0, 1.0]]


def test_a_child_is_never_decided_for_without_its_parent():
    _, proba, _ = draw_unsure()
    hierarchy = Hierarchy(np.array([2, 2, -1]))
    decided = apply_thresholds(hierarchy.make_consistent(proba), np.array([0.05, 0.1, 0.9]), hierarchy) >= 0.5
    assert decided[:, :2].any() and not (decided[:, :2] & ~decided[:, 2:]).any()


def test_thresholds_raise_macro_f1_of_calibrated_probabilities_on_images_that_did_not_choose():
    labels, proba, folds = draw_unsure()
    other_labels, other, _ = draw_unsure(seed=1)
    chosen = choose_thresholds(MACRO_F1, labels, proba, folds)
    assert chosen.gain > chosen.gain_se > 0 and (chosen.thresholds[:2] < 0.5).all()
    assert (
        MACRO_F1.score(other_labels, shift_proba(other, chosen.thresholds)) > MACRO_F1.score(other_labels, other) + 0.02
    )


def test_where_probabilities_say_nothing_of_the_labels_one_half_is_kept():
    draws = np.random.default_rng(0)
    labels = (draws.random((300, 3)) < 0.9).astype(np.int8)
    chosen = choose_thresholds(MACRO_F1, labels, draws.uniform(0.5, 1, (300, 3)), np.arange(300) % 5)
    assert (chosen.thresholds == 0.5).all() and chosen.gain <= chosen.gain_se


@pytest.mark.parametrize("metric", ["log_loss", "map", "macro_auc"])
def test_metrics_of_probabilities_are_left_alone(metric):
    labels, proba, folds = draw_unsure()
    chosen = choose_thresholds(find_metric(metric), labels, proba, folds)
    assert (chosen.thresholds == 0.5).all() and chosen.gain is None


@pytest.mark.parametrize("metric", ["micro_f1", "weighted_f1", "samples_f1", "hamming_accuracy", "accuracy"])
def test_thresholds_are_no_worse_on_their_own_images_for_any_metric_of_decisions(metric):
    labels, proba, _ = draw_unsure(200)
    chosen = find_metric(metric)
    thresholds = fit_thresholds(chosen, labels, proba)
    assert chosen.score(labels, shift_proba(proba, thresholds)) >= chosen.score(labels, proba) - 0.01


def test_counted_metrics_choose_as_any_other_function_does():
    labels, proba, _ = draw_unsure(300)
    slow = type(MACRO_F1)("macro_f1", MACRO_F1.of, needs="labels", key="another")
    assert fit_thresholds(MACRO_F1, labels, proba) == pytest.approx(fit_thresholds(slow, labels, proba))


def test_a_class_without_images_takes_the_threshold_that_all_share():
    labels, proba, _ = draw_unsure()
    labels[:, 0] = 0
    with_it = fit_thresholds(MACRO_F1, labels, proba)
    assert 0 < with_it[0] < 1 and np.isfinite(with_it).all()


def test_a_rare_class_stays_near_the_threshold_that_all_share():
    labels, proba, _ = draw_unsure()
    rare = labels.copy()
    rare[np.flatnonzero(rare[:, 0])[2:], 0] = 0  # two images are left
    none = rare.copy()
    none[:, 0] = 0
    few, shared = (
        shift_proba(np.array([[0.5]]), fit_thresholds(MACRO_F1, thresholds, proba)[:1]) for thresholds in (rare, none)
    )
    assert few == pytest.approx(shared, abs=0.1)


def test_the_thresholds_of_a_fold_do_not_depend_on_its_labels():
    labels, proba, folds = draw_unsure()
    before = nest_thresholds(MACRO_F1, labels, proba, folds)
    labels[folds == 2] = 1 - labels[folds == 2]
    after = nest_thresholds(MACRO_F1, labels, proba, folds)
    assert (before[2] == after[2]).all() and (before[0] != after[0]).any()


def test_with_a_single_block_nothing_may_choose():
    labels, proba, folds = draw_unsure()
    assert (nest_thresholds(MACRO_F1, labels, proba, folds * 0)[0] == 0.5).all()
    assert (choose_thresholds(MACRO_F1, labels, proba, folds * 0).thresholds == 0.5).all()


def test_thresholds_gain_a_wider_error_where_images_are_not_independent():
    draws = np.random.default_rng(0)
    labels = (draws.random((60, 2)) < 0.4).astype(np.int8)
    proba = np.clip(0.25 + 0.2 * labels + draws.normal(0, 0.1, labels.shape), 0.01, 0.99)
    labels, proba, groups = (np.repeat(values, 8, axis=0) for values in (labels, proba, np.arange(60)))
    alone, grouped = (
        choose_thresholds(METRICS["macro_f1"], labels, proba, groups % 3, groups=grouping)
        for grouping in (None, groups)
    )
    assert grouped.gain == alone.gain and grouped.gain_se > 2 * alone.gain_se
