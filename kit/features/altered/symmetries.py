"""The eight ways to lay a square: turned by quarters, and mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

N_TURNS = 4
NAMES = ("", "turned by 90°", "turned by 180°", "turned by 270°")
NAMES += ("mirrored", "mirrored and turned by 90°", "turned upside down and mirrored", "mirrored and turned by 270°")


def lay(squares: torch.Tensor, way: int) -> torch.Tensor:
    """Return (..., side, side) in one of the eight ways, by its place in `NAMES`."""
    import torch

    sides = squares.flip(-1) if way >= N_TURNS else squares
    return torch.rot90(sides, way % N_TURNS, (-2, -1))
