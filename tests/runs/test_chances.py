"""The chance that a round of pseudo labels gains: what other data sets showed, and what these images say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kit.runs.store.rounds import EXPECTED, SURE, UNTOLD, Expected, chance_of_gain, choose_among, describe_rule
from kit.scoring.metrics import find_metric

NEUTRAL = Expected(share=0.5, gain=0.0, gain_sd=0.02, excess=0.0, excess_sd=0.0, ahead_sd=0.05)


def test_where_nothing_is_known_the_chance_is_even_and_images_move_it():
    assert chance_of_gain(UNTOLD, UNTOLD, NEUTRAL) == 0.5
    chances = [chance_of_gain((gain, 0.02), (0.0, 0.0), NEUTRAL) for gain in (-0.04, 0.0, 0.04)]
    assert chances[1] == 0.5 and chances[0] == pytest.approx(1 - chances[2]) and chances[2] > SURE
    more = [chance_of_gain((0.02, error), (0.0, 0.0), NEUTRAL) for error in (0.1, 0.02, 0.005)]
    assert more == sorted(more) and more[-1] > 0.99


def test_two_normal_distributions_are_multiplied():
    told, error = 0.03, 0.01
    mean = told / error**2 / (1 / error**2 + 1 / 0.02**2)
    sd = (1 / error**2 + 1 / 0.02**2) ** -0.5
    normal = 0.5 * (1 + math.erf(mean / sd / math.sqrt(2)))
    assert chance_of_gain((told, error), (0.0, 0.0), NEUTRAL) == pytest.approx(normal)


def test_a_student_takes_on_a_part_of_its_teachers_lead():
    ahead, behind = (chance_of_gain(UNTOLD, (lead, 0.0), NEUTRAL) for lead in (0.06, -0.06))
    assert ahead > SURE and behind == pytest.approx(1 - ahead)
    unsure = chance_of_gain(UNTOLD, (0.06, 0.1), NEUTRAL)  # few images tell hardly how far ahead it is
    assert 0.5 < unsure < ahead


def test_what_one_folds_model_gains_too_much_is_taken_off():
    optimistic = Expected(0.5, 0.0, 0.02, excess=0.02, excess_sd=0.01, ahead_sd=0.05)
    assert chance_of_gain((0.02, 0.001), (0.0, 0.0), optimistic) == pytest.approx(0.5)
    assert chance_of_gain((0.01, 0.001), (0.0, 0.0), optimistic) < 0.5


def test_a_round_that_images_and_teachers_speak_for_is_kept_and_one_on_a_coins_toss_is_not():
    labels, folds = np.tile([0, 1], 60), np.arange(120) % 3
    draws = np.random.default_rng(0)

    def right_in(n_right: int) -> np.ndarray:
        said = np.where(np.arange(120) < n_right, labels, 1 - labels)
        return np.eye(2)[said] * 0.6 + 0.2 + draws.uniform(0, 0.01, (120, 2))

    base = right_in(80)
    given = (labels, [base, right_in(92)], folds, np.arange(120), [0, 1, 2], find_metric("accuracy"))
    good = choose_among(*given, {fold: right_in(100) for fold in (None, 0, 1, 2)})
    assert good.kept == 1 and good.chances[0] > 0.9
    alike = choose_among(*given[:1], [base, right_in(81)], *given[2:], dict.fromkeys((None, 0, 1, 2), base))
    assert alike.kept == 0 and alike.against_base[0][0] > 0 and alike.chances[0] < SURE


def test_of_another_rule_rounds_are_chosen_anew(monkeypatch):
    before = describe_rule()
    monkeypatch.setattr("kit.runs.store.rounds.EXPECTED", NEUTRAL)
    assert before != describe_rule() and before["share"] == EXPECTED.share
