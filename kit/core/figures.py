"""Pictures of numbers: an empty figure, and the PNG file that it becomes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DOTS_PER_INCH = 120
WITHOUT_GLYPH = "Glyph .* missing from"  # matplotlib's warning about a script that its font lacks


def empty_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", WITHOUT_GLYPH)
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, atomically; its folder is made."""
    with write_atomic(path) as file:
        file.write(png_of(figure))


def as_plain_text(texts: list[Text]) -> None:
    """Let texts of a figure show a dollar sign as such: names of classes and runs are data, no formulas."""
    for text in texts:
        text.set_parse_math(False)
