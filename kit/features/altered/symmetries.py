"""The eight ways to lay a square: turned by quarters, and mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

N_TURNS = 4
NAMES = ("", "turned by 90°", "turned by 180°", "turned by 270°")
NAMES += ("mirrored", "mirrored and turned by 90°", "turned upside down and mirrored", "mirrored and turned by 270°")


def lay_in_all_ways(squares: torch.Tensor) -> torch.Tensor:
    """Return (n, 8, side, side) of (n, side, side): as they are, turned, mirrored, mirrored and turned."""
    import torch

    return torch.stack([lay(squares, way) for way in range(len(NAMES))], dim=1)


def lay(squares: torch.Tensor, way: int) -> torch.Tensor:
    """Return (..., side, side) in one of the eight ways, by its place in `NAMES`."""
    import torch

    sides = squares.flip(-1) if way >= N_TURNS else squares
    return torch.rot90(sides, way % N_TURNS, (-2, -1))
