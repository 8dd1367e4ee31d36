"""Image towers on decoded images: in batches, on every device, in halves where the memory is too small.

A batch's size follows from the kind of device, and from nothing that is measured: half precision rounds otherwise in a
batch of another size. Only halves, where the memory is too small, may differ in the last bits.

Nothing is read or written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from kit.core.shapes import Vectors
from kit.features.encoders import Encoder

if TYPE_CHECKING:
    import torch

BATCH = 64  # images per forward pass
GPU_BATCH = 256  # on a GPU


class ImageForward:
    """Run an image tower on uint8 blocks, at one precision, on one device or several.

    Batches are dealt out to the devices in turn, so that their number does not change what is in a batch.
    """

    def __init__(self, encoder: Encoder, precision: str, devices: tuple[str, ...] | None = None) -> None:
        from kit.features.device import device_name, place_network

        self.preprocessing = encoder.preprocessing
        self.devices = devices or (device_name(),)
        copies = [encoder.image_tower, *(copy.deepcopy(encoder.image_tower) for _ in self.devices[1:])]
        self.towers = [place_network(each, at, precision) for each, at in zip(copies, self.devices, strict=True)]
        self.tower, self.device = self.towers[0], self.devices[0]
        self.dtype = next(self.tower.parameters()).dtype
        self.batch = choose_batch(self.device)
        self.n_dims = self._forward(self._blank(1), 0).shape[1]

    def __call__(self, pixels: torch.Tensor) -> Vectors:
        """Return (n_images, n_dims) float32, of unit length or not finite, for (n_images, 3, h, w) uint8."""
        import torch

        dealt: list[list[tuple[int, torch.Tensor]]] = [[] for _ in self.devices]
        for i, part in enumerate(pixels.split(self.batch)):
            dealt[i % len(self.devices)].append((i, part))

        def run(number: int) -> list[tuple[int, torch.Tensor]]:
            forward, device = partial(self._forward, number=number), self.devices[number]
            made = [(i, in_halves(forward, part, device)) for i, part in dealt[number]]
            return [(i, values.cpu()) for i, values in made]  # waits for the device once all is asked for

        if len(self.devices) == 1:
            values = run(0)
        else:
            with ThreadPoolExecutor(len(self.devices)) as threads:
                values = [each for part in threads.map(run, range(len(self.devices))) for each in part]
        return torch.cat([each for _, each in sorted(values, key=lambda pair: pair[0])]).numpy()

    def _forward(self, pixels: torch.Tensor, number: int) -> torch.Tensor:
        """Return the features of one batch on the device of that number; a GPU may still be at it."""
        import torch

        device = self.devices[number]
        with torch.no_grad():  # inference_mode with autocast is 3 to 10 times slower on CPUs
            batch = self.preprocessing.normalise(pin(pixels, device).to(device, non_blocking=True)).to(self.dtype)
            return torch.nn.functional.normalize(self.towers[number](batch).float(), dim=1)

    def _blank(self, n_images: int) -> torch.Tensor:
        """Return black images of the encoder's geometry."""
        import torch

        geometry = self.preprocessing.geometry
        return torch.zeros((n_images, 3, geometry.height, geometry.width), dtype=torch.uint8)


def in_halves(run: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor, device: str) -> torch.Tensor:
    """Return what `run` gives for a batch; in halves, again and again, where the memory does not hold it whole."""
    import torch

    try:
        return run(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    if device.startswith("cuda"):  # only here, outside the except block, is the failed pass's memory free
        torch.cuda.empty_cache()
    return torch.cat([in_halves(run, half, device) for half in batch.chunk(2)])


def pin(pixels: torch.Tensor, device: str) -> torch.Tensor:
    """Return pixels in memory that a GPU copies from while it computes; as they are where nothing is to be copied."""
    return pixels.pin_memory() if device.startswith("cuda") and pixels.device.type == "cpu" else pixels


def choose_batch(device: str) -> int:
    """Return how many images a forward pass takes on a device of this kind."""
    return GPU_BATCH if device.startswith("cuda") else BATCH
