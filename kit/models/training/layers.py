"""What is done layer by layer: learning rates that fall towards the image, activations that are computed twice."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn

from kit.core.errors import InputError

# open_clip's towers lack timm's group_matcher: transformers of images and words, and ResNets
OPEN_CLIP = {
    "stem": r"^(?:text\.)?(?:conv\d|bn\d|class_embedding|token_embedding|positional_embedding|ln_pre)(?:\.|$)",
    "blocks": [(r"^(?:text\.)?transformer\.resblocks\.(\d+)\.", None), (r"^layer(\d+)\.(\d+)\.", None)],
}


def layer_scales(network: nn.Module, layer_decay: float) -> dict[str, float]:
    """Return the factor on each parameter's learning rate, by name: 1 at the head, `layer_decay` a layer before it.

    Parameters
    ----------
    network
        A timm network, or one whose ``towers()`` gives modules by the prefix of their parameters' names: each has its
        own depth, and what lies outside them is head.
    layer_decay
        Factor from layer to layer, above 0 and at most 1.

    Raises
    ------
    InputError
        When the layers of the network are not known.
    """
    towers = network.towers() if hasattr(network, "towers") else {"": network}
    scales = {name: 1.0 for name, _ in network.named_parameters()}
    for prefix, tower in towers.items():
        matcher = tower.group_matcher(coarse=False) if hasattr(tower, "group_matcher") else OPEN_CLIP
        layers = group_parameters(tower, matcher, reverse=True)
        last = max(layers.values())
        if last == 0:
            raise InputError(f"layer_decay: the layers of {type(tower).__name__} are not known; set layer_decay = 1.0")
        scales |= {f"{prefix}{name}": layer_decay ** (last - layer) for name, layer in layers.items()}
    return scales


def checkpoint_activations(network: nn.Module) -> None:
    """Let a network compute its activations a second time in the backward pass instead of keeping them.

    Raises
    ------
    InputError
        When it cannot.
    """
    try:
        network.set_grad_checkpointing(True)
        can = any(getattr(module, "grad_checkpointing", False) for module in network.modules())
    except (AttributeError, AssertionError):  # timm's way to refuse
        can = False
    if not can:
        raise InputError(
            f"grad_checkpointing: {type(network).__name__} cannot compute activations twice; accumulate = 2 or more "
            "saves memory with every network"
        )
