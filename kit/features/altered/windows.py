"""Where an image lies within another, by their thumbnails: all windows and all eight ways are tried.

One of two images is taken as the whole, of which windows are cut, the other as what may fill one. A crop lies in its
original so, and an original in its framed copy. Reads and writes nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.core import terminal
from kit.core.process import count_threads, open_threads
from kit.core.shapes import Pixels, Rows, Scores
from kit.features.altered.symmetries import lay_in_all_ways

if TYPE_CHECKING:
    import torch

SIDE = 12  # pixels that a window is compared at
CROPS = ((0.95, 1), (0.88, 3), (0.81, 4), (0.75, 5), (0.69, 6))  # share of the sides, places along each side
BARS = (0.93, 0.87, 0.81)  # share of one side; the other whole: a bar was added
BAR = 0.25  # share of an image that a bar laid over it may hide
N_TRIED = 3  # windows of different sizes that are looked at closely
WHOLES = 32  # images whose windows are held at a time: 4 MB
PAIRS = 4096  # pairs that are compared at a time, at most: 70 MB; few labels have the whole test set near them
FLAT = 1e-3  # length of a row of gradients, at least
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Placements:
    """Hold in which ways and windows the second image of each pair may lie in the first, the best first.

    Parameters
    ----------
    agreement
        Correlation of their gradients there (n_pairs, N_TRIED), -1..1.
    ways
        In which of the eight ways the second is laid (n_pairs, N_TRIED).
    windows
        Width, height and middle of the window in the first, (n_pairs, N_TRIED, 4): shares of its sides, and -1..1
        across it.
    """

    agreement: Scores
    ways: Rows
    windows: Scores


def place(thumbnails: Pixels, first: Rows, second: Rows) -> Placements:
    """Find where the `second` image of each pair fits best in the `first`, positions in `thumbnails`.

    These are (n_images, side, side, 3). The windows are those of crops down to 69 % of each side, of bars that were
    added, and the whole, or three quarters of it on both. What is returned are windows of different sizes.
    """
    import torch
    from torch.nn import functional

    greys, windows = to_greys(thumbnails), torch.tensor(_list_windows())
    small = functional.interpolate(greys[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0]
    agreement = np.empty((len(first), N_TRIED), dtype=np.float32)
    ways, at = np.empty((len(first), N_TRIED), dtype=np.int64), np.empty((len(first), N_TRIED), dtype=np.int64)
    wholes, of_pair = np.unique(first, return_inverse=True)
    order = np.argsort(of_pair, kind="stable")
    starts = np.searchsorted(of_pair[order], np.arange(0, len(wholes), WHOLES))
    starts = np.union1d(starts, np.arange(0, len(order), PAIRS))
    blocks = np.split(order, starts[1:]) if len(order) else []

    def fit(pairs: Rows) -> tuple[Scores, Rows, Rows]:
        held, n_each = np.unique(of_pair[pairs], return_counts=True)
        cuts = describe(cut(greys[wholes[held]], windows, SIDE))
        laid = lay_in_all_ways(small[second[pairs]])  # (n_pairs, n_ways, SIDE, SIDE)
        fits = _fit_whole(cuts, describe(laid), n_each)
        fits[..., 0] = torch.maximum(fits[..., 0], _fit_parts(small[first[pairs]], laid))
        return _take_best(fits)

    with open_threads(count_threads()) as threads:
        fitted = zip(blocks, [threads.submit(fit, pairs) for pairs in blocks], strict=True)
        for pairs, best in terminal.track(list(fitted), "altered copies"):
            agreement[pairs], ways[pairs], at[pairs] = best.result()
    return Placements(agreement, ways, windows.numpy()[at])


def _take_best(fit: torch.Tensor) -> tuple[Scores, Rows, Rows]:
    """Return the best agreement, way and window of each size, (n_pairs, N_TRIED) each, the best first."""
    import torch

    of_window, ways = fit.max(dim=1)  # (n_pairs, n_windows)
    sizes = of_window.split(_count_sizes(), dim=1)
    best = [size.max(dim=1) for size in sizes]
    offsets = np.cumsum([0, *(size.shape[1] for size in sizes[:-1])])
    scores = torch.stack([each.values for each in best], dim=1)
    at = torch.stack([each.indices + int(offset) for each, offset in zip(best, offsets, strict=True)], dim=1)
    chosen: torch.return_types.topk = scores.topk(N_TRIED, dim=1)
    at = at.gather(1, chosen.indices)
    return chosen.values.numpy(), ways.gather(1, at).numpy(), at.numpy()


def to_greys(pixels: Pixels) -> torch.Tensor:
    """Return (n_images, height, width) float32 greys, 0..255, of (n_images, height, width, 3)."""
    import torch

    return torch.from_numpy(pixels.astype(np.float32) @ np.array(GREY, dtype=np.float32))


def cut(images: torch.Tensor, windows: torch.Tensor, side: int) -> torch.Tensor:
    """Return windows of images (n_images, height, width) as squares (n_images, n_windows, side, side).

    `windows` is (n_windows, 4) for all images alike, or (n_images, n_windows, 4).
    """
    import torch
    from torch.nn import functional

    across = (torch.arange(side) + 0.5) / side * 2 - 1
    windows = windows.expand(len(images), *windows.shape[-2:])
    x = windows[..., 2, None] + windows[..., 0, None] * across  # (n_images, n_windows, side)
    y = windows[..., 3, None] + windows[..., 1, None] * across
    grid = torch.stack(torch.broadcast_tensors(x[..., None, :], y[..., :, None]), dim=-1)
    flat = grid.reshape(len(images), -1, side, 2)
    cuts = functional.grid_sample(images[:, None], flat, padding_mode="border", align_corners=False)
    return cuts.reshape(*windows.shape[:2], side, side)


def describe(squares: torch.Tensor) -> torch.Tensor:
    """Return the gradients of squares (..., side, side) as rows of mean 0 and unit length; 0 where flat."""
    rows = _take_gradients(squares)
    rows = rows - rows.mean(dim=-1, keepdim=True)
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(FLAT)


def _take_gradients(squares: torch.Tensor) -> torch.Tensor:
    """Return the gradients of squares (..., side, side) as rows, those across before those down."""
    import torch

    return torch.cat([squares.diff(dim=-1).flatten(-2), squares.diff(dim=-2).flatten(-2)], dim=-1)


def beside_bars(images: torch.Tensor) -> list[torch.Tensor]:
    """Return images (..., side, side) without a bar above, below, on the left and on the right."""
    bar = round(BAR * images.shape[-1])
    return [images[..., bar:, :], images[..., :-bar, :], images[..., bar:], images[..., :-bar]]


def _fit_whole(cuts: torch.Tensor, laid: torch.Tensor, n_each: Rows) -> torch.Tensor:
    """Return how well each image, in each way, fits each window of its whole, (n_pairs, n_ways, n_windows).

    `cuts` are the windows of the wholes, and `n_each` says how many pairs in turn each whole has.
    """
    import torch

    parts = zip(laid.split(n_each.tolist()), cuts, strict=True)
    return torch.cat([(rows.flatten(0, 1) @ windows.T).unflatten(0, rows.shape[:2]) for rows, windows in parts])


def _fit_parts(wholes: torch.Tensor, laid: torch.Tensor) -> torch.Tensor:
    """Return how well three quarters of each image fit the same of its whole, at best, (n_pairs, n_ways)."""
    parts = _list_parts()  # (n_parts, n_gradients)
    sizes = parts.sum(dim=1)
    ours = _take_gradients(wholes)[:, None] * parts  # (n_pairs, n_parts, n_gradients)
    ours = (ours - ours.sum(dim=-1, keepdim=True) / sizes[:, None]) * parts
    ours = ours / ours.norm(dim=-1, keepdim=True).clamp_min(FLAT)
    theirs = _take_gradients(laid)  # (n_pairs, n_ways, n_gradients)
    spread = theirs.square() @ parts.T - (theirs @ parts.T).square() / sizes
    lengths = spread.clamp_min(0).sqrt().clamp_min(FLAT)
    return ((theirs @ ours.mT) / lengths).amax(dim=-1)


def _list_parts() -> torch.Tensor:
    """Return which gradients lie beside a bar above, below, on the left and on the right, (4, n_gradients), 1 or 0."""
    import torch

    parts = []
    for side in range(4):
        inside = torch.zeros(SIDE, SIDE)
        beside_bars(inside)[side].fill_(1)
        parts.append(torch.cat([(inside[:, 1:] * inside[:, :-1]).flatten(), (inside[1:] * inside[:-1]).flatten()]))
    return torch.stack(parts)


def _list_windows() -> list[tuple[float, float, float, float]]:
    """Return the windows of an image that another may fill: the whole, then size after size."""
    windows = [(1.0, 1.0, 0.0, 0.0)]
    for share, n_places in CROPS:
        places = np.linspace(share - 1, 1 - share, n_places).tolist()
        windows += [(share, share, x, y) for x, y in itertools.product(places, places)]
    for share in BARS:
        windows += [(1.0, share, 0.0, middle) for middle in (share - 1, 0.0, 1 - share)]
    for share in BARS:
        windows += [(share, 1.0, middle, 0.0) for middle in (share - 1, 0.0, 1 - share)]
    return windows


def _count_sizes() -> list[int]:
    """Return how many windows of each size there are, in the order of `_list_windows`; bars count as two sizes."""
    return [1, *(n_places**2 for _, n_places in CROPS), 3 * len(BARS), 3 * len(BARS)]
