"""Whether an image really lies within another: placed exactly, do their pixels agree? Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.core.shapes import Scores
from kit.features.altered.windows import beside_bars, cut

if TYPE_CHECKING:
    import torch

SOURCE_SIDE = 72  # pixels of the greys that are given
NEIGHBOURHOOD = 9  # pixels, over which gradients are brought to one strength
NOISE = 4.0  # grey levels per pixel: weaker gradients stay weak
BLOCK = 64  # pairs
SHIFTS = ((0, 0, 1, 0), (0, 0, 0, 1), (1, 1, 0, 0))  # of a window's width, height and middle: across, down, in size
STRETCHES = ((1, 0, 0, 0), (0, 1, 0, 0))


def align(outer: torch.Tensor, inner: torch.Tensor, windows: Scores, stages: Sequence[Stage]) -> tuple[Scores, Scores]:
    """Return how well each inner image agrees with a window of its outer one, and the window, moved to where it fits.

    Parameters
    ----------
    outer, inner
        (n_pairs, SOURCE_SIDE, SOURCE_SIDE) greys, the inner laid in the way that it is compared.
    windows
        (n_pairs, 4) where to begin: width, height and middle, as `cut` takes them.
    stages
        `ROUGH` or `EXACT`.

    Returns
    -------
    tuple
        The correlation (n_pairs,), -1..1, of what the last stage compares, over the image but for a bar at one of its
        sides, where that is more; -1 where the images were given up. And the windows (n_pairs, 4).
    """
    import torch

    agreement, placed = np.full(len(windows), -1, dtype=np.float32), windows.copy()
    for start in range(0, len(windows), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(windows)))
        agreed = np.empty(0, dtype=np.float32)
        for stage in stages:
            agree = _compare(outer[rows], _shrink(inner[rows], stage.side), stage.outline)
            moved, scores = _seek(agree, torch.from_numpy(placed[rows]), stage)
            placed[rows], near = moved.numpy(), scores.numpy() >= stage.floor
            rows, agreed = rows[near], scores.numpy()[near]
        agreement[rows] = agreed
    return agreement, placed


def _compare(outer: torch.Tensor, inner: torch.Tensor, outline: Outline) -> Agreement:
    """Return a function that correlates the outlines of windows and images, whole or beside a bar, at best."""
    import torch

    theirs = [_unit(part) for part in _rests(outline(inner))]

    def agree(windows: torch.Tensor) -> torch.Tensor:
        ours = _rests(outline(cut(outer, windows[:, None], inner.shape[-1])[:, 0]))
        return torch.stack([(_unit(a) * b).sum(dim=1) for a, b in zip(ours, theirs, strict=True)]).amax(dim=0)

    return agree


def _seek(agree: Agreement, windows: torch.Tensor, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
    """Move and stretch windows step by step to where the images agree best; return them and the agreement."""
    import torch

    best = agree(windows)
    for step in stage.steps:
        for move in stage.moves:
            for sign in (-step, step):
                tried = windows + sign * torch.tensor(move)
                agreed = agree(tried)
                windows = torch.where((agreed > best)[:, None], tried, windows)
                best = torch.maximum(best, agreed)
    return windows, best


def _gradients(images: torch.Tensor) -> torch.Tensor:
    """Return the gradients of images (n, side, side) as (n, 2, side, side); 0 at the end of each row and column."""
    import torch
    from torch.nn import functional

    across, down = functional.pad(images.diff(dim=-1), (0, 1)), functional.pad(images.diff(dim=-2), (0, 0, 0, 1))
    return torch.stack([across, down], dim=1)


def _level(images: torch.Tensor) -> torch.Tensor:
    """Return the gradients of images, each by the mean strength around it."""
    from torch.nn import functional

    gradients = _gradients(images)
    energy = functional.avg_pool2d(
        gradients.square().sum(dim=1, keepdim=True), NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False
    )
    return gradients / (energy + NOISE**2).sqrt()


def _rests(images: torch.Tensor) -> list[torch.Tensor]:
    """Return images whole, and without a bar at each of their sides."""
    return [images, *beside_bars(images)]


def _unit(images: torch.Tensor) -> torch.Tensor:
    """Return each image (n, ...) as a row of unit length; 0 where flat."""
    rows = images.flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-3)


def _shrink(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return images (n_images, side, side) at another size."""
    from torch.nn import functional

    return functional.interpolate(images[:, None], (side, side), mode="bilinear", antialias=True)[:, 0]


Outline = Callable[["torch.Tensor"], "torch.Tensor"]  # of images (n, side, side)
Agreement = Callable[["torch.Tensor"], "torch.Tensor"]  # of windows (n_pairs, 4): (n_pairs,), -1..1


@dataclass(frozen=True)
class Stage:
    """Say how windows are moved, roughly or exactly, and which pairs are worth the next stage.

    `steps` are shares of half the image; below the agreement `floor` a pair is given up.
    """

    outline: Outline
    side: int
    moves: tuple[tuple[int, int, int, int], ...]
    steps: tuple[float, ...]
    floor: float


ROUGH = (Stage(_gradients, 32, SHIFTS, (0.05, 0.025, 0.012), 0.8),)
EXACT = (
    Stage(_level, 48, SHIFTS + STRETCHES, (0.012,), 0.6),
    Stage(_level, 48, SHIFTS + STRETCHES, (0.006, 0.003), -1.0),
)
"""Gradients are brought to the strength of those around them: a cap, a bottle or a sheet of paper has an outline that
any other one shares, but not its grain, its print and its shadows."""
