"""LoRA: what is adapted, what stays, and that the merged network is the adapted one under its old names."""

from __future__ import annotations

from copy import deepcopy

import pytest
import timm
import torch
from torch import nn
from torch.nn.utils import parametrize

from kit.core.errors import InputError
from kit.models.training.adapters import LowRank, add_adapters, merge_adapters
from kit.models.training.recipe import Recipe

RECIPE = Recipe(lora_rank=2)


def make_network(name: str = "test_vit") -> nn.Module:
    """Build a tiny timm network in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model(name, num_classes=3).eval()


def make_block() -> nn.TransformerEncoderLayer:
    """Build a block with packed attention, as CLIP's have it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True).eval()


def adapt(network: nn.Module, recipe: Recipe = RECIPE, head: nn.Module | None = None, moved: bool = True) -> nn.Module:
    """Add adapters; let them be as if they had learned."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        add_adapters(network, head, recipe)
        if moved:
            for module in network.modules():
                if isinstance(module, LowRank):
                    nn.init.normal_(module.up, std=0.1)
    return network


def test_an_adapter_starts_at_zero():
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(adapt(make_network(), moved=False)(pixels), make_network()(pixels))


@pytest.mark.parametrize("half", [False, True])
def test_the_merged_network_is_the_adapted_one_under_its_old_names(half):
    tokens = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    block = adapt(make_block())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        before = block(tokens)
        merge_adapters(block)
        after = block(tokens)
    assert torch.equal(before, after)
    assert block.state_dict().keys() == make_block().state_dict().keys()
    assert type(block.self_attn) is nn.MultiheadAttention
    assert not any(parametrize.is_parametrized(module) for module in block.modules())


def test_changes_are_of_low_rank_and_nothing_else_changes():
    network, start = adapt(make_network()), make_network().state_dict()
    merge_adapters(network)
    for name, value in network.state_dict().items():
        change = value - start[name]
        if name.startswith("blocks.") and name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")):
            assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2, name
        elif name != "head.weight":
            assert not change.any(), name


def test_only_adapters_and_the_head_learn():
    network = make_network()
    adapt(network, head=network.head)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {"head.weight", "head.bias"} < learning
    assert {name.rpartition(".")[2] for name in learning if not name.startswith("head.")} == {"down", "up"}


def test_of_a_convolutional_network_the_ungrouped_convolutions_are_adapted():
    network = adapt(make_network("test_efficientnet"), head=None)
    adapted = {name for name, module in network.named_modules() if parametrize.is_parametrized(module)}
    groups = {name: module.groups for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert {name for name in groups if groups[name] == 1} == adapted - {"classifier"}
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(pixels)
        merge_adapters(network)
        assert torch.equal(network(pixels), before)


def test_targets_are_the_ends_of_names():
    network = adapt(make_network(), Recipe(lora_rank=2, lora_targets=["attn.qkv", "fc2"]))
    adapted = {name for name, module in network.named_modules() if parametrize.is_parametrized(module)}
    assert adapted and {name.rpartition(".")[2] for name in adapted} == {"qkv", "fc2"}


def test_a_target_that_is_no_layer_is_refused_by_name():
    with pytest.raises(InputError, match=r"lora_targets: .* 'qvk'; did you mean 'qkv'"):
        adapt(make_network(), Recipe(lora_rank=2, lora_targets=["qvk"]))


def test_a_network_without_layers_to_adapt_is_refused():
    with pytest.raises(InputError, match="no layer that can be adapted"):
        add_adapters(nn.Sequential(nn.LayerNorm(3)), None, RECIPE)


def test_alpha_scales_the_change():
    block, twice = (adapt(make_block(), Recipe(lora_rank=2, lora_alpha=alpha)) for alpha in (None, 4.0))
    start = make_block().linear1.weight
    assert torch.allclose(twice.linear1.weight - start, 2 * (block.linear1.weight - start), atol=1e-6)


def test_an_adapted_network_can_be_copied_for_its_moving_average():
    block = adapt(make_block())
    copied = deepcopy(block)
    tokens = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(copied(tokens), block(tokens))
    assert copied.state_dict().keys() == block.state_dict().keys()
