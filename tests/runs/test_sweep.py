"""Sweeps: a fold's own rows choose nothing, calibration does not decide, a single hold-out takes the default."""

from __future__ import annotations

import numpy as np
import pytest

from kit.data.prepared import prepare
from kit.models.trust import TRUSTED, weigh_evidence
from kit.runs.fit.sweep import _choose, _losses, choose_per_fold


def sweep_of(prepared, *shares: float, sure: float = 0.9) -> dict[int, np.ndarray]:
    """Return, for every fold, sweeps right on a share of the images, as sure as `sure`."""
    sweeps = {}
    for fold in prepared.scored:
        labels = prepared.fold_labels(fold)
        values = []
        for share in shares:
            n_right = round(share * len(labels))
            named = np.where(np.arange(len(labels)) < n_right, labels, (labels + 1) % 3)
            values.append(np.eye(3)[named] * (sure - (1 - sure) / 2) + (1 - sure) / 2)
        sweeps[fold] = np.stack(values)
    return sweeps


@pytest.fixture
def prepared(colours):
    return prepare(colours())


def test_the_better_value_is_chosen_and_the_first_in_a_tie(prepared):
    assert set(choose_per_fold(prepared, ["a", "b"], sweep_of(prepared, 0.5, 1.0), "a").values()) == {"b"}
    assert set(choose_per_fold(prepared, ["a", "b"], sweep_of(prepared, 1.0, 1.0), "b").values()) == {"a"}


def test_a_folds_own_rows_do_not_choose_for_it(prepared):
    sweeps = sweep_of(prepared, 0.5, 1.0)
    first = prepared.scored[0]
    sweeps[first] = sweeps[first][::-1]
    assert choose_per_fold(prepared, ["a", "b"], sweeps, "a")[first] == "b"


def test_a_value_does_not_win_by_its_calibration(prepared):
    timid, bold = sweep_of(prepared, 0.8, sure=0.45), sweep_of(prepared, 0.6, sure=0.7)
    both = {fold: np.concatenate([bold[fold], timid[fold]]) for fold in prepared.scored}
    assert set(choose_per_fold(prepared, ["bold", "timid"], both, "bold").values()) == {"timid"}


def test_a_setting_may_be_a_table(prepared):
    values = [{"smooth": 0.0}, {"smooth": 0.8}]
    chosen = choose_per_fold(prepared, values, sweep_of(prepared, 0.5, 1.0), values[0])
    assert chosen[prepared.scored[0]] == values[1]


SMOOTHS = [{"smooth": smooth, "C": 30.0} for smooth in TRUSTED["smooth"]]  # the trusted first


def losses_of(*means: float, n_images: int, spread: float = 0.5) -> np.ndarray:
    """Return losses of n_images rows at one temperature whose means are exactly these, each pair as far apart."""
    noise = np.random.default_rng(0).normal(0, spread, (len(means), n_images))
    noise -= noise.mean(axis=1, keepdims=True)
    return (np.array(means)[:, None] + noise)[:, None]


def test_few_rows_do_not_switch_off_what_is_trusted():
    apparent = losses_of(1.05, 1.05, 1.05, 1.0, n_images=72)  # none of the neighbours looks better
    assert SMOOTHS[_choose(apparent, SMOOTHS, False)]["smooth"] == 0.8


def test_few_rows_that_show_clear_harm_do():
    assert SMOOTHS[_choose(losses_of(1.5, 1.5, 1.5, 1.0, n_images=72), SMOOTHS, False)]["smooth"] == 0.0


def test_many_rows_decide_by_themselves():
    apparent = losses_of(1.05, 1.05, 1.05, 1.0, n_images=20_000)
    assert SMOOTHS[_choose(apparent, SMOOTHS, False)]["smooth"] == 0.0


def test_what_is_trusted_is_chosen_before_all_else():
    values = [{**smooth, "C": C} for smooth in SMOOTHS for C in (30.0, 10.0)]
    losses = losses_of(1.0, 0.9, 1.2, 0.8, 1.2, 0.8, 1.2, 0.8, n_images=400, spread=0.05)
    assert values[_choose(losses, values, False)] == {"smooth": 0.8, "C": 10.0}


def test_neighbours_must_prove_themselves_where_an_image_may_have_several_labels():
    same = losses_of(1.0, 1.0, 1.0, 1.0, n_images=72)
    assert SMOOTHS[_choose(same, SMOOTHS, True)]["smooth"] == 0.0


def test_evidence_and_rows_weigh_by_their_precision():
    of_0 = TRUSTED["smooth"][0.0]
    assert weigh_evidence({"smooth": 0.0}, -1.0, 1e9) == pytest.approx(of_0.excess)
    assert weigh_evidence({"smooth": 0.0}, -1.0, 1e-9) == pytest.approx(-1.0)
    assert weigh_evidence({"smooth": 0.0}, -1.0, of_0.sd) == pytest.approx((of_0.excess - 1.0) / 2)
    assert weigh_evidence({"smooth": 0.8}, -1.0, 1e-9) == 0.0 and weigh_evidence({}, -1.0, 1.0) == -1.0


def test_a_single_hold_out_takes_the_default(colours):
    prepared = prepare(colours(changes=("folds.use=[0]",)))
    assert choose_per_fold(prepared, ["a", "b"], sweep_of(prepared, 0.5, 1.0), "a") == {prepared.scored[0]: "a"}


def test_probabilities_that_are_not_finite_choose_nothing(prepared):
    sweeps = sweep_of(prepared, 0.5, 1.0)
    sweeps[prepared.scored[1]][1, 0, 0] = np.nan
    with pytest.raises(RuntimeError, match="at b are not finite"):
        choose_per_fold(prepared, ["a", "b"], sweeps, "a")


def test_a_sweep_of_one_class_by_itself_loses_what_two_classes_do():
    draws = np.random.default_rng(0)
    labels, proba = draws.integers(0, 2, 50), draws.uniform(0.01, 0.99, (3, 50))
    several = _losses(labels[:, None].astype(np.int8), proba[..., None], np.zeros(1))
    assert several == pytest.approx(_losses(labels, np.stack([1 - proba, proba], axis=-1), np.zeros(1)))


def test_a_sweep_of_several_labels_chooses_the_better_value(forests):
    prepared, _ = forests
    truth = {fold: prepared.fold_labels(fold).astype(float) for fold in prepared.scored}
    sweeps = {fold: np.stack([np.full(labels.shape, 0.5), 0.2 + 0.6 * labels]) for fold, labels in truth.items()}
    assert choose_per_fold(prepared, ["plain", "good"], sweeps, "plain") == dict.fromkeys(prepared.scored, "good")
