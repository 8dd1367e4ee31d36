"""What is done layer by layer: learning rates that fall towards the image, activations that are computed twice."""

from __future__ import annotations

import math
from typing import Any, Protocol, cast

from timm.models import group_parameters
from torch import nn

from kit.core.errors import InputError

# open_clip's towers lack timm's group_matcher: transformers of images and words, and ResNets
OPEN_CLIP = {
    "stem": r"^(?:text\.)?(?:conv\d|bn\d|class_embedding|token_embedding|positional_embedding|ln_pre)(?:\.|$)",
    "blocks": [(r"^(?:text\.)?transformer\.resblocks\.(\d+)\.", None), (r"^layer(\d+)\.(\d+)\.", None)],
}


class Checkpoints(Protocol):
    """What a network has beside torch's that can compute its activations twice."""

    grad_checkpointing: bool

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Let it do so, with `enable`."""
        ...


class HasLayers(Protocol):
    """What a timm network has beside torch's."""

    def group_matcher(self, coarse: bool) -> dict[str, Any]:
        """Return the patterns of its layers' names."""
        ...


class Towered(nn.Module):
    """A network of towers, each with a depth of its own; what lies outside them is head."""

    def towers(self) -> dict[str, nn.Module]:
        """Return the modules that have layers, by the prefix of their parameters' names."""
        raise NotImplementedError


def layer_scales(network: nn.Module, layer_decay: float) -> dict[str, float]:
    """Return the factor on each parameter's learning rate, by name: 1 at the head, `layer_decay` a layer before it.

    `layer_decay` is above 0 and at most 1. InputError where the network's layers are not known.
    """
    towers = network.towers() if isinstance(network, Towered) else {"": network}
    scales = {name: 1.0 for name, _ in network.named_parameters()}
    for prefix, tower in towers.items():
        matcher = cast(HasLayers, tower).group_matcher(coarse=False) if hasattr(tower, "group_matcher") else OPEN_CLIP
        layers = cast(dict[str, int], group_parameters(tower, matcher, reverse=True))
        last = max(layers.values())
        if last == 0:
            raise InputError(f"layer_decay: the layers of {type(tower).__name__} are not known; set layer_decay = 1.0")
        scales |= {f"{prefix}{name}": layer_decay ** (last - layer) for name, layer in layers.items()}
    return scales


def freeze_layers(network: nn.Module, head: nn.Module | None, n_layers: int) -> None:
    """Let the last `n_layers` of a network's body learn, and the head; the others require no gradients any more.

    The layers are those of `layer_scales`. InputError where the network's layers are not known.
    """
    try:
        scales = layer_scales(network, 0.5)
    except InputError as error:
        raise InputError(str(error).replace("layer_decay = 1.0", 'train_layers = "all"')) from error
    of_head = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    body = {name: each for name, each in network.named_parameters() if id(each) not in of_head}
    depths = {name: -math.log2(scales[name]) for name in body}  # 0 at the last layer
    last = min(depths.values())
    for name, parameter in body.items():
        if depths[name] >= last + n_layers:
            parameter.requires_grad_(False)


def knows_layers(network: nn.Module) -> bool:
    """Return whether the order of a network's layers is known."""
    try:
        layer_scales(network, 0.5)
    except InputError:
        return False
    return True


def checkpoint_activations(network: nn.Module) -> None:
    """Let a network compute its activations anew in the backward pass, not keep them; InputError where it cannot."""
    try:
        cast(Checkpoints, network).set_grad_checkpointing(True)
        can = any(getattr(module, "grad_checkpointing", False) for module in network.modules())
    except (AttributeError, AssertionError):  # timm's way to refuse
        can = False
    if not can:
        raise InputError(
            f"grad_checkpointing: {type(network).__name__} cannot compute activations twice; accumulate = 2 or more "
            "saves memory with every network"
        )
