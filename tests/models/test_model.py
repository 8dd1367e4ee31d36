"""Every light model: rows follow the images, priors that do harm are left out, two classes work."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from support.clips import TINY_CLIP
from support.light import LIGHT, fitted

from kit.config.competition import HOME
from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.kaggle.bundle.manifest import read_bundle
from kit.kaggle.bundle.writing import write_bundle
from kit.models import MODELS
from kit.models.heads.linear_probe import LinearProbe
from kit.models.model import Model
from kit.runs.fit.crossval import check_run, crossval
from kit.runs.store import find_result
from kit.runs.store.build import build_model


@pytest.mark.parametrize("name", LIGHT)
def test_predictions_follow_the_images_whatever_their_order(prepared, name):
    model = fitted(name, prepared)
    images = prepared.pool.select(prepared.split("test"))
    order = np.random.default_rng(0).permutation(len(images))
    assert model.predict_proba(images.take(order)) == pytest.approx(model.predict_proba(images)[order], abs=1e-6)


@pytest.mark.parametrize("name", LIGHT)
def test_probabilities_sum_to_one_even_when_a_class_was_never_seen(prepared, name):
    training = prepared.training(0)
    model = fitted(name, prepared, training.take(np.flatnonzero(training.labels != 1)))
    proba = model.predict_proba(prepared.held_out(0))
    assert proba.shape[1] == 3 and proba.sum(axis=1) == pytest.approx(np.ones(len(proba)), abs=1e-5)
    if name != "zero_shot" and "prior" not in name:
        assert proba[:, 1].max() < 0.05


@pytest.mark.parametrize("name", [name for name in LIGHT if name != "zero_shot"])
def test_two_classes_are_told_apart(prepared, name):
    training = prepared.training(0)
    two = training.take(np.flatnonzero(training.labels < 2))
    proba = fitted(name, prepared, two).predict_proba(two)
    assert (proba.argmax(axis=1) == two.labels).mean() > 0.7


def test_an_image_of_tiny_weight_hardly_counts(prepared):
    training = prepared.training(0)
    wrong = replace(training, labels=(training.labels + 1) % 3, weights=np.full(len(training), 1e-4, np.float32))
    clean = LinearProbe(TINY_CLIP).fit(training, training)
    noisy = LinearProbe(TINY_CLIP).fit(training.join(wrong), training)
    images = prepared.held_out(0)
    assert noisy.predict_proba(images) == pytest.approx(clean.predict_proba(images), abs=0.05)


@pytest.mark.parametrize("name", ["forest", "svm", "label_spreading"])
def test_what_was_fitted_on_grey_images_predicts_coloured_ones(half_grey, name):
    grey = half_grey.select(np.arange(12), np.arange(12) % 2)
    model = LIGHT[name]().fit(grey, half_grey.select(np.zeros(0)))
    proba = model.predict_proba(half_grey.select(np.arange(12, 20)))
    assert (proba.argmax(axis=1) == np.arange(12, 20) % 2).all()


def test_the_model_in_contributing_works_as_it_is_printed(colours, monkeypatch):
    readme = (HOME.parents[1] / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = readme.partition("```python\n")[2].partition("```")[0]
    module = types.ModuleType("nearest_mean")
    monkeypatch.setitem(sys.modules, "nearest_mean", module)
    monkeypatch.setattr("inspect.getsource", lambda _: source)  # it has no file here
    exec(compile(source, "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(MODELS, "nearest_mean", module.NearestMean)
    prepared = prepare(colours(f'[runs.nearest_mean]\nmodel = "nearest_mean"\nencoder = "{TINY_CLIP}"'))
    check_run(prepared, "nearest_mean")
    result = crossval(prepared, "nearest_mean")
    assert find_result(prepared, "nearest_mean") == result and len(result.predictions("oof")) == 18
    bundle = read_bundle(write_bundle(prepared, [result], "somebody").folder)
    assert [(member.name, member.kept) for member in bundle.members] == [("nearest_mean", False)]


def test_what_a_model_can_do_is_what_it_defines():
    assert not Model().keeps_weights and not Model().resumes and not Model().is_swept
    assert {name for name, model in MODELS.items() if model.__new__(model).resumes} == {
        "fine_tune", "small_cnn", "clip_finetune",
    }  # fmt: skip


def test_a_class_that_is_no_model_is_refused_by_name(colours, monkeypatch):
    monkeypatch.setitem(MODELS, "foreign", type("Foreign", (), {}))
    competition = colours('[runs.foreign]\nmodel = "foreign"\n')
    with pytest.raises(InputError, match="Foreign is no subclass of"):
        build_model(competition, competition.run("foreign"))
