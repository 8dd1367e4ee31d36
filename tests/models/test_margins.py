"""Margins of a support vector machine: scikit-learn's, however few images are looked at at a time."""

import numpy as np
import pytest
from sklearn.svm import SVC

from kit.models.classic import margins
from kit.models.classic.margins import one_vs_rest_margins, scale_gamma


def _machine(n_classes, kernel):
    """Return a machine of so many classes, and features that it has not seen."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(n_classes, 8))
    labels = np.repeat(np.arange(n_classes), 5)
    features = centres[labels] + draw.normal(size=(len(labels), 8))
    options = {"kernel": kernel, "decision_function_shape": "ovr", "gamma": scale_gamma(features)}
    machine = SVC(**options).fit(features, labels, sample_weight=1 + labels % 3)
    return machine, draw.normal(size=(40, 8)).astype(np.float32)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("n_classes", [3, 12])
def test_margins_are_those_of_scikit_learn(kernel, n_classes, monkeypatch):
    machine, features = _machine(n_classes, kernel)
    monkeypatch.setattr(margins, "BLOCK_BYTES", 8 * n_classes**2 * 7)  # several blocks
    assert one_vs_rest_margins(machine, features) == pytest.approx(machine.decision_function(features), abs=1e-9)


def test_of_two_classes_there_is_one_margin_and_its_opposite():
    machine, features = _machine(2, "rbf")
    ours = one_vs_rest_margins(machine, features)
    assert ours[:, 1] == pytest.approx(machine.decision_function(features))
    assert ours[:, 0] == pytest.approx(-ours[:, 1])


def test_the_number_is_what_scikit_learn_takes_for_scale():
    for features in (np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32), np.ones((6, 5), np.float32)):
        labels, asked = np.arange(len(features)) % 3, np.linspace(0, 1, 20).reshape(4, 5)
        ours, theirs = (SVC(gamma=gamma).fit(features, labels) for gamma in (scale_gamma(features), "scale"))
        assert np.array_equal(ours.decision_function(asked), theirs.decision_function(asked))
