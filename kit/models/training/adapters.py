"""LoRA: train changes of low rank to a network's weight matrices, and add them to the weights in the end.

torch's parametrisations do it: they reach the packed matrix of `nn.MultiheadAttention`, and when they are removed the
network has its old names again, so that what is trained this way blends like any other. (peft does the same, but needs
transformers and accelerate: 150 MB for these lines.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kit.core.errors import InputError, nearest
from kit.models.training.recipe import Recipe

PACKED = "in_proj_weight"  # query, key and value of an attention layer in one matrix


class LowRank(nn.Module):
    """Add a matrix of low rank to a weight; it starts at zero (Hu et al. 2021, section 4.1).

    The weight is (n_out, ...); a convolution's is seen as (n_out, n_in * height * width). `rank` is at most that of the
    weight; the change is multiplied by alpha / rank.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        n_out, n_in = weight.flatten(1).shape
        self.scale = alpha / rank
        rank = min(rank, n_out, n_in)
        down = torch.empty(rank, n_in)  # drawn on the CPU: the same on every device
        self.down = nn.Parameter(nn.init.kaiming_uniform_(down, a=math.sqrt(5)).to(weight.device))
        self.up = nn.Parameter(torch.zeros(n_out, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, in the precision of the weight itself."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.scale * self.up @ self.down).view_as(weight)


def add_adapters(network: nn.Module, head: nn.Module | None, recipe: Recipe) -> None:
    """Freeze a network's body and let changes of low rank learn in it; the head stays as it is.

    Draws from torch's generator. InputError where a target names no layer.
    """
    of_head = set(head.modules()) if head is not None else set()
    layers = list(_adaptable({name: module for name, module in network.named_modules() if module not in of_head}))
    chosen = _choose(layers, recipe.lora_targets)
    head_parameters = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    for parameter in network.parameters():
        if id(parameter) not in head_parameters:
            parameter.requires_grad_(False)
    alpha = recipe.lora_rank if recipe.lora_alpha is None else recipe.lora_alpha
    for _, module, weight in chosen:
        change = LowRank(getattr(module, weight), recipe.lora_rank, alpha)
        parametrize.register_parametrization(module, weight, change)


def merge_adapters(network: nn.Module) -> None:
    """Add the changes to the weights: the network has its old names again, and no adapter."""
    for module in list(network.modules()):
        if isinstance(changed := dict(module.named_children()).get("parametrizations"), nn.ModuleDict):
            for weight in list(changed):
                parametrize.remove_parametrizations(module, weight, leave_parametrized=True)


def _adaptable(modules: dict[str, nn.Module]) -> Iterator[tuple[str, nn.Module, str]]:
    """Give name, layer and the weight's name of all layers that can be adapted and would learn without adapters.

    Convolutions where they are more than the linear layers: a transformer's only one cuts its patches. Not grouped
    ones: the filters of a depthwise convolution are as small as their change would be.
    """
    n_linear = sum(isinstance(module, nn.Linear) for module in modules.values())
    convolutional = sum(isinstance(module, nn.Conv2d) for module in modules.values()) > n_linear
    for name, module in modules.items():
        is_convolution = isinstance(module, nn.Conv2d) and module.groups == 1
        is_layer = isinstance(module, nn.Linear) or (convolutional and is_convolution)
        weight = getattr(module, "weight" if is_layer else PACKED, None)
        if weight is not None and weight.requires_grad:
            yield name, module, "weight" if is_layer else PACKED


def _choose(layers: list[tuple[str, nn.Module, str]], targets: list[str] | None) -> list[tuple[str, nn.Module, str]]:
    """Return the layers whose names end with one of the targets; all without targets."""
    names = [name for name, _, _ in layers]
    for target in targets or ():
        if not any(_ends(name, target) for name in names):
            hint = nearest(target, {name.rpartition(".")[2] for name in names})
            raise InputError(f"lora_targets: no layer that can be adapted is called {target!r}; {hint}")
    if not layers:
        raise InputError("lora_rank: the network has no layer that can be adapted; set lora_rank = 0")
    return [layer for layer in layers if targets is None or any(_ends(layer[0], target) for target in targets)]


def _ends(name: str, target: str) -> bool:
    """Return whether a name is the target or ends with it, whole parts compared."""
    return f".{name}".endswith(f".{target}")
