"""Unlabelled images in training: where they teach nothing it is as without them, and a killed run ends the same."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.training import (
    METHODS,
    QUICK,
    SIZE,
    record_of,
)

from kit.core.errors import InputError
from kit.models.training.finessl import make_method
from kit.models.training.recipe import SEMI_DEFAULTS, Semi
from kit.models.training.semi import (
    Matching,
    align_batch,
    confident_targets,
    fairness_loss,
    fixed_threshold,
    freematch_thresholds,
    grown_momentum,
    ramp_up,
)
from kit.runs.store.build import build_model

POOL = (60, SIZE, 30)
EVEN = torch.full((4,), 0.25)


@pytest.mark.parametrize("align", [False, True])
def test_freematch_agrees_with_its_equations_in_numpy(align):
    wanted, momentum = np.array([0.4, 0.3, 0.2, 0.1]), 0.7
    settings = Semi(semi="freematch", align=align, momentum=momentum)
    method = Matching(settings, torch.from_numpy(wanted))
    draws = np.random.default_rng(0)
    tau, p_mean, raw = 0.25, np.full(4, 0.25), np.full(4, 0.25)
    for step in range(12):
        logits = draws.normal(0, 2, (9, 4))
        proba = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        decay = min(momentum, (1 + step) / (10 + step))
        if align:
            raw = decay * raw + (1 - decay) * proba.mean(0)
            proba = proba * wanted / raw
            proba /= proba.sum(1, keepdims=True)
        tau = decay * tau + (1 - decay) * proba.max(1).mean()
        p_mean = decay * p_mean + (1 - decay) * proba.mean(0)
        thresholds = tau * p_mean / p_mean.max()
        passes = proba.max(1) > thresholds[proba.argmax(1)]
        targets = method.teach(torch.from_numpy(logits).float(), 0.0)
        assert method.thresholds().numpy() == pytest.approx(thresholds, abs=1e-6)
        assert targets.numpy() == pytest.approx(np.eye(4)[proba.argmax(1)] * passes[:, None])


def test_no_class_has_a_higher_threshold_than_the_most_probable_one():
    thresholds = freematch_thresholds(torch.tensor(0.9), torch.tensor([0.5, 0.3, 0.2, 0.0]))
    assert thresholds.tolist() == pytest.approx([0.9, 0.54, 0.36, 0.0])


def test_a_network_that_knows_nothing_teaches_nothing():
    method = Matching(Semi(semi="freematch"), EVEN)
    assert method.teach(torch.zeros(8, 4), 0.0) is None
    assert not confident_targets(torch.full((8, 4), 0.25), torch.zeros(4)).any()


def test_alignment_of_what_is_even_changes_nothing_and_else_brings_the_mean_near():
    proba = torch.tensor([[0.6, 0.2, 0.1, 0.1], [0.5, 0.1, 0.3, 0.1], [0.7, 0.1, 0.1, 0.1]])
    assert torch.allclose(align_batch(proba, EVEN, EVEN), proba)
    aligned = align_batch(proba, EVEN, proba.mean(0))
    assert torch.allclose(aligned.sum(1), torch.ones(3))
    assert (aligned.mean(0) - EVEN).abs().max() < 0.5 * (proba.mean(0) - EVEN).abs().max()


def test_the_fairness_term_agrees_with_its_equations_in_numpy():
    draws = np.random.default_rng(1)
    logits, p_mean, histogram = draws.normal(0, 1, (20, 3)), np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.4, 0.0])
    proba = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    named = np.bincount(proba.argmax(1), minlength=3) / 20
    expected = np.array([0.5 / 0.6, 0.3 / 0.4, 0.0])
    ours = proba.mean(0) / named
    value = (expected / expected.sum() * np.log(ours / ours.sum())).sum()
    tensors = (torch.from_numpy(value).float() for value in (logits, p_mean, histogram))
    assert float(fairness_loss(*tensors)) == pytest.approx(value, abs=1e-5)


def test_the_ramp_rises_from_almost_nothing_to_one_and_stays():
    values = [ramp_up(t / 10) for t in range(15)]
    assert values[0] == pytest.approx(math.exp(-5)) and values == sorted(values) and set(values[10:]) == {1.0}


def test_momentum_grows_to_its_largest():
    values = [grown_momentum(0.99, n) for n in range(2000)]
    assert values[0] == 0.1 and values == sorted(values) and values[-1] == 0.99


def test_the_consistency_weight_follows_the_ramp(labeled, unlabeled):
    recipe = replace(QUICK, epochs=10, **METHODS["mean_teacher"], unlabeled_weight=8.0, ramp_share=0.5)
    weights = [entry["consistency_weight"] for entry in record_of(labeled, unlabeled, recipe)]
    assert weights == sorted(weights) and weights[0] < 1 and weights[-1] == 8.0


def test_a_consistent_student_has_nothing_to_learn():
    method = make_method(Semi(semi="mean_teacher"), EVEN)
    logits = torch.randn(6, 4)
    targets = method.teach(logits, 0.9)
    assert float(method.loss(logits, targets)) == pytest.approx(0, abs=1e-9)
    assert float(method.loss(logits.flip(1), targets)) > 0


def test_without_a_threshold_smoothed_labels_are_allowed_for():
    assert fixed_threshold(Semi(semi="fixmatch"), 10, 0.0) == pytest.approx(0.95)
    assert fixed_threshold(Semi(semi="fixmatch"), 10, 0.1) == pytest.approx(0.95 * 0.91)
    assert fixed_threshold(Semi(semi="self_training"), 10, 0.0) == pytest.approx(0.9)


def test_a_threshold_out_of_the_reach_of_smoothed_labels_is_said(capfd):
    assert fixed_threshold(Semi(semi="fixmatch", threshold=0.95), 10, 0.1) == 0.95
    assert "label_smoothing" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "threshold = 0.9",
            'semi = "none" does not read threshold; it is read by fixmatch, swift, finessl',
        ),
        ('semi = "freematch"\nthreshold = 0.9', 'semi = "freematch" does not read threshold'),
        ('semi = "fixmatch"\njoin_epoch = 7', "does not read join_epoch; it is read by self_training"),
        ('semi = "fixmatch"\nmomentum = 0.9', "reads momentum only with align"),
        ('semi = "mean_teacher"\nema_decay = 0.0', "needs ema_decay above 0"),
        ('semi = "fixmatch"\nthreshold = 95.0', "threshold"),
        ('semi = "fixmach"', "semi"),
    ],
)
def test_keys_that_are_not_read_or_out_of_bounds_are_refused(colours, keys, message):
    competition = colours(f'[runs.net]\nmodel = "fine_tune"\nencoder = "timm:test_vit"\n{keys}')
    with pytest.raises(InputError, match=message):
        build_model(competition, competition.run("net"))


def test_every_key_is_read_by_a_method():
    keys = set().union(*SEMI_DEFAULTS.values())
    assert keys | {"semi"} == set(Semi.__dataclass_fields__)
