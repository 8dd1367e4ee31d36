"""Ensemble: degenerate cases, optimality, nesting, and the uniform fallback."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.scoring.mixing import fit_simplex_weights, fit_temperature, select_greedily


def members(n_images: int = 400, sharpness: tuple[float, ...] = (2.0, 1.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and members of falling quality, the last one worthless."""
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 4, n_images)
    logits = [share * np.eye(4)[labels] * 2 + draws.normal(0, 1, (n_images, 4)) for share in sharpness]
    return labels, softmax(np.stack(logits), axis=2)


def test_the_weights_are_a_minimum_on_the_simplex():
    labels, proba = members()
    own = proba[:, np.arange(len(labels)), labels]
    weights = fit_simplex_weights(own)
    best = -np.log(weights @ own).mean()
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    for step in np.random.default_rng(1).dirichlet(np.ones(3), 200):
        assert -np.log((0.98 * weights + 0.02 * step) @ own).mean() >= best - 1e-9


def test_float32_probabilities_do_not_stop_the_optimiser():
    labels, proba = members()
    own = proba[:, np.arange(len(labels)), labels]
    assert fit_simplex_weights(own.astype(np.float32)) == pytest.approx(fit_simplex_weights(own), abs=1e-3)
    assert np.ptp(fit_simplex_weights(own.astype(np.float32))) > 0.3


def test_equal_members_keep_equal_weights():
    own = np.tile(np.random.default_rng(0).uniform(0.1, 1, 100), (3, 1))
    assert fit_simplex_weights(own) == pytest.approx([1 / 3] * 3)


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
    assert mixed >= max((own.argmax(axis=1) == labels).mean() for own in proba)


@pytest.mark.parametrize("method", ["weights", "greedy"])
@pytest.mark.parametrize("n_members", [1, 2, 3])
def test_an_ensemble_of_one_or_of_equal_members_is_that_one(colours, method, n_members):
    prepared = prepare(colours(changes=(f"ensemble.method={method}",)))
    one = crossval(prepared, "forest")  # whose certain zeros no logarithm may touch
    combined = ensemble(prepared, [replace(one, name=f"forest_{i}") for i in range(n_members)])
    assert combined.record.cv == one.record.cv and set(combined.record.temperatures.values()) == {1.0}
    for split in ("oof", "test"):
        theirs = one.predictions(split)
        assert np.array_equal(combined.predictions(split).at(theirs.ids).proba, theirs.proba)


def test_the_weights_of_a_fold_do_not_depend_on_its_labels(colours):
    prepared = prepare(colours())
    runs = [crossval(prepared, name) for name in ("forest", "svm")]
    before = ensemble(prepared, runs).predictions("oof")
    mine = prepared.folds == 0
    prepared.labels[mine] = (prepared.labels[mine] + 1) % 3
    after = ensemble(prepared, runs).predictions("oof")
    ids = prepared.pool.ids[prepared.labeled[mine]]
    assert (before.at(ids).proba == after.at(ids).proba).all()
    others = prepared.pool.ids[prepared.labeled[~mine]]
    assert (before.at(others).proba != after.at(others).proba).any()


def test_a_single_small_hold_out_is_combined(colours):
    prepared = prepare(colours(changes=("folds.use=[0]", "folds.n=5")))
    combined = ensemble(prepared, [crossval(prepared, name) for name in ("forest", "svm")])
    assert len(combined.predictions("oof")) == (prepared.folds == 0).sum()


def test_the_same_members_are_combined_once(colours):
    prepared = prepare(colours())
    runs = [crossval(prepared, "svm")]
    first, again = ensemble(prepared, runs), ensemble(prepared, runs)
    assert first.folder == again.folder and first.record.made == again.record.made


def test_no_member_is_refused(colours):
    with pytest.raises(InputError, match="no finished member"):
        ensemble(prepare(colours()), [])
