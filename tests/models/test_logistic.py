"""Logistic regression: scikit-learn's, with shared weights, and of several labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.draws import draw_label_sets

from kit.models.logistic import fit_each, fit_shared
from kit.runs.store.build import build_model


def shared(groups: np.ndarray, seed: int = 0, n_images: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes and features of four classes, and the fit's coefficients."""
    draws = np.random.default_rng(seed)
    codes = np.arange(n_images) % 4
    features = draws.normal(size=(n_images, 6)) + np.eye(6)[codes] + 2 * np.eye(6)[4 + codes // 2]
    return features, codes, fit_shared(features, codes, np.ones(n_images), 1.0, groups)[0]


def test_each_class_is_scikit_learns_regression_and_an_absent_one_its_prior():
    hot, draws = draw_label_sets(), np.random.default_rng(0)
    features = hot + draws.normal(size=hot.shape)
    hot[:, 3] = 0
    coefficients, intercepts = fit_each(features, hot, np.ones(200), 1.0)
    regression = LogisticRegression(C=1.0, max_iter=2000).fit(features, hot[:, 1])
    assert coefficients[1] == pytest.approx(regression.coef_[0])
    assert not coefficients[3].any() and 1 / (1 + np.exp(-intercepts[3])) == pytest.approx(0.5 / 201)


def test_without_sharing_the_regression_is_scikit_learns():
    features, codes, coefficients = shared(np.zeros((4, 2)))
    regression = LogisticRegression(C=1.0, max_iter=1000, tol=1e-6).fit(features, codes)
    assert coefficients == pytest.approx(regression.coef_, abs=0.01)


def test_classes_that_share_weights_are_more_alike():
    groups = np.eye(2)[[0, 0, 1, 1]]
    apart, together = (np.corrcoef(shared(sharing)[2])[0, 1] for sharing in (0 * groups, 3 * groups))
    assert together > apart + 0.1


def test_a_probe_ignores_the_hierarchy_at_zero_and_needs_one_otherwise(colours):
    runs = '\n[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\nhierarchy = "nested"\n'
    with pytest.raises(Exception, match=r"\[runs.probe\] hierarchy = 'nested' needs \[data\] hierarchy"):
        competition = colours(runs)
        build_model(competition, competition.run("probe"))
    competition = colours(runs, data='hierarchy = "/"')
    probe = build_model(competition, competition.run("probe"))
    assert [setting["hierarchy"] for setting in probe.head_settings()] == [0.0, 0.5, 1.5]
    plain = colours(runs, ("runs.probe.hierarchy=0.0",))
    assert "hierarchy" not in build_model(plain, plain.run("probe")).head_settings()[0]
