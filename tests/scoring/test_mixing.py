"""Weights and temperatures of an ensemble's members."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from kit.scoring.chances import UNKNOWN, Record
from kit.scoring.mixing import (
    LEAST_WEIGHT,
    apply_temperature,
    find_copies,
    fit_greedy,
    fit_temperature,
    fit_weighed,
    fit_weights,
    of_choices,
    prior_weights,
    select_greedily,
)


def members(n_images: int = 400, sharpness: tuple[float, ...] = (2.0, 1.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and members of falling quality, the last one worthless."""
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 4, n_images)
    logits = [share * np.eye(4)[labels] * 2 + draws.normal(0, 1, (n_images, 4)) for share in sharpness]
    return labels, softmax(np.stack(logits), axis=2)


def of_true_class(labels: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Return the members' probabilities of the true class, (n_members, n_images, 1)."""
    return proba[:, np.arange(len(labels)), labels][..., None]


def test_members_that_are_all_but_perfect_can_be_mixed():
    draws = np.random.default_rng(0)
    of_truth = 1 - draws.uniform(0, 1e-5, (2, 50, 1)) * [[[1.0]], [[0.01]]]
    assert fit_weights(of_truth, np.full(2, 0.5)).sum() == pytest.approx(1)


def test_one_class_by_itself_is_mixed_as_two_classes_are():
    draws = np.random.default_rng(0)
    labels, groups = draws.integers(0, 2, 200), np.arange(200) // 2
    proba = np.clip(draws.normal(0.2 + 0.6 * labels, [[0.2], [0.3]], (2, 200)), 0.01, 0.99)
    proba_of_choices = of_choices(proba, True)  # (n_members, n_images, 2)
    for fit in (fit_weighed, fit_greedy("accuracy")):
        two, several = (
            fit(labels, proba_of_choices, groups),
            fit(labels[:, None].astype(np.int8), proba_of_choices[:, :, None], groups),
        )
        assert several.weights == pytest.approx(two.weights) and several.temperatures == pytest.approx(two.temperatures)


def test_without_a_prior_the_weights_are_a_minimum_on_the_simplex():
    labels, proba = members()
    of_truth = of_true_class(labels, proba)
    weights = fit_weights(of_truth, np.full(3, 1 / 3), n_prior=0)
    best = -np.log(weights @ of_truth[..., 0]).mean()
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    for step in np.random.default_rng(1).dirichlet(np.ones(3), 200):
        assert -np.log((0.98 * weights + 0.02 * step) @ of_truth[..., 0]).mean() >= best - 1e-7


def test_float32_probabilities_give_the_same_weights():
    labels, proba = members()
    of_truth, prior = of_true_class(labels, proba), np.full(3, 1 / 3)
    assert fit_weights(of_truth.astype(np.float32), prior) == pytest.approx(fit_weights(of_truth, prior), abs=1e-3)
    assert np.ptp(fit_weights(of_truth.astype(np.float32), prior)) > 0.3


def test_equal_members_keep_the_prior():
    of_truth = np.tile(np.random.default_rng(0).uniform(0.1, 1, (100, 1)), (3, 1, 1))
    assert fit_weights(of_truth, np.array([0.5, 0.3, 0.2]), 1000) == pytest.approx([0.5, 0.3, 0.2], abs=0.05)
    assert fit_weights(of_truth, np.full(3, 1 / 3)) == pytest.approx([1 / 3] * 3)


def test_the_more_images_there_are_the_farther_they_move_the_weights_from_the_prior():
    prior, apart = np.array([0.05, 0.95]), []
    for n_images in (10, 100, 1000):
        of_truth = np.tile(np.array([[[0.6], [0.2]], [[0.3], [0.5]]]), (1, n_images // 2, 1))
        alone = fit_weights(of_truth, prior, n_prior=0)
        apart.append(np.abs(fit_weights(of_truth, prior) - alone).max())
    assert apart[0] > apart[1] > apart[2] and apart[2] < 0.03


def test_one_member_has_all_the_weight():
    assert fit_weights(np.full((1, 10, 1), 0.5), np.ones(1)) == pytest.approx([1.0])


def test_the_prior_favours_alike_whom_nothing_tells_from_the_best():
    draws = np.random.default_rng(0)
    base = draws.uniform(0, 1, 90)
    losses = np.stack([base, base + draws.normal(0, 0.5, 90), base + 1.0])
    losses[1] += losses[0].mean() - losses[1].mean()  # the second is exactly as good, the third surely worse
    prior = prior_weights(losses, np.zeros_like(losses))
    assert prior[0] == pytest.approx(prior[1], abs=0.05) and prior[2] < prior[0]
    assert prior.sum() == pytest.approx(1)


def test_a_record_holds_the_weights_against_few_images_and_not_against_many():
    nothing = np.zeros(2)
    record = Record(
        np.array([0.0, 0.03]), np.array([0.0, 0.01]), np.array([0.0, 0.1]), np.array([0.0, 0.03]), np.ones(2)
    )
    for n_images, keeps in ((40, True), (20_000, False)):
        labels, proba = members(n_images, (1.0, 1.5))
        alone, known = fit_weighed(labels, proba), fit_weighed(labels, proba, None, record)
        assert alone.weights[1] > 0.5
        assert (known.weights[0] > 0.6) == keeps
    assert fit_weighed(
        labels, proba, None, Record(nothing, nothing + UNKNOWN, nothing, nothing + UNKNOWN, nothing + 1)
    ).weights == (pytest.approx(alone.weights))


def test_groups_make_the_prior_less_sure():
    draws = np.random.default_rng(0)
    losses = np.repeat(draws.uniform(0, 1, (2, 20)), 10, axis=1)
    losses[1] += 0.15
    alone, grouped = (
        prior_weights(losses, np.zeros_like(losses), groups) for groups in (None, np.repeat(np.arange(20), 10))
    )
    assert grouped.min() > alone.min()


def test_a_hopeless_member_is_dropped_and_changes_nothing():
    labels, proba = members(60, (2.0, 1.5))
    hopeless = np.random.default_rng(1).dirichlet(np.ones(4), len(labels))
    without, with_it = fit_weighed(labels, proba), fit_weighed(labels, np.concatenate([proba, [hopeless]]))
    assert with_it.weights[2] == 0 and with_it.weights[:2] == pytest.approx(without.weights, abs=0.05)
    assert all(weight == 0 or weight >= LEAST_WEIGHT for weight in with_it.weights)


def test_one_strong_member_among_many_weak_ones_keeps_almost_all_the_weight():
    labels, proba = members(90, (4.0, *[0.5] * 8))
    mixture = fit_weighed(labels, proba)
    assert mixture.weights[0] > 0.8
    right = (mixture(proba).argmax(axis=1) == labels).mean()
    assert right >= (proba[0].argmax(axis=1) == labels).mean() - 0.02


def test_copies_are_told_without_labels_also_rounded_or_at_another_temperature():
    _, proba = members(90, (2.0, 1.9))
    sharper = apply_temperature(np.log(proba[0]), 1.5)
    assert find_copies(np.stack([proba[0], proba[1], proba[0].round(4), sharper, proba[0]])) == {2: 0, 3: 0, 4: 0}


def test_members_of_one_uniform_prediction_are_copies_of_each_other_alone():
    _, proba = members(90, (2.0,))
    uniform = np.full_like(proba[0], 0.25)
    assert find_copies(np.stack([uniform, proba[0], uniform])) == {2: 0}


def test_the_temperature_undoes_an_overconfident_member():
    labels, proba = members()
    logits = np.log(proba[0])
    fitted = fit_temperature(labels, 3 * logits)
    assert fitted == pytest.approx(3 * fit_temperature(labels, logits), rel=1e-3)
    assert log_loss(labels, softmax(3 * logits / fitted, axis=1)) < log_loss(labels, softmax(3 * logits, axis=1))


def test_a_temperatures_prior_holds_few_images_back_and_not_many():
    labels, proba = members(4000)
    sharp = 5 * np.log(proba[0])
    free, held = fit_temperature(labels, sharp), fit_temperature(labels, sharp, 0.5)
    assert held == pytest.approx(free, rel=0.02)
    few = [abs(np.log(fit_temperature(labels[:10], sharp[:10], spread))) for spread in (0.5, None)]
    assert few[0] < few[1]  # all ten are right: without a prior nothing is sure enough


def test_greedy_selection_is_never_below_the_best_member():
    labels, proba = members()
    weights = select_greedily(labels, proba, "accuracy")
    mixed = (np.tensordot(weights, proba, axes=1).argmax(axis=1) == labels).mean()
    assert mixed >= max((member.argmax(axis=1) == labels).mean() for member in proba)


def test_the_prior_weighs_the_best_few_as_the_best_mixtures_of_other_data_did():
    nothing, unknown, losses = np.zeros(2), np.full(2, UNKNOWN), np.random.default_rng(0).uniform(0, 1, (2, 60))
    losses[1] = losses[0][::-1]  # as good as the first
    record = Record(nothing, unknown, nothing, unknown, np.array([0.6, 0.2]))
    assert prior_weights(losses, np.zeros_like(losses), record=record) == pytest.approx([0.75, 0.25])
