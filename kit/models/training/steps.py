"""Steps of the optimiser: batches go through the network, in parts where memory asks for it; gradients add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kit.core.terminal import note
from kit.models.training.batches import Forward, half_precision
from kit.models.training.loss import Loss, cross_entropy


@dataclass(frozen=True)
class Batch:
    """Hold images and what is asked of them.

    Parameters
    ----------
    pixels
        (n_images, 3, h, w), standardised.
    targets
        (n_images, n_classes), or as the loss reads them.
    loss
        ``loss(logits, targets)``, float32, summed over the images.
    """

    pixels: Tensor
    targets: Tensor
    loss: Loss = cross_entropy

    def __len__(self) -> int:
        return len(self.pixels)


class Steps:
    """Take steps of an optimiser; `forward(network, pixels)` gives logits.

    The largest batch of a step goes through the network in so many `parts`, the others in parts as large.
    """

    def __init__(
        self, network: nn.Module, forward: Forward, optimizer: Optimizer, device: str, precision: str, parts: int
    ) -> None:
        self.network, self.forward, self.optimizer = network, forward, optimizer
        self.device, self.precision, self.parts = torch.device(device), precision, parts
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")

    def take(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Take one step, in more parts where GPU memory is short; return the mean loss of each batch."""
        losses = None
        while losses is None:
            try:
                losses = self._backward(batches)
            except torch.OutOfMemoryError:
                if max(map(len, batches)) < 4 * self.parts:  # no smaller parts are left
                    raise
            if losses is None:  # only here, outside the except block, is the failed pass's memory free
                self.parts *= 2
                torch.cuda.empty_cache()
                note(f"out of GPU memory: batches go through the network in {self.parts} parts from now on")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses

    def _backward(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Accumulate the gradients of all batches; return the mean loss of each."""
        self.optimizer.zero_grad()
        largest = max(map(len, batches))
        return [self._accumulate(batch, math.ceil(self.parts * len(batch) / largest)) for batch in batches]

    def _accumulate(self, batch: Batch, n_parts: int) -> Tensor:
        """Add the gradient of a batch's mean loss; return the loss."""
        n_parts = max(1, min(n_parts, len(batch) // 2))  # batch norm needs two images
        total = torch.zeros((), device=self.device)
        for pixels, targets in zip(
            batch.pixels.tensor_split(n_parts), batch.targets.tensor_split(n_parts), strict=True
        ):
            with half_precision(self.device.type, self.precision):
                logits = self.forward(self.network, pixels)
            # float32: half-precision logits overflow in CLIP, whose cosines are multiplied by 100
            loss = batch.loss(logits.float(), targets) / len(batch)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total
