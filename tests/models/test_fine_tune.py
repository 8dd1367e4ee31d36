"""Fine-tuning timm networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load, save
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from support.pools import labels_of

from kit.core.deadline import set_deadline
from kit.core.errors import InputError, MissingWeights, TimeIsUp
from kit.data.images import Images, Pool
from kit.models.networks.fine_tune import FineTune
from kit.models.training import loop
from kit.runs.store.build import build_model

QUICK: dict[str, Any] = {
    "encoder": "timm:test_efficientnet",
    "pretrained": False,
    "image_size": 32,
    "epochs": 3,
    "frozen_epochs": 1,
    "batch_size": 8,
}


def fit(labeled: Images, **options: Any) -> FineTune:
    return FineTune(**{**QUICK, **options}).fit(labeled, labeled.take(np.arange(0)))


def test_it_learns_colours(labeled, unlabeled):
    model = fit(labeled, epochs=15, frozen_epochs=0, lr=3e-3, head_lr=3e-3)
    proba = model.predict_proba(unlabeled)
    assert proba.shape == (12, 3) and np.allclose(proba.sum(1), 1, atol=1e-5)
    assert (proba.argmax(1) == labels_of(unlabeled.rows)).mean() > 0.8
    assert len(model.record_) == 15


def test_the_same_seed_gives_the_same_model_and_another_seed_another(labeled, unlabeled):
    first, second, third = (fit(labeled, seed=seed).predict_proba(unlabeled) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.allclose(first, third)


def test_each_fit_starts_anew(labeled, unlabeled):
    model = fit(labeled)
    first = model.predict_proba(unlabeled)
    assert np.array_equal(model.fit(labeled, unlabeled).predict_proba(unlabeled), first)


def test_the_unlabeled_images_have_no_influence(labeled, unlabeled):
    with_them = FineTune(**QUICK).fit(labeled, unlabeled).predict_proba(unlabeled)
    assert np.array_equal(with_them, fit(labeled).predict_proba(unlabeled))


def test_kept_tensors_give_the_same_model_back_without_the_pretrained_weights(pool, labeled, unlabeled, tmp_path):
    file = Path(pool.lookup[0]) / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet", num_classes=7).state_dict(), file)
    options = {**QUICK, "pretrained": True, "encoder": "timm:test_efficientnet@weights.safetensors"}
    model = fit(labeled, **options)
    file.unlink()
    restored = FineTune(**options).restore(load(save(model.tensors())), labeled.classes)
    assert model.keeps_weights
    assert np.array_equal(restored.predict_proba(unlabeled), model.predict_proba(unlabeled))


def test_pretrained_weights_from_a_file_are_the_start(pool, labeled):
    file = Path(pool.lookup[0]) / "start.safetensors"
    start = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    save_file(start, file)
    model = fit(labeled, encoder="timm:test_efficientnet@start.safetensors", pretrained=True, epochs=1)
    tensors = model.tensors()
    body = [name for name in start if not name.startswith("classifier")]
    assert all(np.array_equal(tensors[name], start[name].numpy()) for name in body)  # its only epoch was frozen
    assert tensors["classifier.weight"].shape[0] == 3


@pytest.mark.parametrize("encoder", ["timm:test_efficientnet", "timm:deit_tiny_distilled_patch16_224"])
def test_the_new_classifier_starts_at_zero(labeled, unlabeled, encoder):
    model = fit(labeled, encoder=encoder, lr=0.0, head_lr=0.0, epochs=1)
    assert np.allclose(model.predict_proba(unlabeled), 1 / 3)


def test_from_scratch_nothing_is_frozen(labeled):
    start, after = fit(labeled, lr=0.0, head_lr=0.0).tensors(), fit(labeled, epochs=1, frozen_epochs=1).tensors()
    assert not np.array_equal(start["conv_stem.weight"], after["conv_stem.weight"])


@pytest.fixture(scope="module")
def start(pool: Pool) -> dict[str, Any]:
    """Pretrained weights on the disk, and the options of a network that starts at them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    save_file(weights, Path(pool.lookup[0]) / "pretrained.safetensors")
    return {"encoder": "timm:test_efficientnet@pretrained.safetensors", "pretrained": True}


def test_with_a_probe_first_training_starts_at_the_probe(labeled, unlabeled, start):
    model = fit(labeled, **start, probe_first=True, lr=0.0, head_lr=0.0, freeze_batch_norm=True)
    values = model.encode(labeled, 0.0)
    regression = LogisticRegression(C=30, max_iter=2000)
    regression.fit(values / np.linalg.norm(values, axis=1).mean(), labeled.labels)
    expected = regression.predict_proba(model.encode(unlabeled, 0.0) / np.linalg.norm(values, axis=1).mean())
    assert np.allclose(model.predict_proba(unlabeled), expected, atol=1e-3)


def test_after_a_probe_nothing_is_frozen(labeled, start):
    model = fit(labeled, **start, probe_first=True, epochs=1, frozen_epochs=1)
    first = model._start(labeled.pool).tensors()
    assert not np.array_equal(first["conv_stem.weight"], model.tensors()["conv_stem.weight"])


def test_adapted_weights_keep_the_networks_names(labeled, unlabeled, start):
    model = fit(labeled, **start, lora_rank=2, layer_decay=0.8)
    assert model.tensors().keys() == fit(labeled, epochs=1).tensors().keys()
    first = model._start(labeled.pool).tensors()
    assert not np.array_equal(first["conv_head.weight"], model.tensors()["conv_head.weight"])
    assert np.array_equal(first["bn1.weight"], model.tensors()["bn1.weight"])
    restored = FineTune(**{**QUICK, **start}).restore(load(save(model.tensors())), labeled.classes)
    assert np.array_equal(restored.predict_proba(unlabeled), model.predict_proba(unlabeled))


def test_features_move_with_alpha_and_the_model_stays(labeled, unlabeled, start):
    model = fit(labeled, **start, lr=1e-2)
    before = model.predict_proba(unlabeled)
    values = [model.encode(unlabeled, alpha) for alpha in (0.0, 0.5, 1.0)]
    untouched = fit(labeled, **start, lr=0.0, head_lr=0.0, freeze_batch_norm=True)
    assert np.array_equal(values[0], untouched.encode(unlabeled, 1.0))
    assert not np.allclose(values[0], values[1]) and not np.allclose(values[1], values[2])
    assert np.array_equal(model.predict_proba(unlabeled), before)
    with pytest.raises(InputError, match="alpha"):
        model.encode(unlabeled, 2.0)


@pytest.mark.parametrize("option", [{"probe_first": True}, {"lora_rank": 2}])
def test_from_scratch_there_is_nothing_to_build_on(option):
    with pytest.raises(InputError, match="need pretrained = true"):
        FineTune(**{**QUICK, **option})


def test_missing_weights_are_named(labeled):
    with pytest.raises(MissingWeights, match="no such file"):
        fit(labeled, encoder="timm:test_efficientnet@absent.safetensors", pretrained=True)


def test_a_clip_is_sent_to_its_own_model(labeled):
    with pytest.raises(InputError, match="clip_finetune"):
        fit(labeled, encoder="open_clip:ViT-B-32/openai")


@pytest.mark.parametrize(("encoder", "size"), [("timm:test_vit", 48), ("timm:test_resnet", 40)])
def test_other_sizes_than_the_networks_own(labeled, unlabeled, encoder, size):
    model = fit(labeled, encoder=encoder, image_size=size, epochs=1)
    assert model._preprocessing.geometry.height == model._preprocessing.geometry.width == size
    assert np.isfinite(model.predict_proba(unlabeled)).all()


def test_time_up_leaves_a_checkpoint_and_the_next_call_goes_on(labeled, unlabeled, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    model = FineTune(**QUICK)
    assert model.resumes
    model.checkpoint_at(tmp_path / "checkpoint.pt")
    set_deadline(0)
    with pytest.raises(TimeIsUp):
        model.fit(labeled, unlabeled)
    set_deadline(None)
    again = FineTune(**QUICK)
    again.checkpoint_at(tmp_path / "checkpoint.pt")
    assert np.array_equal(again.fit(labeled, unlabeled).predict_proba(unlabeled), fit(labeled).predict_proba(unlabeled))
    assert (tmp_path / "checkpoint.pt").exists()


def test_shuffled_training_images_of_other_labels_change_the_model(labeled, unlabeled):
    swapped = replace(labeled, labels=(labeled.labels + 1) % 3)
    assert not np.allclose(fit(swapped).predict_proba(unlabeled), fit(labeled).predict_proba(unlabeled))


@pytest.mark.parametrize(
    ("option", "message"),
    [("lr = -1.0", "lr"), ("epochs = 0", "epochs"), ('augment = "wild"', "augment"), ("frozen = 3", "frozen_epochs")],
)
def test_options_out_of_bounds_are_refused(colours, option, message):
    competition = colours(f'[runs.net]\nmodel = "fine_tune"\nencoder = "timm:test_resnet"\n{option}')
    with pytest.raises(InputError, match=message):
        build_model(competition, competition.run("net"))


def test_the_callers_random_numbers_are_left_alone(labeled, unlabeled):
    before = torch.get_rng_state()
    model = fit(labeled)
    model.restore(model.tensors(), labeled.classes).predict_proba(unlabeled)
    assert torch.equal(torch.get_rng_state(), before)
