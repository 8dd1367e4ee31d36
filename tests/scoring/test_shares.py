"""Class shares of new images: found where they are others, and not seen where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from kit.scoring.shares import Shares, estimate_shares, score_at

EVEN, SKEWED = np.full(4, 0.25), np.array([0.55, 0.3, 0.1, 0.05])


def draw(draws, n_images, shares):
    """Return labels of exactly these shares, and honest probabilities at even ones."""
    labels = np.repeat(np.arange(4), np.rint(n_images * shares).astype(int))
    logits = 1.5 * (draws.normal(size=(len(labels), 4)) + 1.5 * np.eye(4)[labels])
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def estimate(seed, shares):
    draws = np.random.default_rng(seed)
    return estimate_shares(*draw(draws, 120, EVEN), draw(draws, 1500, shares)[1])


def test_other_shares_are_seen_and_found():
    found = [estimate(seed, SKEWED) for seed in range(10)]
    assert all(each.is_shifted for each in found)
    apart = np.abs(np.array([each.new for each in found]) - SKEWED).sum(axis=1)
    assert apart.max() < 0.6 * np.abs(EVEN - SKEWED).sum()


def test_a_class_that_is_predicted_too_often_is_not_taken_for_a_frequent_one():
    def share_of_first(seed):
        draws = np.random.default_rng(seed)
        (labels, oof), (_, new) = draw(draws, 400, EVEN), draw(draws, 1500, SKEWED)
        oof, new = (each * [4.0, 1, 1, 1] for each in (oof, new))
        return estimate_shares(labels, *(each / each.sum(axis=1, keepdims=True) for each in (oof, new))).new[0]

    assert abs(np.mean([share_of_first(seed) for seed in range(5)]) - SKEWED[0]) < 0.06


def test_equal_shares_are_rarely_taken_for_others():
    assert np.mean([estimate(seed, EVEN).is_shifted for seed in range(100)]) <= 0.1


def test_bursts_of_equal_images_are_not_taken_for_other_shares():
    def is_shifted(seed, n_burst=5):
        draws = np.random.default_rng(seed)
        labels, proba = (np.repeat(each, n_burst, axis=0) for each in draw(draws, 40, EVEN))
        groups = np.arange(len(labels)) // n_burst
        return estimate_shares(labels, proba, draw(draws, 1500, EVEN)[1], groups).is_shifted

    assert np.mean([is_shifted(seed) for seed in range(100)]) <= 0.15


def test_a_score_at_other_shares_weighs_each_class_by_its_share():
    labels, proba = draw(np.random.default_rng(0), 400, EVEN)
    labeled = np.bincount(labels, minlength=4) / len(labels)
    right = proba.argmax(axis=1) == labels
    wanted = sum(SKEWED[code] * right[labels == code].mean() for code in range(4))
    assert score_at("accuracy", labels, proba, Shares(labeled, SKEWED, True)) == pytest.approx(wanted, abs=0.002)
    assert score_at("accuracy", labels, proba, None) == pytest.approx(right.mean())
