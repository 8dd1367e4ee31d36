"""Views of images as what a frozen lower part of the network makes of them: drawn once, kept, drawn from in every step.

Reads `kit.data.store`. What is kept lies in memory, in half precision, on the network's device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor, nn

from kit.core.shapes import Rows
from kit.core.terminal import Progress
from kit.data.images import Images
from kit.data.store import read_rows, read_store
from kit.features.encoders import Preprocessing
from kit.models.training.augment import augment
from kit.models.training.batches import half_precision
from kit.models.training.split import Split

BATCH = 16  # images that go through the lower part together
MAX_BYTES = 2**30  # of activations in memory: views that do not fit are not drawn


class Cut:
    """Turn pixels, 0..255, into activations below the cut, float16.

    Parameters
    ----------
    split, network, precision, device
        The network is in evaluation mode below the cut.
    sample
        Standardised pixels, (n_images, 3, h, w), of which the size of activations is learned.
    """

    def __init__(
        self,
        split: Split,
        network: nn.Module,
        preprocessing: Preprocessing,
        precision: str,
        device: str,
        sample: Tensor,
    ) -> None:
        self.split, self.network, self.preprocessing = split, network, preprocessing
        self.precision, self.device = precision, device
        self.bytes_per_view = self._half(sample).nbytes // len(sample)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return (n_images, ...)."""
        return self._half(self.preprocessing.normalise(pixels))

    def holds(self, n_images: int, n_views: int) -> bool:
        """Return whether so many views of so many images fit into memory."""
        return n_images * n_views * self.bytes_per_view <= MAX_BYTES

    @torch.no_grad()
    def _half(self, pixels: Tensor) -> Tensor:
        with half_precision(pixels.device.type, self.precision):
            values = self.split.lower(self.network, pixels.contiguous(memory_format=torch.channels_last))
        largest = torch.finfo(torch.float16).max
        return values.float().clamp(-largest, largest).half()


class KeptViews:
    """Keep activations of a few views of each image.

    Parameters
    ----------
    images
        Each pool row once or more; a row is kept once.
    cut
        What makes the activations.
    level, flip
        How a view is varied, as `kit.models.training.augment.augment` reads them.
    n_views
        Of each image, at most: as many as fit into memory, at least one.
    plain
        Let the first view be the image as it is.
    seed
        Of the draws.
    """

    def __init__(self, images: Images, cut: Cut, level: str, flip: bool, n_views: int, plain: bool, seed: int) -> None:
        self.rows = np.unique(images.rows)
        store, generator = read_store(images.pool, cut.preprocessing.geometry), Generator().manual_seed(seed)
        n_views = max(1, min(n_views, MAX_BYTES // (cut.bytes_per_view * len(self.rows))))
        kept = []
        with Progress("views", len(self.rows) * n_views) as progress:
            for number in range(n_views):
                parts = []
                for rows in np.split(self.rows, range(BATCH, len(self.rows), BATCH)):
                    pixels = torch.from_numpy(read_rows(store, rows)).to(cut.device)
                    is_plain = plain and number == 0
                    parts.append(cut(pixels if is_plain else augment(pixels, level, generator, flip)))
                    progress.advance(len(rows))
                kept.append(torch.cat(parts))
        self.values = torch.stack(kept, dim=1)  # (n_rows, n_views, ...)

    def draw(self, rows: Rows, generator: Generator) -> Tensor:
        """Return one view of each row, drawn evenly, (len(rows), ...) float32, channels last."""
        positions = torch.from_numpy(np.searchsorted(self.rows, rows))
        views = torch.randint(self.values.shape[1], (len(rows),), generator=generator)
        drawn = self.values[positions, views].float()
        return drawn.contiguous(memory_format=torch.channels_last) if drawn.ndim == 4 else drawn  # a quarter faster
