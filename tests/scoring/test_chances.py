"""Chances: equal members are not behind, few images leave the record standing, many overrule it."""

from __future__ import annotations

import numpy as np
import pytest

from kit.scoring.chances import UNKNOWN, Record, behind_best, no_record


def errors(n_images: int, *shares: float) -> np.ndarray:
    """Draw whether images are wrong, (n_members, n_images), with just these shares."""
    draws = np.random.default_rng(0)
    return np.stack([draws.permutation(np.arange(n_images) < round(share * n_images)) for share in shares]).astype(
        float
    )


def test_members_that_nothing_tells_apart_are_not_behind():
    known = no_record(3)
    for values in (np.tile(errors(60, 0.3), (3, 1)), np.zeros((3, 60)), errors(60, 0.3, 0.3, 0.3)):
        assert behind_best(values, known.error, known.error_sd) == pytest.approx(np.zeros(3), abs=1e-3)


def test_without_a_record_the_distance_is_that_of_a_paired_comparison():
    values = errors(400, 0.2, 0.25)
    apart = values[1] - values[0]
    z = apart.mean() / (apart.std(ddof=1) / np.sqrt(len(apart)))
    known = no_record(2)
    assert behind_best(values, known.error, known.error_sd) == pytest.approx([0, z], rel=0.01)


def test_few_images_leave_the_record_standing_and_many_overrule_it():
    excess, sd = np.array([0.0, 0.05]), np.array([0.0, 0.02])
    few, some, many = (behind_best(errors(n_images, 0.3, 0.25), excess, sd) for n_images in (40, 400, 40_000))
    assert few[0] == 0 and few[1] > 1.5
    assert abs(some[0] - some[1]) < few[1]
    assert many[1] == 0 and many[0] > 5


def test_a_member_without_a_record_is_judged_by_the_images_alone():
    values = errors(2000, 0.3, 0.3, 0.2)
    behind = behind_best(values, np.array([0.0, 0.05, 0.0]), np.array([0.0, 0.01, UNKNOWN]))
    assert behind[2] == 0 and behind[:2].min() > 3


def test_images_of_one_group_tell_less():
    values = np.repeat(errors(40, 0.3, 0.4), 10, axis=1)
    known = no_record(2)
    alone, grouped = (
        behind_best(values, known.error, known.error_sd, groups)[1] for groups in (None, np.repeat(np.arange(40), 10))
    )
    assert alone > 2 * grouped > 0


def test_a_record_is_worth_as_many_images_as_leave_a_difference_as_unsure():
    losses = np.random.default_rng(0).normal(0, 1, (3, 5000))
    record = Record(np.zeros(3), np.zeros(3), np.zeros(3), np.array([0.0, 0.1, UNKNOWN]), np.ones(3))
    assert record.worth(losses) == pytest.approx(2 / 0.1**2, rel=0.1)
    assert no_record(3).worth(losses) == 0
    assert record.take(np.array([1, 2])).worth(losses[1:]) == 0  # without the best known one
