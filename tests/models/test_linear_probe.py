"""The linear probe: scikit-learn's regression, pulled to an anchor or to a prior."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.clips import TINY_CLIP
from support.light import LIGHT, fitted

from kit.features.cache import encode_images
from kit.models.heads.linear_probe import LinearProbe
from kit.models.logistic import fit_anchored


def test_a_probe_pulled_nowhere_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    features, codes, weights = generator.normal(size=(40, 60)), np.arange(40) % 4, generator.uniform(0.5, 2, 40)
    theirs = LogisticRegression(C=3.0, max_iter=5000, tol=1e-8).fit(features, codes, sample_weight=weights)
    ours, intercepts = fit_anchored(features, codes, weights, 3.0, np.zeros((4, 60)))
    assert ours == pytest.approx(theirs.coef_, abs=2e-3)
    assert intercepts - intercepts.mean() == pytest.approx(theirs.intercept_ - theirs.intercept_.mean(), abs=2e-3)


def test_a_probe_that_may_not_move_stays_at_its_anchor():
    generator = np.random.default_rng(0)
    anchor = generator.normal(size=(3, 20))
    coefficients, _ = fit_anchored(generator.normal(size=(30, 20)), np.arange(30) % 3, np.ones(30), 1e-9, anchor)
    assert coefficients == pytest.approx(anchor, abs=1e-6)


def test_a_prior_of_weight_0_is_plain_logistic_regression(prepared):
    images = prepared.held_out(0)
    plain = LinearProbe(TINY_CLIP).fit(prepared.training(0), images)
    with_prior = LinearProbe(TINY_CLIP, prompts="names").fit(prepared.training(0), images)
    assert with_prior.predict_sweep(images)[0] == pytest.approx(plain.predict_proba(images), abs=1e-6)


def test_the_probe_agrees_with_scikit_learn(prepared):
    from sklearn.linear_model import LogisticRegression

    training, images = prepared.training(0), prepared.held_out(0)
    theirs = LogisticRegression(C=30, max_iter=2000).fit(encode_images(training, TINY_CLIP).values, training.labels)
    ours = LinearProbe(TINY_CLIP, C=30.0).fit(training, images)
    expected = theirs.predict_proba(encode_images(images, TINY_CLIP).values)
    assert ours.predict_proba(images) == pytest.approx(expected, abs=1e-6)


def test_a_restored_probe_predicts_the_same(prepared):
    model = fitted("linear_probe", prepared)
    assert model.keeps_weights
    restored = LIGHT["linear_probe"]().restore(model.tensors(), prepared.classes)
    images = prepared.held_out(0)
    assert (restored.predict_proba(images) == model.predict_proba(images)).all()
