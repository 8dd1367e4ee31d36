"""Weights on disk and in a network: safetensors alone, and all of them but a head."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.errors import InputError, some
from kit.core.terminal import note
from kit.features.weights.spec import EncoderSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

COUNTER = "num_batches_tracked"  # of batch normalisation: files of old torch versions, and many converters, lack it
HEAD = re.compile(r"(fc|head|heads|classifier|last_linear|linear|output)(\.(head|fc|\d+))*\.(weight|bias)")


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


def match_names(network: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors by the network's names: without what wrappers put before them, ``module.``, ``model.``.

    A beginning that names share is taken away where more of them are then the network's.
    """
    needed = set(network.state_dict())
    while True:
        beginnings = {name[: at + 1] for name in tensors for at, mark in enumerate(name) if mark == "."}
        counts = {beginning: len(needed & set(_without(tensors, beginning))) for beginning in sorted(beginnings)}
        best = max(counts, key=lambda beginning: counts[beginning], default="")
        if not best or counts[best] <= len(needed & set(tensors)):
            return tensors
        tensors = _without(tensors, best)


def load_state(
    network: nn.Module, tensors: dict[str, torch.Tensor], spec: EncoderSpec, ignore: tuple[str, ...] = ()
) -> None:
    """Load weights, but for those whose names begin with one of `ignore`, the classifier's, and heads of other names.

    The counters of batch normalisation may be missing: they do not count when a network predicts. A head of
    the size that the network's new one has is said to be left out.

    InputError where another tensor is missing, too many, or of another shape; names the first three.
    """
    tensors = match_names(network, tensors)
    current = network.state_dict()
    heads = {name for name in tensors if name.startswith(ignore) or (name not in current and HEAD.fullmatch(name))}
    _tell_of_heads(network, {name: tensors[name] for name in sorted(heads)}, spec)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in heads}
    needed = {name for name in current if not name.startswith(ignore)}
    counters = {name for name in needed | set(tensors) if name.endswith(COUNTER)}
    wrong = [f"{name} is missing" for name in sorted(needed - set(tensors) - counters)]
    wrong += [f"{name} is not in the network" for name in sorted(set(tensors) - needed - counters)]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(current[name].shape)}"
        for name in sorted(needed & set(tensors))
        if tensors[name].shape != current[name].shape
    ]
    if wrong:
        raise InputError(f"{spec.file}: weights of another architecture than {spec.text!r}: {some(wrong, 3)}")
    network.load_state_dict(tensors, strict=False)


def _without(tensors: dict[str, torch.Tensor], beginning: str) -> dict[str, torch.Tensor]:
    """Return tensors whose names lack a beginning that they had; those without it stay unless they would be hidden."""
    shortened = {name.removeprefix(beginning): tensor for name, tensor in tensors.items() if name.startswith(beginning)}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(beginning)} | shortened


def _tell_of_heads(network: nn.Module, heads: dict[str, torch.Tensor], spec: EncoderSpec) -> None:
    """Say that a file's head is left out where it might be expected to stay: it has the size of the network's own."""
    wanted = {len(tensor) for name, tensor in network.state_dict().items() if HEAD.fullmatch(name)}
    sizes = {len(tensor) for name, tensor in heads.items() if name.endswith("weight") and tensor.ndim == 2}
    if sizes & wanted:
        _tell_once(
            f"{spec.file}: its head of {some(sorted(sizes))} classes, {some(heads)}, is left out: which class is which "
            "no file says, and training starts with a new one"
        )


@functools.cache
def _tell_once(text: str) -> None:
    """Say something once, however often the weights are loaded."""
    note(text)


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Widen half-precision weights; whole numbers stay what they are."""
    import torch

    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
