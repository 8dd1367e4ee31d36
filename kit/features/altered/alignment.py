"""Whether an image really lies within another: placed exactly, do their pixels agree? Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.core.process import count_threads, open_threads
from kit.core.shapes import Rows, Scores
from kit.features.altered.windows import BAR, cut

if TYPE_CHECKING:
    import torch

SOURCE_SIDE = 72  # pixels of the greys that are given
NEIGHBOURHOOD = 9  # pixels, over which gradients are brought to one strength
NOISE = 4.0  # grey levels per pixel: weaker gradients stay weak
BLOCK = 64  # pairs
FLAT = 1e-3  # length of an outline, at least: what is flat agrees with nothing
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

    def move(rows: Rows) -> None:
        agreed = np.empty(0, dtype=np.float32)
        for stage in stages:
            agree = _compare(outer[rows], _shrink(inner[rows], stage.side), stage.outline)
            moved, scores = _seek(agree, torch.from_numpy(placed[rows]), stage)
            placed[rows], near = moved.numpy(), scores.numpy() >= stage.floor
            rows, agreed = rows[near], scores.numpy()[near]
            if not len(rows):
                return
        agreement[rows] = agreed

    with open_threads(count_threads()) as threads:
        blocks = np.split(np.arange(len(windows)), range(BLOCK, len(windows), BLOCK)) if len(windows) else []
        for block in [threads.submit(move, rows) for rows in blocks]:
            block.result()
    return agreement, placed


def _compare(outer: torch.Tensor, inner: torch.Tensor, outline: Outline) -> Agreement:
    """Return a function that correlates the outlines of windows and images, whole or beside a bar, at best."""
    theirs = outline(inner)  # (n_pairs, 2, side, side)
    their_length = _sum_rests(theirs.square()).sqrt().clamp_min(FLAT)

    def agree(windows: torch.Tensor) -> torch.Tensor:
        ours = outline(cut(outer, windows[:, None], inner.shape[-1])[:, 0])
        our_length = _sum_rests(ours.square()).sqrt().clamp_min(FLAT)
        return (_sum_rests(ours * theirs) / (our_length * their_length)).amax(dim=0)

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
    energy = gradients.square().sum(dim=1, keepdim=True)
    for window in ((NEIGHBOURHOOD, 1), (1, NEIGHBOURHOOD)):  # a mean of means: a fifth of the work
        padding = (window[0] // 2, window[1] // 2)
        energy = functional.avg_pool2d(energy, window, 1, padding, count_include_pad=False)
    return gradients / (energy + NOISE**2).sqrt()


def _sum_rests(values: torch.Tensor) -> torch.Tensor:
    """Return sums of (n, 2, side, side) over images, whole and without a bar at each of their sides, (5, n)."""
    import torch

    down, across = values.sum(dim=(1, 3)), values.sum(dim=(1, 2))  # (n, side) each
    bar = round(BAR * values.shape[-1])
    parts = [down, down[:, bar:], down[:, :-bar], across[:, bar:], across[:, :-bar]]
    return torch.stack([part.sum(dim=1) for part in parts])


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
