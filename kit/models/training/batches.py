"""Batches: which images, in which order, read from the store; and prediction and encoding batch by batch.

Batches are read in the process: loader workers on decoded images were 3 to 4 times slower. Reads `kit.data.store`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2 as transforms

from kit.core.shapes import Mask, Proba, Rows, Vectors
from kit.core.terminal import Progress
from kit.data.ahead import read_ahead
from kit.data.folds import inner
from kit.data.images import Images
from kit.data.store import BLOCK, read_store
from kit.features.encoders import Preprocessing
from kit.features.forward import in_halves, pin
from kit.models.training.loss import binary_targets
from kit.models.training.recipe import Recipe
from kit.models.training.views import views_of

WINDOW = 8192  # images shuffled together; a larger set is read window by window, block by block
PREDICTED = 64  # images per forward pass without gradients
HOLD_OUT_SHARE = 0.2  # of the training images, for early stopping
MIN_PER_CLASS = 8  # images: with fewer in any class a hold-out of a fifth is too small
MIN_LABEL_SETS = 40  # images of several labels each: the same of all classes together

Forward = Callable[[nn.Module, Tensor], Tensor]
Network = TypeVar("Network", bound=nn.Module)
ForwardOf = Callable[[Network, Tensor], Tensor]


@contextlib.contextmanager
def reproducible(seed: int, device: str) -> Iterator[None]:
    """Seed torch's generators and prefer deterministic kernels inside the block; leave both as they were."""
    is_cuda = device.startswith("cuda")
    if is_cuda:  # read by cuBLAS when it starts; without it, its sums differ from run to run
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if is_cuda else []):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def seed_of(seed: int, epoch: int, *stream: int) -> int:
    """Return a seed for one epoch, and for one stream of draws in it, unlike that of any neighbour."""
    return int(np.random.SeedSequence((seed, epoch, *stream)).generate_state(1, np.uint64)[0] >> 1)


def split_off(labeled: Images, recipe: Recipe, seed: int) -> tuple[Images, Images]:
    """Split the training images into those that are learned and a hold-out for early stopping.

    Only real labels are held out, because a pseudo label proves nothing; no image that shares a group with one of them
    is learned. With under 8 real labels in any class, or without patience, nothing is held out; with several labels per
    image rare classes are usual, and 40 images are enough.
    """
    nothing = np.zeros(0, dtype=np.int64)
    if recipe.patience is None:
        return labeled, labeled.take(nothing)
    real = np.flatnonzero(~labeled.is_pseudo)
    if labeled.is_multilabel:
        is_small = len(real) < MIN_LABEL_SETS
    else:
        is_small = np.bincount(labeled.labels[real], minlength=labeled.n_classes).min() < MIN_PER_CLASS
    if is_small:
        return labeled, labeled.take(nothing)
    _, chosen = inner(labeled.labels[real], labeled.groups[real], seed, share=HOLD_OUT_SHARE)
    hold_out = labeled.take(real[chosen])
    return labeled.take(np.flatnonzero(~np.isin(labeled.groups, hold_out.groups))), hold_out


def draw_batches(rows: Rows, batch_size: int, generator: Generator) -> list[Rows]:
    """Draw the order of an epoch: every one of `rows` once, in batches that are equally large, to one image.

    A batch has at most `batch_size` images; one more where a single image would be left, which batch norm cannot take.
    """
    n_batches = max(1, min(math.ceil(len(rows) / batch_size), len(rows) // 2))
    return np.array_split(_draw_order(rows, generator), n_batches)


def draw_steps(rows: Rows, batch_size: int, n_steps: int | None, generator: Generator) -> list[Rows]:
    """Draw the batches of an epoch: one pass, or so many steps of as many passes as they take."""
    batches = draw_batches(rows, batch_size, generator)
    while n_steps is not None and len(batches) < n_steps:
        batches += draw_batches(rows, batch_size, generator)
    return batches[:n_steps]


def draw_passes(rows: Rows, n_images: int, generator: Generator) -> Rows:
    """Draw `n_images` positions in `rows`: every one once before any comes again."""
    order = _draw_order(rows, generator)[:n_images]
    while len(order) < n_images:
        order = np.concatenate([order, _draw_order(rows, generator)])[:n_images]
    return order


def mark_copies(rows: Rows) -> Mask:
    """Return which positions hold a row that stands at an earlier position too, (n_images,) bool."""
    is_copy = np.ones(len(rows), dtype=bool)
    is_copy[np.unique(rows, return_index=True)[1]] = False
    return is_copy


def _draw_order(rows: Rows, generator: Generator) -> Rows:
    """Draw an order of all positions in `rows`."""
    if len(rows) <= WINDOW:
        return torch.randperm(len(rows), generator=generator).numpy()
    return _shuffle_windows(rows, generator)


def weighted_targets(images: Images, positions: Rows, label_smoothing: float) -> Tensor:
    """Return the smoothed labels times the image's weight through the mean weight of all, (n_positions, n_classes).

    Every loss is linear in its targets, so that weights in them weigh the loss, also after mixup. With several labels
    per image they are those of `kit.models.training.loss.binary_targets`.
    """
    labels, weights = torch.from_numpy(images.labels[positions]), torch.from_numpy(images.weights[positions])
    if labels.ndim == 2:
        return binary_targets(labels, weights / float(images.weights.mean()), label_smoothing)
    certain = functional.one_hot(labels, images.n_classes) * (1 - label_smoothing)
    return (certain + label_smoothing / images.n_classes) * (weights / float(images.weights.mean()))[:, None]


def mix(pixels: Tensor, targets: Tensor, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Blend each image with its neighbour in the batch, or paste a part of it; draws from torch's generator.

    `mixup` and `cutmix` are alphas of the Beta distribution, 0 for none; with both the batch draws one.
    """
    mixers = [kind(alpha=alpha) for kind, alpha in ((transforms.MixUp, mixup), (transforms.CutMix, cutmix)) if alpha]
    return transforms.RandomChoice(mixers)(pixels, targets) if mixers else (pixels, targets)


def predict_network(
    network: Network,
    images: Images,
    preprocessing: Preprocessing,
    device: str,
    precision: str,
    forward: ForwardOf[Network] = nn.Module.__call__,
    tta: str = "none",
) -> Proba:
    """Return probabilities, float32, batch by batch from the store: memory does not grow with the images.

    The network is on `device`, and is left in evaluation mode; ``forward(network, pixels)`` gives logits; `tta` is one
    of `kit.models.training.views.views_of`.
    """

    squash = torch.sigmoid if images.is_multilabel else partial(torch.softmax, dim=1)

    def proba_of(pixels: Tensor) -> Tensor:
        views = views_of(pixels, tta)
        return torch.stack([squash(_logits_of(network, view, forward, precision)) for view in views]).mean(0)

    return _by_batches(network, images, preprocessing, device, proba_of)


def encode_network(
    network: Network,
    images: Images,
    preprocessing: Preprocessing,
    device: str,
    precision: str,
    forward: ForwardOf[Network] = nn.Module.__call__,
) -> Vectors:
    """Return what a network gives for images, (n_images, n_dims) float32; see `predict_network`."""

    def values_of(pixels: Tensor) -> Tensor:
        return _logits_of(network, pixels, forward, precision)

    return _by_batches(network, images, preprocessing, device, values_of)


@torch.no_grad()  # inference_mode with autocast is 3 to 10 times slower on CPUs
def _by_batches(
    network: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    device: str,
    values_of: Callable[[Tensor], Tensor],
) -> Vectors:
    """Return (n_images, n_dims) float32: the values of a function of standardised pixels."""
    store = read_store(images.pool, preprocessing.geometry)
    network.eval()
    order = np.argsort(images.rows, kind="stable")
    parts = []
    with Progress("predict", len(order)) as progress:
        batches = np.split(order, range(PREDICTED, len(order), PREDICTED))
        read = read_ahead(lambda positions: pin(torch.from_numpy(store[images.rows[positions]]), device), batches)
        for positions, pixels in zip(batches, read, strict=True):
            pixels = preprocessing.normalise(pixels.to(device, non_blocking=True))
            parts.append(in_halves(values_of, pixels, device).cpu().numpy())
            progress.advance(len(positions))
    values = np.concatenate(parts)
    values[order] = values.copy()
    return values


@torch.no_grad()
def ask(network: nn.Module, pixels: Tensor, forward: Forward, precision: str) -> Tensor:
    """Return what a network in training would predict of standardised pixels, (n_images, n_classes) float32 logits.

    It stays in training.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    run = partial(_logits_of, network, forward=forward, precision=precision)
    logits = torch.cat([in_halves(run, part, pixels.device.type) for part in pixels.split(PREDICTED)])
    for module in training:
        module.training = True
    return logits


def _logits_of(network: Network, pixels: Tensor, forward: ForwardOf[Network], precision: str) -> Tensor:
    """Return what a network gives for one batch, in float32."""
    if pixels.ndim == 4:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    with half_precision(pixels.device.type, precision):
        return forward(network, pixels).float()


def half_precision(device_type: str, precision: str) -> torch.autocast:
    """Return the autocast context of a precision; with float32 it does nothing."""
    is_half = precision != "float32"
    return torch.autocast(device_type, getattr(torch, precision) if is_half else None, enabled=is_half)


def _shuffle_windows(rows: Rows, generator: Generator) -> Rows:
    """Shuffle blocks of neighbouring rows, then the images within windows of many blocks.

    A block alone would do for the disk, but folders are read class by class: its images are often of one class.
    """
    blocks = np.array_split(np.argsort(rows, kind="stable"), math.ceil(len(rows) / BLOCK))
    order = np.concatenate([blocks[i] for i in torch.randperm(len(blocks), generator=generator).tolist()])
    windows = np.split(order, range(WINDOW, len(order), WINDOW))
    return np.concatenate([part[torch.randperm(len(part), generator=generator).numpy()] for part in windows])
