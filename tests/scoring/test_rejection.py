"""Scores that tell out-of-distribution images, and the thresholds on them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors
from support.outliers import CODES, KNOWN, VALUES

from kit.scoring import rejection as reject


def test_max_probability_and_energy_are_what_their_papers_say():
    logits = np.random.default_rng(0).normal(0, 2, (9, 4))
    assert reject.energy(logits) == pytest.approx(logsumexp(logits, axis=1))
    assert reject.max_probability(softmax(logits, axis=1)) == pytest.approx(
        np.exp(logits.max(1) - reject.energy(logits))
    )


def test_an_unlearned_class_adds_nothing_to_the_energy():
    assert reject.energy(np.array([[1.0, -np.inf]])) == pytest.approx([1.0])


def test_similarity_within_one_class_is_the_mean_cosine_of_its_nearest_images():
    of_class = VALUES[KNOWN][CODES[KNOWN] == 2]
    distances, _ = NearestNeighbors(n_neighbors=3, metric="cosine").fit(of_class).kneighbors(VALUES[-9:])
    similarities = reject.class_similarity(VALUES[-9:], of_class, np.full(len(of_class), 2))
    assert similarities == pytest.approx(1 - distances.mean(axis=1), abs=1e-5)


def test_similarity_is_that_of_the_class_that_is_nearest():
    values, codes = VALUES[KNOWN], CODES[KNOWN]
    each = [reject.class_similarity(VALUES, values[codes == code], codes[codes == code]) for code in range(4)]
    assert reject.class_similarity(VALUES, values, codes) == pytest.approx(np.max(each, axis=0))


@pytest.mark.parametrize("n_dims", [16, 200])
def test_distances_are_scikit_learns_mahalanobis_of_shrunk_covariances(n_dims):
    draws = np.random.default_rng(0)
    exemplars, codes, values = draws.normal(0, 1, (40, n_dims)), np.arange(40) % 3, draws.normal(0, 1, (5, n_dims))

    def squared(residuals, apart):
        covariance = residuals.T @ residuals / len(residuals)
        floor = reject.SHRINKAGE * np.trace(covariance) / n_dims * np.eye(n_dims)
        model = EmpiricalCovariance(assume_centered=True)
        model.location_ = np.zeros(n_dims)
        model._set_covariance((1 - reject.SHRINKAGE) * covariance + floor)
        return model.mahalanobis(apart)

    means = np.stack([exemplars[codes == code].mean(axis=0) for code in range(3)])
    to_class = np.min([squared(exemplars - means[codes], values - mean) for mean in means], axis=0)
    to_all = squared(exemplars - exemplars.mean(axis=0), values - exemplars.mean(axis=0))
    assert reject.class_distance(values, exemplars, codes) == pytest.approx(to_all - to_class)


def test_one_image_per_class_gives_finite_distances():
    assert np.isfinite(reject.class_distance(VALUES, VALUES[:4], np.arange(4))).all()


def test_ranks_run_from_nothing_to_everything_and_go_on_beyond():
    reference = np.array([3.0, 1.0, 2.0, 4.0])
    assert reject.rank_among(reference, np.array([1.0, 2.5, 4.0])) == pytest.approx([0.125, 0.5, 0.875])
    below, far_below = reject.rank_among(reference, np.array([0.0, -5.0]))
    assert far_below < below < 0.125 and reject.rank_among(reference, np.array([9.0]))[0] > 1


def test_equal_scores_share_a_rank():
    assert reject.rank_among(np.zeros(4), np.zeros(2)).tolist() == [0.5, 0.5]


def test_ranks_do_not_depend_on_a_scores_unit():
    draws = np.random.default_rng(0)
    reference, values = draws.normal(size=50), draws.normal(size=20)
    assert reject.rank_among(10 * reference + 3, 10 * values + 3) == pytest.approx(reject.rank_among(reference, values))


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.95])
def test_a_threshold_keeps_the_share_that_it_is_asked_to(rate):
    scores = np.random.default_rng(0).normal(size=1000)
    assert (scores >= reject.threshold_of(scores, rate)).mean() == pytest.approx(rate, abs=0.002)


def test_the_rate_that_tells_hidden_classes_apart_is_chosen():
    known = np.linspace(0, 1, 100)
    outliers = np.linspace(0, 0.19, 100)  # the lowest fifth of the known is mixed with them
    scores, is_hidden = np.concatenate([known, outliers]), np.repeat([False, True], 100)
    rate, passed = reject.choose_accept_rate([reject.Hidden((scores,), is_hidden, np.zeros(200))])
    assert rate == 0.8 and passed < 0.02


def test_classes_without_images_cannot_be_hidden():
    with pytest.raises(ValueError, match="no class could be hidden"):
        reject.choose_accept_rate([reject.Hidden((np.ones(3),), np.zeros(3, dtype=bool), np.zeros(3))])


def test_a_dropped_class_leaves_the_shares_of_the_others():
    assert reject.drop_class(np.array([[0.2, 0.5, 0.3]]), 1) == pytest.approx(np.array([[0.4, 0.6]]))
