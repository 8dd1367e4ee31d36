"""Write digits as a pen does: a few skeletons per digit, jittered, as smooth paths.

How handwriting differs from type is written down here: open fours, ones without a foot, sevens with a bar,
twos with a loop, eights that do not close. Reads and writes no files; `kit.bench.pretrain.glyphs` makes images of the
paths.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

JITTER = 0.04  # standard deviation of a point of the path, in boxes
WIDTHS = (0.55, 0.95)  # of a digit, in boxes; every digit is one box high
STEPS = 8  # points per segment of a path: about one pixel apart in a box of 32

# Paths of the pen in percent of the box, x right, y down: "x,y x,y ..."; "/" lifts the pen; a point written
# twice is a corner, elsewhere the path is smooth.
SKELETONS: dict[str, tuple[str, ...]] = {
    "0": (
        "50,0 18,18 10,50 18,82 50,100 82,82 90,50 82,18 50,0",
        "65,4 30,12 12,55 28,95 60,98 88,60 80,18 55,2 40,8",
        "50,0 30,15 22,50 30,85 50,100 70,85 78,50 70,15 50,0",
    ),
    "1": (
        "50,0 50,50 50,100",
        "28,24 54,0 54,0 52,50 50,100",
        "15,32 55,0 55,0 55,50 55,100",
        "30,20 52,0 52,0 52,97 52,97 / 20,98 80,98",
    ),
    "2": (
        "12,22 35,2 68,5 80,26 62,52 34,76 10,97 10,97 50,97 92,97",
        "10,20 38,2 72,8 78,32 55,65 28,94 10,86 24,72 55,86 92,97",
        "15,12 45,0 80,14 70,45 30,82 15,98 15,98 55,92 90,96",
        "8,8 50,0 84,12 70,50 35,85 12,97 12,97 90,90",
    ),
    "3": (
        "12,14 42,0 76,12 74,36 40,47 40,47 80,58 86,82 52,100 10,88",
        "10,4 82,3 82,3 44,40 44,40 84,58 82,90 46,100 8,90",
        "15,10 55,0 80,18 62,42 35,48 66,52 82,74 60,97 12,95",
        "20,6 60,0 72,20 40,44 40,44 72,56 68,84 20,100",
    ),
    "4": (
        "22,0 14,28 10,56 10,56 50,56 90,52 / 68,22 64,60 60,100",
        "15,2 10,35 26,56 60,52 88,42 / 80,2 72,50 64,100",
        "64,0 34,34 6,66 6,66 96,66 / 66,2 65,50 64,100",
        "62,100 68,50 72,0 72,0 8,62 8,62 95,62",
        "50,0 30,30 8,62 8,62 50,66 90,60 / 62,36 60,70 56,100",
    ),
    "5": (
        "86,2 22,2 22,2 16,44 16,44 52,38 86,60 76,90 42,100 8,90",
        "22,4 18,44 18,44 56,40 84,66 60,98 12,93 / 22,4 84,0",
        "80,2 38,6 24,28 48,46 76,64 72,90 40,100 12,92",
        "90,0 35,4 35,4 25,42 25,42 60,46 72,72 50,96 10,98",
    ),
    "6": (
        "70,0 32,24 12,64 30,97 64,97 84,72 60,52 28,60 16,76",
        "58,0 26,40 16,78 42,100 76,88 76,62 48,54 22,74",
        "82,6 50,2 22,30 14,70 40,100 80,86 74,58 40,54 18,70",
        "40,0 24,40 18,75 36,98 66,96 80,78 64,62 36,68 22,84",
    ),
    "7": (
        "8,5 88,4 88,4 62,45 40,100",
        "8,5 86,4 86,4 60,45 40,100 / 25,52 82,48",
        "10,18 12,4 50,6 88,4 88,4 58,50 46,100",
        "12,8 50,2 84,8 74,40 46,100 / 22,56 86,46",
        "20,4 76,2 76,2 70,50 62,100 / 36,50 96,46",
    ),
    "8": (
        "80,16 48,0 20,16 42,42 74,66 72,92 42,100 18,84 36,58 72,34 80,16",
        "50,0 24,10 26,38 50,47 76,36 76,10 50,0 / 50,47 18,62 20,92 50,100 82,90 80,60 50,47",
        "72,10 44,2 30,22 52,44 66,66 60,94 36,96 30,74 50,50 74,26 72,10",
        "86,12 50,0 16,14 38,42 70,62 62,98 28,96 34,64 86,12",
    ),
    "9": (
        "82,22 52,1 20,16 20,42 50,52 78,36 82,20 82,20 76,60 62,100",
        "80,20 48,0 18,22 34,50 66,44 80,18 80,18 82,62 60,98 22,92",
        "76,14 44,2 22,24 40,46 70,36 78,10 78,10 72,55 68,100",
        "70,8 36,2 18,26 40,44 68,30 74,8 74,8 60,60 36,100",
    ),
}  # fmt: skip


def write_digit(digit: str, n: int, generator: Generator) -> list[Tensor]:
    """Write one digit `n` times, each of its skeletons about equally often.

    Parameters
    ----------
    digit
        ``"0"`` to ``"9"``.

    Returns
    -------
    list of Tensor
        One (n_written, n_points, 2) tensor per skeleton: points of the pen's path, x right and y down, in
        boxes about the box's centre, so mostly within -0.5..0.5.
    """
    skeletons = SKELETONS[digit]
    shares = [len(range(i, n, len(skeletons))) for i in range(len(skeletons))]
    return [_follow(skeleton, share, generator) for skeleton, share in zip(skeletons, shares, strict=True)]


def _follow(skeleton: str, n: int, generator: Generator) -> Tensor:
    """Return `n` jittered paths (n, n_points, 2) through a skeleton; points that meet in it go on meeting."""
    strokes = [stroke.split() for stroke in skeleton.split("/")]
    places = {place: i for i, place in enumerate(dict.fromkeys(p for stroke in strokes for p in stroke))}
    points = torch.tensor([[float(percent) for percent in place.split(",")] for place in places]) / 100 - 0.5
    points = points + JITTER * torch.randn(n, len(places), 2, generator=generator)
    low, high = WIDTHS
    width = low + (high - low) * torch.rand(n, 1, generator=generator)
    points = torch.stack((points[..., 0] * width, points[..., 1]), -1)
    return torch.cat([_smooth(points[:, [places[place] for place in stroke]]) for stroke in strokes], 1)


def _smooth(points: Tensor) -> Tensor:
    """Return the Catmull-Rom spline through `points` (n, n_points, 2), `STEPS` points per segment."""
    p = torch.cat((points[:, :1], points, points[:, -1:]), 1).unsqueeze(2)  # (n, n_points + 2, 1, 2)
    a, b, c, d = p[:, :-3], p[:, 1:-2], p[:, 2:-1], p[:, 3:]
    t = torch.linspace(0, 1, STEPS).view(-1, 1)
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.flatten(1, 2)
