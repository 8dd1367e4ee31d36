"""Where an image lies within another, by their thumbnails: all windows and all eight ways are tried.

One of two images is taken as the whole, of which windows are cut, the other as what may fill one. A crop lies in its
original so, and an original in its framed copy. Reads and writes nothing.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.core import terminal
from kit.core.process import count_threads, open_threads
from kit.core.shapes import Pixels, Rows, Scores
from kit.features.altered.symmetries import N_TURNS, NAMES

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

    greys, windows = to_greys(thumbnails), _list_windows()
    small = functional.interpolate(greys[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0]
    inner, cutter = _Inner.of(_take_gradients(small)), _Cutter.of(windows, greys.shape[-1])
    agreement = np.empty((len(first), N_TRIED), dtype=np.float32)
    ways, at = np.empty((len(first), N_TRIED), dtype=np.int64), np.empty((len(first), N_TRIED), dtype=np.int64)
    wholes, of_pair = np.unique(first, return_inverse=True)
    order = np.argsort(of_pair, kind="stable")
    starts = np.searchsorted(of_pair[order], np.arange(0, len(wholes), WHOLES))
    starts = np.union1d(starts, np.arange(0, len(order), PAIRS))
    blocks = np.split(order, starts[1:]) if len(order) else []

    def fit(pairs: Rows) -> tuple[Scores, Rows, Rows]:
        held, n_each = np.unique(of_pair[pairs], return_counts=True)
        cuts = describe(cutter.cut(greys[wholes[held]]))
        parts = _describe_parts(inner.gradients[wholes[held]])
        return _take_best(_fit(torch.cat([cuts, parts], dim=1), inner, second[pairs], n_each))

    with open_threads(count_threads()) as threads:
        fitted = zip(blocks, [threads.submit(fit, pairs) for pairs in blocks], strict=True)
        for pairs, best in terminal.track(list(fitted), "altered copies"):
            agreement[pairs], ways[pairs], at[pairs] = best.result()
    return Placements(agreement, ways, np.array(windows, dtype=np.float32)[at])


@dataclass(frozen=True)
class _Inner:
    """Hold the gradients of images (n_images, n_gradients), and their lengths in each of the eight ways.

    Of the whole image `lengths` (n_images, n_ways), of what lies beside a bar `part_lengths` (n_images, n_ways, 4): the
    mean is taken off. Nothing is turned for that: turning moves gradients and changes their signs.
    """

    gradients: torch.Tensor
    lengths: torch.Tensor
    part_lengths: torch.Tensor

    @classmethod
    def of(cls, gradients: torch.Tensor) -> _Inner:
        import torch

        index, sign = _list_moves()
        parts = torch.cat([torch.ones(1, gradients.shape[1]), _list_parts()])  # the whole, then beside each bar
        sums = torch.zeros(len(index), len(parts), gradients.shape[1])
        sums.scatter_(2, index[:, None].expand(-1, len(parts), -1), parts * sign[:, None])
        totals = torch.einsum("ng,wpg->nwp", gradients, sums)
        squares = torch.einsum("ng,wpg->nwp", gradients.square(), sums.abs())
        spread = squares - totals.square() / parts.sum(dim=1)
        lengths = spread.clamp_min(0).sqrt().clamp_min(FLAT)
        return cls(gradients, lengths[..., 0], lengths[..., 1:])


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


@dataclass(frozen=True)
class _Cutter:
    """Cut the same windows of many images, along one axis after the other: `cut`, but in a tenth of the time.

    Parameters
    ----------
    spans
        (n_spans, SIDE, side): what takes the pixels of one span of rows, or of columns, from an image's.
    of_rows
        By span of the rows: which spans of the columns go with it, and the windows' places.
    n_windows
        How many windows there are.
    """

    spans: torch.Tensor
    of_rows: dict[int, tuple[list[int], list[int]]]
    n_windows: int

    @classmethod
    def of(cls, windows: list[tuple[float, float, float, float]], side: int) -> _Cutter:
        import torch

        spans = list(dict.fromkeys(span for width, height, x, y in windows for span in ((height, y), (width, x))))
        of_rows: dict[int, tuple[list[int], list[int]]] = {}
        for place, (width, height, x, y) in enumerate(windows):
            columns, places = of_rows.setdefault(spans.index((height, y)), ([], []))
            columns.append(spans.index((width, x)))
            places.append(place)
        return cls(torch.stack([_resample(*span, side) for span in spans]), of_rows, len(windows))

    def cut(self, images: torch.Tensor) -> torch.Tensor:
        """Return the windows of images (n_images, side, side) as squares (n_images, n_windows, SIDE, SIDE)."""
        across = (images @ self.spans.flatten(0, 1).T).unflatten(2, self.spans.shape[:2])
        squares = images.new_empty(len(images), self.n_windows, SIDE, SIDE)
        for span, (columns, places) in self.of_rows.items():
            rows = self.spans[span] @ across[:, :, columns].flatten(2)  # (n_images, SIDE, n_columns * SIDE)
            squares[:, places] = rows.unflatten(2, (-1, SIDE)).transpose(1, 2)
        return squares


def _resample(share: float, middle: float, side: int) -> torch.Tensor:
    """Return what takes SIDE pixels of a span from `side` ones, (SIDE, side): between the two that are nearest."""
    import torch

    centres = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    at = (((middle + share * centres + 1) * side - 1) / 2).clamp(0, side - 1)
    low = at.floor().clamp_max(side - 2)
    rows, low, weight = torch.arange(SIDE), low.long(), at - low
    matrix = torch.zeros(SIDE, side)
    matrix[rows, low], matrix[rows, low + 1] = 1 - weight, weight
    return matrix


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


def _fit(wholes: torch.Tensor, inner: _Inner, second: Rows, n_each: Rows) -> torch.Tensor:
    """Return how well each image, in each way, fits each window of its whole, (n_pairs, n_ways, n_windows).

    `wholes` are the described windows and, as the last four, what lies beside a bar; `n_each` says how many pairs in
    turn each whole has.
    """
    import torch

    index, sign = _list_moves()
    laid = inner.gradients[second][:, index.flatten()].unflatten(1, index.shape).mul_(sign)
    parts = zip(laid.split(n_each.tolist()), wholes, strict=True)
    fits = torch.cat([(rows.flatten(0, 1) @ windows.T).unflatten(0, rows.shape[:2]) for rows, windows in parts])
    n_parts = inner.part_lengths.shape[-1]
    beside = (fits[..., -n_parts:] / inner.part_lengths[second]).amax(dim=-1)
    fits = fits[..., :-n_parts] / inner.lengths[second][..., None]
    fits[..., 0] = torch.maximum(fits[..., 0], beside)
    return fits


def _describe_parts(gradients: torch.Tensor) -> torch.Tensor:
    """Return gradients (n, n_gradients) beside a bar at each side, (n, 4, n_gradients), of mean 0 and unit length."""
    parts = _list_parts()
    rows = gradients[:, None] * parts
    rows = (rows - rows.sum(dim=-1, keepdim=True) / parts.sum(dim=1)[:, None]) * parts
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(FLAT)


@functools.cache
def _list_moves() -> tuple[torch.Tensor, torch.Tensor]:
    """Return, of an image laid in each way, which gradient of the image each of its own is, and with which sign.

    Both are (n_ways, n_gradients), in the order of `_take_gradients`.
    """
    import torch

    n_across = SIDE * (SIDE - 1)
    numbers = torch.arange(1, 2 * n_across + 1)  # from 1 on, so that each has a sign
    across, down = numbers[:n_across].view(SIDE, SIDE - 1), numbers[n_across:].view(SIDE - 1, SIDE)
    moves = []
    for way in range(len(NAMES)):
        across_now, down_now = (-across.flip(-1), down.flip(-1)) if way >= N_TURNS else (across, down)
        for _ in range(way % N_TURNS):
            across_now, down_now = torch.rot90(down_now), -torch.rot90(across_now)
        moves.append(torch.cat([across_now.flatten(), down_now.flatten()]))
    together = torch.stack(moves)
    return together.abs() - 1, together.sign().float()


@functools.cache
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
