"""Weights on disk and in a network: safetensors alone, and all of them or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.errors import InputError, some
from kit.features.weights.spec import EncoderSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; nothing else, because a pickle can run code.

    Half-precision tensors are widened to float32, whole numbers stay. InputError where it is not safetensors, or is cut
    off.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: _as_float32(tensor) for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); fetch it again if it was cut off, convert it if it is a "
            "pickle: pickles are not loaded"
        ) from error


def load_state(
    network: nn.Module, tensors: dict[str, torch.Tensor], spec: EncoderSpec, ignore: tuple[str, ...] = ()
) -> None:
    """Load weights strictly, but for those whose names begin with one of `ignore`: the classifier's.

    InputError where a tensor is missing, too many, or of another shape; names the first three.
    """
    current = network.state_dict()
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(ignore)}
    needed = {name for name in current if not name.startswith(ignore)}
    wrong = [f"{name} is missing" for name in sorted(needed - set(tensors))]
    wrong += [f"{name} is not in the network" for name in sorted(set(tensors) - needed)]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(current[name].shape)}"
        for name in sorted(needed & set(tensors))
        if tensors[name].shape != current[name].shape
    ]
    if wrong:
        raise InputError(f"{spec.file}: weights of another architecture than {spec.text!r}: {some(wrong, 3)}")
    network.load_state_dict(tensors, strict=False)


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Widen half-precision weights; whole numbers stay what they are."""
    import torch

    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
