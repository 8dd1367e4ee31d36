"""Weights by name: copies, and blends of two fine-tunings of one network."""

from __future__ import annotations

from torch import Tensor, nn

from kit.core.errors import InputError


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's weights, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def interpolate(theta_0: dict[str, Tensor], theta_1: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) theta_0 + alpha theta_1; alpha 0 gives exactly theta_0, 1 exactly theta_1.

    Whole-number buffers, such as the batches that a batch norm has counted, are theta_1's: a mean of counts would turn
    them into floats.

    Raises
    ------
    InputError
        When alpha does not lie in 0..1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha = {alpha}: the weight of the fine-tuned model must lie in 0..1")
    return {
        name: (1 - alpha) * theta_0[name] + alpha * value if value.is_floating_point() else value
        for name, value in theta_1.items()
    }
