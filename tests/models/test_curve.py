"""Learning curves by step: means of the steps, thinned, the same after a kill."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.training import METHODS, PREPROCESSING, QUICK, make_network, record_of

from kit.models.training.curve import N_POINTS, Stretches, curve_of
from kit.models.training.fit import fit_network


def test_a_curves_points_are_means_of_stretches_that_cover_the_epoch(labeled):
    recipe = replace(QUICK, epochs=1, batch_size=3)
    (epoch,) = fit_network(make_network(), recipe, labeled, PREPROCESSING)
    curve = epoch["curve"]
    assert curve["step"] == list(range(1, epoch["step"] + 1)) and curve["lr"][-1] == pytest.approx(
        epoch["lr"], rel=1e-5
    )
    sizes = [3] * (len(labeled) // 3)
    mean = sum(loss * size for loss, size in zip(curve["loss"], sizes, strict=True)) / len(labeled)
    assert mean == pytest.approx(epoch["loss"], rel=1e-4)


def test_a_long_training_has_some_hundred_points():
    method = SimpleNamespace(counts=torch.zeros(2), n_seen=0)
    stretches, sums = Stretches(3000, 10, 6000, method), torch.zeros(2)
    for step in range(1, 3001):
        sums += torch.tensor([2.0 * step, 1.0])  # of two images each
        method.counts[0] += step % 2  # every second unlabelled image teaches
        method.n_seen += 1
        stretches.note(step, 2 * step, 0.1, sums)
    curve = stretches.read()
    assert curve["step"] == list(range(6150, 9001, 150)) and len(curve["step"]) * 10 == N_POINTS
    assert curve["loss"][:2] == [75.5, 225.5] and set(curve["unlabeled_loss"]) == set(curve["mask_rate"]) == {0.5}


def test_the_mask_rate_of_the_steps_has_the_epochs_mean(labeled, unlabeled):
    recipe = replace(QUICK, epochs=1, **METHODS["fixmatch"])
    (epoch,) = record_of(labeled, unlabeled, recipe)
    rates = [rate for _, rate in curve_of([epoch], "mask_rate")]
    assert len(rates) == epoch["step"] > 1 and sum(rates) / len(rates) == pytest.approx(epoch["mask_rate"], abs=0.05)


def test_the_hold_out_is_a_point_per_epoch_at_its_last_step(labeled):
    record = fit_network(make_network(), replace(QUICK, epochs=2, patience=2), labeled, PREPROCESSING)
    points = curve_of(record, "inner_accuracy")
    assert (
        points == [(each["step"], each["inner_accuracy"]) for each in record] and points[1][0] == 2 * points[0][0] > 1
    )


def test_an_earlier_kits_record_is_a_point_per_epoch():
    record = [{"epoch": 1, "loss": 2.0, "inner_loss": None}, {"epoch": 2, "loss": 1.0, "inner_loss": None}]
    assert curve_of(record, "loss") == [(1, 2.0), (2, 1.0)] and curve_of(record, "inner_loss") == []
