"""Bench recipes: figures agree with scikit-learn, draws are paired and kept, and trust follows from the evidence."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss
from support.clips import TINY_CLIP
from support.colours import draw

from kit.bench.recipes import Measured, bench_recipes, derive_trust, measure, read_evidence, render_recipes, summarise
from kit.bench.recipes.evidence import Evidence, write_evidence
from kit.bench.semi import PhotoSetting
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.models.trust import TRUSTED

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def test_the_trust_of_the_models_follows_from_the_committed_evidence():
    assert derive_trust(read_evidence()) == TRUSTED["smooth"]
    assert list(derive_trust(read_evidence())) == list(TRUSTED["smooth"])  # the trusted first: models try it first


def test_trust_is_the_mean_over_sets_and_no_surer_than_it_is_large():
    table = {("a", 0.0): 1.3, ("a", 0.8): 1.0, ("b", 0.0): 0.9, ("b", 0.8): 0.8}
    lines = [
        Evidence(name, f"smooth = {value}", 0.5 + value / 9, 0, 0, loss, 8) for (name, value), loss in table.items()
    ]
    trust = derive_trust(lines)
    assert list(trust) == [0.8, 0.0] and (trust[0.8].excess, trust[0.8].sd) == (0.0, 0.0)
    assert (trust[0.0].excess, trust[0.0].sd) == pytest.approx((0.2, 0.2), abs=1e-3)


def test_gains_are_paired_over_draws():
    right = {measure.BASELINE: [0.5, 0.7], measure.JOINT: [0.6, 0.8]}
    measured = [
        Measured("a 5", i, way, accuracy, 1.0) for way, each in right.items() for i, accuracy in enumerate(each)
    ]
    line = next(line for line in summarise(measured) if line.way == measure.JOINT)
    assert (line.accuracy, line.gain, line.gain_se, line.draws) == (0.7, 0.1, 0.0, 2)


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
            draw(colour, generator).save(folder / f"{i:02d}.png")
    monkeypatch.setattr(measure, "ENCODERS", ((TINY_CLIP, {}), (TINY_CLIP, {"force_quick_gelu": True})))
    monkeypatch.setattr(measure, "SETTINGS", (PhotoSetting("trashnet", 4),))
    return tmp_path / "photos"


def test_every_way_is_measured_on_every_draw_and_a_second_call_measures_nothing(photos, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "home")
    first = bench_recipes(photos, None, workspace, range(2))
    assert {each.draw for each in first} == {0, 1}
    ways = {each.way for each in first}
    assert {
        measure.BASELINE,
        measure.TWENTY,
        measure.JOINT,
        *(f"smooth = {value}" for value in TRUSTED["smooth"]),
    } < ways
    assert sum("scikit-learn" in way for way in ways) == 2
    assert all(0.3 < each.accuracy <= 1 for each in first if each.way == measure.JOINT)
    monkeypatch.setattr(measure, "_measure", lambda *_: pytest.fail("measured again"))
    assert bench_recipes(photos, None, workspace, range(2)) == first
    lines = summarise(first)
    write_evidence(lines, tmp_path / "evidence.json")
    assert read_evidence(tmp_path / "evidence.json") == lines
    assert render_recipes(lines).row_count == len(ways)


def test_missing_photos_and_weights_are_named(photos, tmp_path):
    with pytest.raises(InputError, match="none of trashnet/ is there"):
        bench_recipes(tmp_path / "empty", None, Workspace(tmp_path))
    with pytest.raises(InputError, match=r"mobilenetv2_100/model\.safetensors is not there"):
        bench_recipes(photos, tmp_path, Workspace(tmp_path))
