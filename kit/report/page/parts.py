"""What a section is made of: texts, tables, charts and pictures, as data; how they look is the page's affair.

A chart is its numbers and the names of its axes. The page draws it with Plotly, ``pictures`` with matplotlib, and
`Chart.rows` gives the table behind it: the three cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST, TAIL = 28, 10  # characters of a name beside an axis, and of its end
IN_LEGEND = 44  # characters of a name in a legend


@dataclass(frozen=True)
class Text:
    """Hold a paragraph; `tone` is ``"plain"``, ``"note"`` or ``"warning"``."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class SortableTable:
    """Hold a table that sorts by any column; its rows hold text, numbers or `Measured`.

    The caption says what must be known to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Measured:
    """Hold a number with its standard error; sorted by the number."""

    value: float | None
    error: float | None = None
    digits: int = 3

    def __str__(self) -> str:
        if self.value is None or not np.isfinite(self.value):
            return ""
        text = f"{self.value:.{self.digits}f}"
        return text if self.error is None else f"{text} ± {self.error:.{self.digits}f}"


@dataclass(frozen=True)
class Series:
    """Hold one line, or one colour of bars.

    Parameters
    ----------
    x
        (n,) numbers, or names of bars.
    y
        (n,) numbers; None or NaN where there is none.
    error
        (n,) standard errors, or None.
    kind
        ``"line"``, ``"points"``, ``"bars"``, ``"dashes"``, or ``"steps"`` for a line without points.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[float | None]
    error: Sequence[float | None] | None = None
    kind: str = "line"


@dataclass(frozen=True)
class Chart:
    """Hold what every chart has.

    Files are named by `key`, of letters, digits and dashes, unique on the page. The caption says what must be known to
    read it.
    """

    key: str
    title: str
    x_title: str = ""
    y_title: str = ""
    caption: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """Return the numbers behind the chart, one mapping per row of its CSV."""
        raise NotImplementedError


@dataclass(frozen=True)
class Plot(Chart):
    """Draw series over one pair of axes.

    Parameters
    ----------
    x_range, y_range
        Ends of the series' x and y; None to fit the numbers.
    is_log
        Whether the vertical axis is logarithmic.
    upright
        Draw with the series' x - names - on the vertical axis: long ones stay readable.
    """

    series: Sequence[Series] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    is_log: bool = False
    upright: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per point: series, x, y and, where it is known, its standard error."""
        rows = []
        for line in self.series:
            errors = line.error if line.error is not None else [None] * len(line.x)
            for x, y, error in zip(line.x, line.y, errors, strict=True):
                rows.append({"series": line.name, "x": x, "y": y, "se": error})
        return rows


@dataclass(frozen=True)
class Heatmap(Chart):
    """Draw a matrix in colours.

    Parameters
    ----------
    values
        (n_rows, n_columns); NaN where there is none.
    order
        Another order of rows and columns that the reader may choose, such as similar classes side by side.
    shares
        Whether the reader may choose shares of each row in place of counts.
    """

    row_names: Sequence[str] = ()
    column_names: Sequence[str] = ()
    values: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0)))
    order: Sequence[int] | None = None
    shares: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per cell: row, column, value."""
        return [
            {"row": self.row_names[i], "column": self.column_names[j], "value": value}
            for (i, j), value in np.ndenumerate(np.asarray(self.values))
        ]


@dataclass(frozen=True)
class Matrices(Chart):
    """Draw one 2 x 2 matrix per class: the labels against the predictions.

    `values` are (n_classes, 2, 2) counts; first what is not of the class, then what is.
    """

    names: Sequence[str] = ()
    values: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 2, 2)))

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per class: true and false negatives and positives."""
        return [
            {
                "class": name,
                "true_negative": counts[0, 0],
                "false_positive": counts[0, 1],
                "false_negative": counts[1, 0],
                "true_positive": counts[1, 1],
            }
            for name, counts in zip(self.names, self.values, strict=True)
        ]


@dataclass(frozen=True)
class Tile:
    """Hold one picture of a gallery: a file, what stands below it, and whether it is good or bad news."""

    path: str
    lines: Sequence[str]
    tone: str = "plain"


@dataclass(frozen=True)
class Gallery:
    """Hold pictures side by side."""

    title: str
    tiles: Sequence[Tile]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """Hold a picture that a command has written: a PNG file, and what it shows."""

    title: str
    path: str
    caption: str = ""


@dataclass(frozen=True)
class Fold:
    """Hold parts that open on demand."""

    title: str
    parts: Sequence[Part]
    is_open: bool = False


Part = Text | SortableTable | Chart | Gallery | Picture | Fold


@dataclass(frozen=True)
class Section:
    """Hold one section: the name of its anchor, its heading and its parts."""

    key: str
    title: str
    parts: Sequence[Part]


def shorten(name: str, longest: int = LONGEST) -> str:
    """Return a name that leaves a chart its room: of a long one the beginning and the end."""
    return name if len(name) <= longest else f"{name[: longest - TAIL - 1]}…{name[-TAIL:]}"


def charts_of(parts: Sequence[Part]) -> list[Chart]:
    """Return every chart among parts, those inside folds too, in their order."""
    charts: list[Chart] = []
    for part in parts:
        if isinstance(part, Fold):
            charts += charts_of(part.parts)
        elif isinstance(part, Chart):
            charts.append(part)
    return charts
