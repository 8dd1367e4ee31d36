"""What an encoder costs on this machine: a few images through it, with its weights or with random ones.

It costs the same beside other work: on CPUs what is computed counts, not what is waited. Reads images; writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.core.machine import count_cores
from kit.features.weights import EncoderSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

N_IMAGES = 4  # per pass; as few as show the pace
BATCH = 64  # images per forward pass when the pool is encoded
N_PASSES = 3  # of which the fastest counts: the first ones ask for memory, others find the caches full of other work
STEP_FACTOR = 3.0  # a training step computes forwards once and backwards twice
MEGABYTE = 2**20


@dataclass(frozen=True)
class Cost:
    """Hold what one encoder costs: seconds per image (decoding included), memory, length of its features.

    For a guess of its seconds elsewhere: of an image `decoding`, the seconds of one core that decode it, of which
    `seconds` holds this machine's share, divided by its cores; `flops`, the floating-point operations of a forward
    pass; and `traffic`, the numbers that its layers read and write.
    """

    seconds: float
    megabytes: float
    n_dims: int
    n_weights: int
    decoding: float = 0.0
    flops: float = 0.0
    traffic: float = 0.0


def measure_encoder(spec: EncoderSpec, paths: tuple[str, ...], pretrained: bool = True) -> Cost:
    """Decode and encode a few images, on the device and at the precision of `features`.

    The images are black where there are none. Without `pretrained` the network is built with random weights, which
    take as long; nothing is fetched.
    """
    from kit.data.store import decode_block
    from kit.features.device import choose_precision, device_name, place_network
    from kit.features.encoders import load_encoder, preprocessing_of
    from kit.features.encoders.untrained import build_tower

    device, precision = device_name(), choose_precision(spec, device_name())
    preprocessing = preprocessing_of(spec)
    tower = load_encoder(spec).image_tower if pretrained else build_tower(spec)
    tower = place_network(tower, device, precision)
    geometry, shown, decoding = preprocessing.geometry, paths[:N_IMAGES], 0.0
    if shown:
        pixels = decode_block(shown, geometry)
        decoding = time_alone(lambda: decode_block(shown, geometry), time.process_time)
    else:
        pixels = _blank(geometry.height, geometry.width)
    batch = preprocessing.normalise(pixels.to(device)).to(next(tower.parameters()).dtype)
    watched = _watch(tower, batch)
    encoding = time_alone(lambda: _forward(tower, batch), clock_of(device))
    seconds = (decoding / count_cores() + encoding) / len(pixels)  # files are decoded side by side
    n_weights = sum(tensor.numel() for tensor in tower.parameters())
    width = batch.element_size()
    megabytes = (n_weights * width + BATCH / len(pixels) * watched.largest * width) / MEGABYTE
    flops, traffic = watched.flops / len(pixels), watched.traffic / len(pixels)
    return Cost(seconds, megabytes, watched.n_dims, n_weights, decoding / len(pixels), flops, traffic)


def measure_step(spec: EncoderSpec) -> tuple[float, int]:
    """Measure a training step, forwards and backwards, at random weights; nothing is fetched.

    Returns
    -------
    float
        Seconds per image.
    int
        Height of the images, in pixels.
    """
    from kit.features.device import device_name
    from kit.features.encoders import preprocessing_of
    from kit.features.encoders.untrained import build_tower

    device, geometry = device_name(), preprocessing_of(spec).geometry
    tower = build_tower(spec).to(device).train()
    pixels = _blank(geometry.height, geometry.width).float().to(device)

    def step() -> None:
        tower(pixels).sum().backward()
        float(next(tower.parameters()).sum())  # waits for the device

    return time_alone(step, clock_of(device)) / len(pixels), geometry.height


def clock_of(device: str) -> Callable[[], float]:
    """Return what tells the seconds that a device computes, whatever else this machine does.

    On CPUs these are the calling thread's own: it computes its share of all that threads divide among them, and the
    rest alone, so that they are the seconds of a quiet machine. Another device is waited for.
    """
    return time.thread_time if device == "cpu" else time.perf_counter


def time_alone(compute: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the seconds of a clock that the fastest of a few calls takes."""
    seconds = []
    for _ in range(N_PASSES):
        started = clock()
        compute()
        seconds.append(clock() - started)
    return min(seconds)


def _blank(height: int, width: int) -> torch.Tensor:
    """Return black images, for where none can be read."""
    import torch

    return torch.zeros((N_IMAGES, 3, height, width), dtype=torch.uint8)


def _forward(tower: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Run a tower and wait for its device."""
    import torch

    with torch.no_grad():
        return tower(batch).float().cpu()


@dataclass(frozen=True)
class _Watched:
    """Hold what one pass of a batch showed: numbers of the largest layer and of all, and operations."""

    n_dims: int
    largest: int
    traffic: int
    flops: int


def _watch(tower: nn.Module, batch: torch.Tensor) -> _Watched:
    """Run a tower once; return the length of its features, the numbers that its layers read and write, its operations.

    torch counts the operations of convolutions, of products of matrices and of attention.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    sizes = [0]

    def note(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        tensors = [tensor for tensor in (*given, made) if isinstance(tensor, torch.Tensor)]
        sizes.append(sum(tensor.numel() for tensor in tensors))

    hooks = [module.register_forward_hook(note) for module in tower.modules() if not list(module.children())]
    is_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # in one step attention is neither counted nor seen by hooks
    try:
        with FlopCounterMode(display=False) as counter:
            values = _forward(tower, batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
    for hook in hooks:
        hook.remove()
    return _Watched(values.shape[1], max(sizes), sum(sizes), counter.get_total_flops())
