"""Bench recipes: a plan untouched is measured beside baselines, draws are paired and kept, defaults follow."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.metrics import log_loss
from support.clips import DIGITS as TINY_CLIP
from support.colours import draw

from kit.bench.members import compare_planned
from kit.bench.recipes import (
    Evidence,
    Measured,
    bench_recipes,
    derive_default,
    derive_trust,
    derive_whole_gain,
    measure,
    read_evidence,
    read_planned,
    render_recipes,
    sets,
    summarise,
    ways,
    write_evidence,
)
from kit.bench.semi import PhotoSetting
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.plan.choose import WHOLE_GAIN, WHOLE_GAIN_SD
from kit.curate.plan.recipe import SHARE, WHITENED
from kit.features.weights import PACKAGES
from kit.models.heads.linear_probe import LinearProbe
from kit.models.trust import TRUSTED

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def test_the_trust_of_the_models_follows_from_the_committed_evidence():
    trust = derive_trust(read_evidence(), SHARE)
    assert list(trust.items()) == list(TRUSTED["smooth"].items())  # the trusted first: models try it first


@pytest.mark.parametrize("setting", ways.TRIED)
def test_what_a_plan_writes_follows_from_the_committed_evidence(setting):
    planned = {"smooth": SHARE, **WHITENED, "n_neighbors": LinearProbe().n_neighbors, "C": LinearProbe().C}[setting]
    assert derive_default(read_evidence(), setting, planned) == planned


def test_how_much_labels_must_show_against_the_whole_image_follows_from_the_committed_evidence():
    assert derive_whole_gain(read_evidence()) == (WHOLE_GAIN, WHOLE_GAIN_SD)


def test_the_gain_of_the_whole_image_is_the_mean_over_sets_with_their_deviation():
    lines = [line("a", ways.WHOLE, 0.05), line("a", ways.MIDDLE), line("b", ways.WHOLE, 0.01), line("b", ways.MIDDLE)]
    assert derive_whole_gain(lines) == pytest.approx((0.03, 0.028), abs=1e-3)


def line(name, way, gain=0.0, error=0.01, loss=1.0):
    return Evidence(name, way, 0.5 + gain, ways.JOINT, gain, error, loss, 8)


def test_another_default_must_be_better_in_the_mean_over_sets_by_more_than_chance():
    planned = [line(name, "C = 30", error=0.0) for name in "ab"]
    assert derive_default([*planned, line("a", "C = 10", 0.05), line("b", "C = 10", -0.01)], "C", 30.0) == 10.0
    assert derive_default([*planned, line("a", "C = 10", 0.03), line("b", "C = 10", -0.02)], "C", 30.0) == 30.0


def test_trust_is_the_mean_over_sets_and_no_surer_than_half_as_large():
    losses = {("a", 0.0): 1.3, ("a", 0.8): 1.0, ("b", 0.0): 0.9, ("b", 0.8): 0.8}
    lines = [line(name, f"smooth = {value:g}", loss=loss) for (name, value), loss in losses.items()]
    trust = derive_trust(lines, 0.8)
    assert list(trust) == [0.8, 0.0] and (trust[0.8].excess, trust[0.8].sd) == (0.0, 0.0)
    assert (trust[0.0].excess, trust[0.0].sd) == pytest.approx((0.2, 0.141), abs=1e-3)
    alike = derive_trust([line("a", "smooth = 0.8"), line("a", "smooth = 0", loss=1.2), *lines[2:]], 0.8)
    assert alike[0.0].sd == pytest.approx(alike[0.0].excess / 2, abs=1e-3)


def test_gains_are_paired_over_draws_settings_with_the_probe_as_planned():
    right = {ways.BASELINE: [0.5, 0.7], ways.JOINT: [0.6, 0.8], "power = 1": [0.5, 0.7]}
    measured = [
        Measured("a 5", i, way, accuracy, 1.0) for way, each in right.items() for i, accuracy in enumerate(each)
    ]
    lines = {each.way: each for each in summarise(measured)}
    joint, power = lines[ways.JOINT], lines["power = 1"]
    assert (joint.accuracy, joint.against, joint.gain, joint.gain_se) == (0.7, ways.BASELINE, 0.1, 0.0)
    assert (power.against, power.gain, power.draws) == (ways.JOINT, -0.1, 2)


def test_a_score_is_the_accuracy_and_the_log_loss_at_its_best_temperature():
    draws = np.random.default_rng(0)
    truth = draws.integers(0, 3, 200)
    proba = draws.dirichlet(np.ones(3), 200)
    proba[np.arange(200), truth] += 0.5
    proba /= proba.sum(axis=1, keepdims=True)
    accuracy, loss = measure.score(truth, proba)
    assert accuracy == (proba.argmax(axis=1) == truth).mean()
    by_temperature = [
        log_loss(truth, (cool := proba ** (1 / temperature)) / cool.sum(axis=1, keepdims=True))
        for temperature in measure.TEMPERATURES
    ]
    assert loss == pytest.approx(min(by_temperature), abs=1e-6)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        folder = tmp_path / "photos" / "trashnet" / name
        folder.mkdir(parents=True)
        for i in range(14):
            draw(colour, generator).resize((80, 80)).save(folder / f"{i:02d}.png")
    for name, package in list(PACKAGES.items()):
        monkeypatch.setitem(PACKAGES, name, dataclasses.replace(package, distribution="no-such-package"))
    monkeypatch.setattr(sets, "SETTINGS", (PhotoSetting("trashnet", 4),))
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(TINY_CLIP, folder / "clip")
    torch.manual_seed(0)
    state = timm.create_model("test_efficientnet").state_dict()
    save_file(state, folder / "network.safetensors", {"architecture": "test_efficientnet"})
    return folder


def test_a_plan_is_measured_untouched_beside_the_baselines_and_a_second_call_measures_nothing(
    photos, weights, tmp_path, monkeypatch
):
    pytest.importorskip("open_clip")
    workspace = Workspace(tmp_path / "home")
    first = bench_recipes(photos, weights, workspace, [0])
    named = {each.way for each in first}
    assert {ways.BASELINE, ways.TWENTY, ways.JOINT, ways.ENSEMBLED, "run forest", "run joint"} < named
    assert {ways.WHOLE, ways.MIDDLE} < named
    assert sum(way.startswith("run probe_") for way in named) == 2
    assert sum("scikit-learn" in way for way in named) == 2
    assert {f"{name} = {value:g}" for name, values in ways.TRIED.items() for value in values} < named
    assert all(each.accuracy > 0.3 for each in first if each.way in (ways.JOINT, ways.ENSEMBLED))
    made = sorted((workspace.root / "runs" / "bench-recipes").glob("trashnet-4-*"))
    assert [file.name.split("-", 3)[3] for file in made] == ["0-others.json", "0-planned.json", "0.npz"]
    monkeypatch.setattr(measure, "plan_draw", lambda *_: pytest.fail("measured again"))
    assert bench_recipes(photos, weights, workspace, [0]) == first
    standings = compare_planned(read_planned(photos, weights, workspace, [0]))
    assert [line.members for line in standings] == ["as planned"] * 2 + ["as planned, hopeless"] * 2
    of_runs = [each.accuracy for each in first if each.way.startswith(ways.RUN) and each.way != ways.ENSEMBLED]
    ensembled = next(each.accuracy for each in first if each.way == ways.ENSEMBLED)
    assert standings[0].of_draw == pytest.approx(ensembled - max(of_runs)) and standings[0].draws == 1
    lines = summarise(first)
    write_evidence(lines, tmp_path / "evidence.json")
    assert read_evidence(tmp_path / "evidence.json") == lines
    assert render_recipes(lines).row_count == len(named)


def test_missing_photos_and_unknown_settings_are_named(photos, tmp_path):
    with pytest.raises(InputError, match="none of trashnet/ is there"):
        bench_recipes(tmp_path / "empty", None, Workspace(tmp_path))
    with pytest.raises(InputError, match=r"--only 'trashnet 5': did you mean 'trashnet 4'"):
        bench_recipes(photos, None, Workspace(tmp_path), only=["trashnet 5"])
