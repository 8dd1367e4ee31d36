"""What a plan would take elsewhere: published figures, scaled by what was counted here."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image

from kit.cli.plan import show_plan
from kit.curate.plan.facts import Wishes
from kit.curate.plan.places import H200, T4, Place, estimate, estimate_places, gpu_seconds
from kit.curate.plan.planned import PlannedRun, Work
from kit.curate.plan.recipe import Plan
from kit.features import measure
from kit.features.measure import STEP_FACTOR, _watch, measure_encoder
from kit.features.weights import parse_encoder

RESNET50 = 8.178e9, 69.85e6  # operations of a forward pass, and numbers that its layers read and write
V100 = Place("V100", 1, 1, 125e12, 900e9, 16.0, 2, 32.0)
A100 = Place("A100", 1, 1, 312e12, 2039e9, 80.0, 2, 32.0)


def make_plan(**work) -> Plan:
    run = PlannedRun("probe", {"model": "linear_probe"}, "why", 130.0, 100.0, Work(100.0, **work))
    return Plan((run,), (), Wishes())


def test_the_guesses_agree_with_what_nvidia_published_of_resnet_50():
    assert 1 / gpu_seconds(*RESNET50, T4) == pytest.approx(1198, rel=0.02)
    assert 1 / gpu_seconds(*RESNET50, V100) == pytest.approx(3382, rel=0.15)
    assert 1 / gpu_seconds(*RESNET50, V100) / STEP_FACTOR == pytest.approx(1156, rel=0.15)
    assert 1 / gpu_seconds(*RESNET50, A100) / STEP_FACTOR == pytest.approx(2470, rel=0.15)


def test_operations_and_traffic_are_counted():
    tower = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.Flatten())
    watched = _watch(tower, torch.zeros(2, 3, 10, 10))
    assert watched.flops == 2 * 2 * 8 * 27 * 100  # a product and a sum for each weight, image and pixel
    assert (watched.n_dims, watched.largest, watched.traffic) == (800, 3200, 600 + 1600 + 3200)


def test_operations_of_attention_are_counted_where_torch_would_do_it_in_one_step():
    n_images, n_tokens, n_dims, n_hidden = 2, 5, 16, 24
    layer = torch.nn.TransformerEncoderLayer(n_dims, 2, n_hidden, batch_first=True).eval()
    watched = _watch(torch.nn.Sequential(layer, torch.nn.Flatten()), torch.zeros(n_images, n_tokens, n_dims))
    of_weights = n_tokens * (4 * n_dims**2 + 2 * n_dims * n_hidden)
    assert watched.flops == 2 * n_images * (of_weights + 2 * n_tokens**2 * n_dims)
    assert torch.backends.mha.get_fastpath_enabled()


def test_here_a_plan_takes_what_was_measured_and_elsewhere_it_is_a_guess():
    here, *elsewhere = estimate_places(make_plan())
    assert (here.seconds, here.is_guess) == (130.0, False)
    assert len(elsewhere) == 4 and all(each.is_guess for each in elsewhere)


def test_two_gpus_share_images_by_batches_and_networks_by_folds():
    one = dataclasses.replace(T4, n_gpus=1)
    work = {"flops": 1e18, "n_parts": 1}
    shared, alone = (estimate(make_plan(is_dealt=True, **work), place).seconds - 30 for place in (T4, one))
    assert alone == pytest.approx(2 * shared)
    assert estimate(make_plan(**work), T4).seconds - 30 == pytest.approx(alone)


def test_a_gpu_waits_for_the_cores_that_decode():
    busy = make_plan(flops=1e9, decoding=200.0)  # CPU seconds: what one core takes
    assert estimate(busy, T4).seconds == pytest.approx(30 + 100)  # Kaggle's two cores
    assert estimate(busy, H200).seconds == pytest.approx(30 + 200 / 14)


def test_an_image_is_decoded_by_all_cores_that_this_process_may_use(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(measure, "time_alone", lambda compute, clock: 6.0)
    monkeypatch.setattr(measure, "count_cores", lambda: 3)
    cost = measure_encoder(parse_encoder("timm:tf_efficientnet_lite0@pip"), (str(tmp_path / "a.png"),), False)
    assert (cost.decoding, cost.seconds) == (6.0, 2.0 + 6.0)


def test_eight_machines_are_no_faster_than_there_are_folds():
    plan = make_plan(n_parts=5, n_fits=3)
    assert estimate_places(plan)[1].seconds == pytest.approx(100 / 5 + 30 / 3)


def test_a_run_that_does_not_fit_a_gpu_is_named():
    large = make_plan(megabytes=20_000.0)
    assert estimate(large, T4).lacks == ("probe",) and estimate(large, H200).lacks == ()


def test_a_plan_is_shown_with_where_it_would_run(capsys):
    show_plan(make_plan(megabytes=20_000.0))
    shown = capsys.readouterr()
    assert "where it would run" in shown.out and "Kaggle, 2 x T4" in shown.out and "too little for probe" in shown.out
    assert "are guesses" in shown.err
