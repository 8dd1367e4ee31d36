"""Weights and temperatures of an ensemble's members."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from kit.scoring.mixing import fit_greedy, fit_shrunk, fit_simplex_weights, fit_temperature, of_choices, select_greedily


def members(n_images: int = 400, sharpness: tuple[float, ...] = (2.0, 1.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and members of falling quality, the last one worthless."""
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 4, n_images)
    logits = [share * np.eye(4)[labels] * 2 + draws.normal(0, 1, (n_images, 4)) for share in sharpness]
    return labels, softmax(np.stack(logits), axis=2)


def test_members_that_are_all_but_perfect_can_be_mixed():
    draws = np.random.default_rng(0)
    of_truth = 1 - draws.uniform(0, 1e-5, (2, 50)) * [[1.0], [0.01]]
    assert fit_simplex_weights(of_truth).sum() == pytest.approx(1)


def test_one_class_by_itself_is_mixed_as_two_classes_are():
    draws = np.random.default_rng(0)
    labels, blocks = draws.integers(0, 2, 200), np.arange(200) % 4
    proba = np.clip(draws.normal(0.2 + 0.6 * labels, [[0.2], [0.3]], (2, 200)), 0.01, 0.99)
    proba_of_choices = of_choices(proba, True)  # (n_members, n_images, 2)
    for fit in (fit_shrunk, fit_greedy("accuracy")):
        two, several = (
            fit(labels, proba_of_choices, blocks),
            fit(labels[:, None].astype(np.int8), proba_of_choices[:, :, None], blocks),
        )
        assert several.weights == pytest.approx(two.weights) and several.temperatures == pytest.approx(two.temperatures)


def test_the_weights_are_a_minimum_on_the_simplex():
    labels, proba = members()
    of_truth = proba[:, np.arange(len(labels)), labels]
    weights = fit_simplex_weights(of_truth)
    best = -np.log(weights @ of_truth).mean()
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    for step in np.random.default_rng(1).dirichlet(np.ones(3), 200):
        assert -np.log((0.98 * weights + 0.02 * step) @ of_truth).mean() >= best - 1e-9


def test_float32_probabilities_do_not_stop_the_optimiser():
    labels, proba = members()
    of_truth = proba[:, np.arange(len(labels)), labels]
    assert fit_simplex_weights(of_truth.astype(np.float32)) == pytest.approx(fit_simplex_weights(of_truth), abs=1e-3)
    assert np.ptp(fit_simplex_weights(of_truth.astype(np.float32))) > 0.3


def test_equal_members_keep_equal_weights():
    of_truth = np.tile(np.random.default_rng(0).uniform(0.1, 1, 100), (3, 1))
    assert fit_simplex_weights(of_truth) == pytest.approx([1 / 3] * 3)


def test_one_member_has_all_the_weight():
    assert fit_simplex_weights(np.full((1, 10), 0.5)) == pytest.approx([1.0])


def test_the_temperature_undoes_an_overconfident_member():
    labels, proba = members()
    logits = np.log(proba[0])
    fitted = fit_temperature(labels, 3 * logits)
    assert fitted == pytest.approx(3 * fit_temperature(labels, logits), rel=1e-3)
    assert log_loss(labels, softmax(3 * logits / fitted, axis=1)) < log_loss(labels, softmax(3 * logits, axis=1))


def test_greedy_selection_is_never_below_the_best_member():
    labels, proba = members()
    weights = select_greedily(labels, proba, "accuracy")
    mixed = (np.tensordot(weights, proba, axes=1).argmax(axis=1) == labels).mean()
    assert mixed >= max((member.argmax(axis=1) == labels).mean() for member in proba)
