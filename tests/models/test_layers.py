"""Layer by layer: learning rates agree with timm's, gradients of activations computed twice with those kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from support.clips import TOWERS, write_clip
from timm.optim import param_groups_layer_decay
from torch import nn

from kit.core.errors import InputError
from kit.features.encoders import load_encoder
from kit.features.prompts import PromptList, TextWeights, text_weights
from kit.features.weights import parse_encoder
from kit.models.training.clip import ClipPair, make_classifier
from kit.models.training.layers import checkpoint_activations, layer_scales
from kit.models.training.optimizer import make_optimizer, make_schedule
from kit.models.training.recipe import Recipe

WORDS = PromptList("two", ("a {}",), (("blue",), ("red",)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clips")
    for name, vision in TOWERS.items():
        write_clip(home / name, vision, text_layers=3)
    return home


def make_pair(folder: Path, tower: str) -> ClipPair:
    encoder = load_encoder(parse_encoder(f"open_clip:local-dir:{tower}", {}, (folder,)))
    return make_classifier(encoder, TextWeights(text_weights(encoder, WORDS), 100.0), WORDS, with_bias=False)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_learning_rates_of_layers_agree_with_timms(name):
    network = timm.create_model(name, num_classes=3)
    groups = param_groups_layer_decay(network, layer_decay=0.6)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    expected = {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert layer_scales(network, 0.6) == pytest.approx(expected)


@pytest.mark.parametrize("tower", TOWERS)
def test_both_towers_of_a_clip_fall_from_their_own_ends(folder, tower):
    scales = layer_scales(make_pair(folder, tower), 0.5)
    first, last = (
        ("transformer.resblocks.0.mlp.c_fc.weight", "transformer.resblocks.1.mlp.c_fc.weight")
        if tower == "transformer"
        else ("layer3.0.conv1.weight", "layer4.0.conv1.weight")
    )
    assert (scales[f"tower.{first}"], scales[f"tower.{last}"]) == (0.25, 0.5)
    blocks = [scales[f"text.clip.transformer.resblocks.{i}.mlp.c_fc.weight"] for i in range(3)]
    assert blocks == [0.125, 0.25, 0.5]
    assert scales["tower.conv1.weight"] == (0.125 if tower == "transformer" else 0.5**5)
    assert scales["text.clip.token_embedding.weight"] == 0.0625
    assert scales["text.clip.text_projection"] == scales["head.weight"] == 1.0


def test_the_schedule_keeps_each_layers_share():
    network = timm.create_model("test_vit", num_classes=3)
    recipe = Recipe(lr=0.1, head_lr=0.4, layer_decay=0.5, epochs=5)
    optimizer = make_optimizer(network, network.head, recipe)
    make_schedule(optimizer, recipe.warmup_share, 50).step_update(20)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    scales = layer_scales(network, 0.5)
    top = rates[id(network.head.weight)]
    assert 0 < top < 0.4
    for name, parameter in network.named_parameters():
        expected = top if name.startswith("head.") else top / 4 * scales[name]
        assert rates[id(parameter)] == pytest.approx(expected), name


def test_a_network_of_unknown_layers_is_refused():
    with pytest.raises(InputError, match="layers of Sequential are not known"):
        layer_scales(nn.Sequential(nn.Linear(2, 2)), 0.5)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "clip"])
def test_activations_computed_twice_give_the_same_gradients(folder, name):
    def gradients(twice: bool) -> list[torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = make_pair(folder, "transformer") if name == "clip" else timm.create_model(name, num_classes=2)
            pixels = torch.randn(2, 3, *(2 * [32 if name == "clip" else 160]))
            if twice:
                checkpoint_activations(network)
            network.train()(pixels).square().sum().backward()
        return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]

    kept, twice = gradients(False), gradients(True)
    assert len(kept) == len(twice) > 10
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(kept, twice, strict=True))


@pytest.mark.parametrize(
    "network", [nn.Linear(2, 2), timm.create_model("dla46_c", num_classes=2)], ids=["linear", "timm"]
)
def test_networks_that_keep_their_activations_are_refused(network):
    with pytest.raises(InputError, match="cannot compute activations twice"):
        checkpoint_activations(network)
