"""The small convolutional network: it learns from nothing but the training images, by the one training loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save
from support.pools import labels_of

from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.data.images import Images
from kit.data.prepared import prepare
from kit.models import MODELS
from kit.models.networks.small_cnn import SmallCNN
from kit.models.training import loop
from kit.report.correlation import correlate
from kit.runs.fit.crossval import crossval
from kit.runs.verify import verify

QUICK: dict[str, Any] = {"image_size": 16, "channels": [8, 8], "epochs": 2, "batch_size": 8}


def fit(labeled: Images, **options: Any) -> SmallCNN:
    return SmallCNN(**{**QUICK, **options}).fit(labeled, labeled.take(np.arange(0)))


@pytest.mark.parametrize("head_units", [0, 16])
def test_it_learns_colours(labeled, unlabeled, head_units):
    proba = fit(labeled, epochs=15, lr=1e-2, head_units=head_units).predict_proba(unlabeled)
    assert np.allclose(proba.sum(1), 1, atol=1e-5)
    assert (proba.argmax(1) == labels_of(unlabeled.rows)).mean() > 0.9


def test_it_starts_at_the_uniform_distribution(labeled, unlabeled):
    assert np.allclose(fit(labeled, lr=0.0).predict_proba(unlabeled), 1 / 3)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(labeled, unlabeled):
    first, second, third = (fit(labeled, seed=seed).predict_proba(unlabeled) for seed in (1, 1, 2))
    assert np.array_equal(first, second) and not np.allclose(first, third)


def test_kept_tensors_give_the_same_model_back(labeled, unlabeled):
    model = fit(labeled)
    assert model.keeps_weights
    restored = SmallCNN(**QUICK).restore(load(save(model.tensors())), labeled.classes)
    assert np.array_equal(restored.predict_proba(unlabeled), model.predict_proba(unlabeled))


def test_time_up_leaves_a_checkpoint_and_the_next_call_goes_on(labeled, unlabeled, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    model = SmallCNN(**QUICK)
    assert model.resumes
    model.checkpoint_at(tmp_path / "checkpoint.pt")
    set_deadline(0)
    with pytest.raises(TimeIsUp):
        model.fit(labeled, unlabeled)
    set_deadline(None)
    again = SmallCNN(**QUICK)
    again.checkpoint_at(tmp_path / "checkpoint.pt")
    assert np.array_equal(again.fit(labeled, unlabeled).predict_proba(unlabeled), fit(labeled).predict_proba(unlabeled))


def test_features_move_with_alpha_and_the_model_stays(labeled, unlabeled):
    model = fit(labeled, lr=1e-2)
    before = model.predict_proba(unlabeled)
    start, middle, end = (model.encode(unlabeled, alpha) for alpha in (0.0, 0.5, 1.0))
    assert start.shape == (12, 8) and not np.allclose(start, middle) and not np.allclose(middle, end)
    assert np.allclose(start, fit(labeled, lr=0.0, epochs=1, freeze_batch_norm=False).encode(unlabeled, 0.0))
    assert np.array_equal(model.predict_proba(unlabeled), before)


@pytest.mark.parametrize(("resize", "expected"), [("crop", "shortest"), ("pad", "longest"), ("squash", "squash")])
def test_an_image_is_cropped_padded_or_squashed(labeled, resize, expected):
    assert fit(labeled, resize=resize, epochs=1)._preprocessing.geometry.resize == expected


@pytest.mark.parametrize(
    "option", [{"frozen_epochs": 1}, {"lora_rank": 2}, {"freeze_batch_norm": True}, {"train_layers": 2}]
)
def test_what_keeps_pretrained_weights_is_refused(option):
    with pytest.raises(InputError, match="starts from random weights"):
        SmallCNN(**option)


def test_more_poolings_than_pixels_are_refused():
    with pytest.raises(InputError, match=r"5 poolings.*image_size = 32"):
        SmallCNN(image_size=16, channels=[8] * 5)


def test_layer_decay_has_no_meaning_here(labeled):
    with pytest.raises(InputError, match="layer_decay"):
        fit(labeled, layer_decay=0.5)


def test_it_is_a_model_of_the_house(colours):
    run = '[runs.net]\nmodel = "small_cnn"\nimage_size = 16\nchannels = [8, 8]\nepochs = 2\naugment_copy = true\n'
    prepared = prepare(colours(run))
    result = crossval(prepared, "net")
    verify(prepared, [result])
    assert MODELS["small_cnn"] is SmallCNN and not list(result.folder.rglob("checkpoint*"))
    assert correlate(prepared, result).after.shape == (3, 3)
