"""The classic networks as they are published: heads, frozen bodies, L2, a varied copy of each image, whole images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load, save
from safetensors.torch import save_file
from support.pools import labels_of
from torch import nn

from kit.core.errors import InputError
from kit.data.images import Images, Pool
from kit.models.networks.fine_tune import FineTune
from kit.models.training.augment import augment
from kit.models.training.classifier import start_classifier

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet50": {},
    "vgg16": {"mlp_ratio": 0.01},  # its first dense layer alone holds 100 million weights
    "mobilenetv2_100": {},
    "legacy_xception": {},
    "efficientnet_b0": {},
    "tf_efficientnetv2_s": {},
}
QUICK: dict[str, Any] = {"encoder": "timm:test_efficientnet", "pretrained": False, "image_size": 32, "batch_size": 8}


@pytest.fixture
def few(labeled: Images) -> Images:
    return labeled.take(np.arange(6))


def fit(labeled: Images, **options: Any) -> FineTune:
    return FineTune(**{**QUICK, "epochs": 1, **options}).fit(labeled, labeled.take(np.arange(0)))


@pytest.fixture(scope="module")
def start(pool: Pool) -> dict[str, Any]:
    """Pretrained weights on the disk, and the options of a network that starts at them."""
    write_weights(pool, "test_efficientnet", {})
    return {"encoder": "timm:test_efficientnet@test_efficientnet.safetensors", "pretrained": True}


def write_weights(pool: Pool, name: str, args: dict[str, Any]) -> None:
    """Write a network of 7 classes with random weights where the pool's encoders are looked up."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(
            timm.create_model(name, num_classes=7, **args).state_dict(), Path(pool.lookup[0], f"{name}.safetensors")
        )


def weights_of(model: FineTune) -> dict[str, torch.Tensor]:
    """Return a copy of a model's weights, running statistics among them."""
    return {name: value.clone() for name, value in model._network.state_dict().items()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Return the names of the weights that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_trains_from_scratch_and_comes_back(few, unlabeled, name):
    options = {"encoder": f"timm:{name}", "encoder_args": NETWORKS[name]}
    model = fit(few, **options, head="dense_norm", head_units=8, drop_rate=0.3)
    few_others = unlabeled.take(np.arange(2))
    proba = model.predict_proba(few_others)
    assert np.allclose(proba.sum(1), 1, atol=1e-5) and model.encode(few_others, 1.0).ndim == 2
    restored = FineTune(**{**QUICK, "epochs": 1, **options}, head="dense_norm", head_units=8, drop_rate=0.3)
    assert np.array_equal(restored.restore(model.tensors(), few.classes).predict_proba(few_others), proba)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_trains_frozen_with_a_linear_classifier(pool, few, name, optimizer):
    write_weights(pool, name, NETWORKS[name])
    options = {"encoder": f"timm:{name}@{name}.safetensors", "encoder_args": NETWORKS[name], "pretrained": True}
    model = fit(few, **options, frozen_epochs=1, optimizer=optimizer, lr=1e-3, head_lr=1e-3, ema_decay=0.0)
    names = moved(weights_of(model._start(pool)), weights_of(model))
    assert {name.rpartition(".")[0] for name in names} == {model._network.pretrained_cfg["classifier"]}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_can_start_at_a_probe(pool, few, name):
    write_weights(pool, name, NETWORKS[name])
    options = {"encoder": f"timm:{name}@{name}.safetensors", "encoder_args": NETWORKS[name], "pretrained": True}
    model = fit(few, **options, probe_first=True, lr=0.0, head_lr=0.0, freeze_batch_norm=True)
    assert model.predict_proba(few).argmax(1).tolist() == few.labels.tolist()


@pytest.mark.parametrize("name", ["vgg16", "test_convnext", "deit_tiny_distilled_patch16_224"])
def test_a_dense_head_stands_where_the_classifier_was(name):
    network = timm.create_model(name, num_classes=3, **NETWORKS.get(name, {}))
    pixels = torch.randn(2, 3, *network.pretrained_cfg["input_size"][1:])[..., :224, :224]
    network.eval()
    features = network.forward_head(network.forward_features(pixels), pre_logits=True)
    start_classifier(network, "dense", 8, 0.0, name)
    heads = network.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)
    for head in heads:
        assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
        nn.init.normal_(head[-1].weight)
    if len(heads) == 1:
        assert torch.allclose(network(pixels), heads[0](features), atol=1e-5)


def test_a_dense_norm_head_has_its_layers_in_the_published_order(labeled):
    model = fit(labeled, head="dense_norm", head_units=12, drop_rate=0.3)
    layers = list(model._network.get_classifier())
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert layers[0].out_features == 12 and layers[3].p == 0.3
    assert layers[2].num_batches_tracked > 0


@pytest.mark.parametrize("head", ["linear", "dense", "dense_norm"])
def test_every_head_starts_at_the_uniform_distribution(labeled, unlabeled, head):
    model = fit(labeled, head=head, head_units=8, lr=0.0, head_lr=0.0)
    assert np.allclose(model.predict_proba(unlabeled), 1 / 3)


@pytest.mark.parametrize("head", ["dense", "dense_norm"])
def test_a_dense_head_learns_colours_and_comes_back(labeled, unlabeled, head):
    options = {"head": head, "head_units": 16, "epochs": 15, "lr": 3e-3, "head_lr": 3e-3}
    model = fit(labeled, **options)
    proba = model.predict_proba(unlabeled)
    assert (proba.argmax(1) == labels_of(unlabeled.rows)).mean() > 0.8
    restored = FineTune(**{**QUICK, **options}).restore(load(save(model.tensors())), labeled.classes)
    assert np.array_equal(restored.predict_proba(unlabeled), proba)


def test_only_the_head_learns_in_frozen_epochs_then_all_of_it(pool, labeled, start):
    frozen = fit(labeled, **start, head="dense_norm", head_units=8, frozen_epochs=1)
    first = weights_of(frozen._start(pool))
    assert {name.partition(".")[0] for name in moved(first, weights_of(frozen))} == {"classifier"}
    both = weights_of(fit(labeled, **start, head="dense_norm", head_units=8, frozen_epochs=1, epochs=2))
    assert {"conv_stem.weight", "bn1.running_mean", "classifier.0.weight"} <= moved(first, both)


def test_a_probe_needs_a_linear_head():
    with pytest.raises(InputError, match="a probe is linear"):
        FineTune(encoder="timm:resnet50", probe_first=True, head="dense")


def test_a_classifier_that_is_no_linear_layer_is_refused():
    network = timm.create_model("test_efficientnet", num_classes=3)
    network.classifier = nn.Sequential(network.classifier)
    with pytest.raises(InputError, match="no linear layer"):
        start_classifier(network, "dense", 8, 0.0, "timm:test_efficientnet")


def test_a_copy_leaves_the_images_themselves_untouched():
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 3, 16, 16), generator=draws, dtype=torch.uint8)
    only = torch.tensor([False, True, False, True, True, False])
    varied = augment(pixels, "rotate_shift", torch.Generator().manual_seed(1), only=only)
    whole = augment(pixels, "rotate_shift", torch.Generator().manual_seed(1))
    assert torch.equal(varied[~only], pixels[~only].float())
    assert torch.equal(varied[only], whole[only]) and not torch.equal(whole[only], pixels[only].float())


def test_an_epoch_with_copies_sees_every_image_twice_once_as_it_is(labeled, monkeypatch):
    seen = watch(monkeypatch)
    fit(labeled, augment="rotate_shift", augment_copy=True)
    asked = torch.cat(seen)
    assert len(asked) == 48 and asked.sum() == 24


def test_held_out_images_get_no_copy(labeled, monkeypatch):
    seen = watch(monkeypatch)
    fit(labeled, augment="rotate_shift", augment_copy=True, patience=1)
    n_trained = 24 - 6  # a fifth of each class of eight is held out, rounded up
    assert len(torch.cat(seen)) == 2 * n_trained


def watch(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Return a list that will hold, batch by batch, which images training varies."""
    from kit.models.training import loop

    seen: list[torch.Tensor] = []

    def watched(pixels, level, generator, flip, only):
        seen.append(only)
        return augment(pixels, level, generator, flip, only)

    monkeypatch.setattr(loop, "augment", watched)
    return seen


def test_a_copy_that_is_not_varied_is_refused():
    with pytest.raises(InputError, match="augment_copy"):
        FineTune(encoder="timm:resnet50", augment="none", augment_copy=True)


@pytest.mark.parametrize(("resize", "expected"), [("crop", "shortest"), ("pad", "longest"), ("squash", "squash")])
def test_an_image_is_cropped_padded_or_squashed(labeled, resize, expected):
    geometry = fit(labeled, resize=resize)._preprocessing.geometry
    assert geometry.resize == expected and (geometry.height, geometry.width) == (32, 32)


def test_padding_keeps_the_aspect_ratio_and_all_of_the_image(labeled):
    geometry = fit(labeled, resize="pad")._preprocessing.geometry
    wide = torch.zeros(3, 20, 80, dtype=torch.uint8)
    wide[:, :, :4], wide[:, :, -4:] = 255, 255
    padded = geometry.apply(wide)
    assert (padded[:, :12] == geometry.fill).all() and (padded[:, 20:] == geometry.fill).all()
    assert padded[0, 12:20, 0].min() > 200 and padded[0, 12:20, -1].min() > 200


def test_the_networks_own_way_is_the_default(labeled):
    assert fit(labeled)._preprocessing.geometry == fit(labeled, resize="crop")._preprocessing.geometry
