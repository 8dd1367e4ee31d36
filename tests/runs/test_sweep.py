"""Sweeps: a fold's own rows choose nothing, calibration does not decide, a single hold-out takes the default."""

from __future__ import annotations

import numpy as np
import pytest

from kit.data.prepared import prepare
from kit.runs.fit.sweep import _losses, choose_per_fold


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
