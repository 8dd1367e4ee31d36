"""Charts as PNG and CSV files, for a write-up and for whoever wants the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from kit.core.figures import as_plain_text, empty_figure, write_figure
from kit.core.files import write_csv
from kit.core.terminal import track
from kit.report.page.parts import IN_LEGEND, Chart, Heatmap, Matrices, Plot, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
INCHES_PER_NAME = 0.24
INCHES_PER_LETTER = 0.08
TITLE_LETTERS = 52  # of a line of a title
MATRICES_PER_ROW = 6
MOST_LEGEND = 12  # series that a legend names


def write_pictures(charts: Sequence[Chart], folder: Path) -> list[Path]:
    """Write KEY.png of every chart; return the files."""
    written = []
    for chart in track(charts, "png"):
        path = folder / f"{chart.key}.png"
        write_figure(path, DRAW[type(chart)](chart))
        written.append(path)
    return written


def write_numbers(charts: Sequence[Chart], folder: Path) -> list[Path]:
    """Write KEY.csv, the numbers behind every chart; return the files."""
    written = []
    for chart in charts:
        rows, path = chart.rows(), folder / f"{chart.key}.csv"
        write_csv(path, list(rows[0]) if rows else ["empty"], (row.values() for row in rows))
        written.append(path)
    return written


def _draw_plot(chart: Plot) -> Figure:
    names = list(dict.fromkeys(x for line in chart.series for x in line.x if isinstance(x, str)))
    length = max(6.5, INCHES_PER_NAME * len(names) + 1.5)
    figure = empty_figure(8, length) if chart.upright else empty_figure(length if names else 7, 4.5)
    axes = figure.subplots()
    for number in range(len(chart.series)):
        _draw_series(axes, chart, number, names)
    shown = [shorten(name) for name in names]
    if names and chart.upright:
        axes.set_yticks(range(len(names)), shown, parse_math=False)
        axes.invert_yaxis()
    elif names:
        axes.set_xticks(range(len(names)), shown, rotation=90, parse_math=False)
    across, along = ("y", "x") if chart.upright else ("x", "y")
    axes.set(xlabel=chart.x_title, ylabel=chart.y_title)
    if chart.x_range:
        axes.set(**{f"{across}lim": chart.x_range})
    if chart.y_range:
        axes.set(**{f"{along}lim": chart.y_range})
    if chart.is_log:
        axes.set(**{f"{along}scale": "log"})
    if 1 < len(chart.series) <= MOST_LEGEND:
        as_plain_text(axes.legend(fontsize=8).get_texts())
    axes.set_title(fill(chart.title, TITLE_LETTERS), parse_math=False)
    axes.grid(alpha=0.3)
    return figure


def _draw_series(axes: Axes, chart: Plot, number: int, names: list[str]) -> None:
    """Draw one series; bars of several series stand side by side."""
    line = chart.series[number]
    y = np.array([np.nan if value is None else value for value in line.y], dtype=float)
    at = np.array([names.index(x) if isinstance(x, str) else x for x in line.x], dtype=float)
    error = None if line.error is None else np.array([0 if value is None else value for value in line.error])
    if line.kind == "bars":
        n_bars = sum(other.kind == "bars" for other in chart.series)
        width = 0.8 / n_bars
        place, label = at + (number - (n_bars - 1) / 2) * width, shorten(line.name, IN_LEGEND)
        if chart.upright:
            axes.barh(place, y, width, label=label, xerr=error)
        else:
            axes.bar(place, y, width, label=label, yerr=error)
        return
    style = {"line": "o-", "points": "o", "dashes": ":", "steps": "-"}[line.kind]
    if chart.upright:
        axes.errorbar(y, at, xerr=error, fmt=style, label=shorten(line.name, IN_LEGEND), markersize=4)
    else:
        axes.errorbar(at, y, yerr=error, fmt=style, label=shorten(line.name, IN_LEGEND), markersize=4)


def _draw_heatmap(chart: Heatmap) -> Figure:
    values = np.asarray(chart.values, dtype=float)
    n_rows, n_columns = values.shape
    columns, rows = ([shorten(name) for name in names] for names in (chart.column_names, chart.row_names))
    width, height = max(3.0, INCHES_PER_NAME * n_columns) + 1.5, max(2.5, INCHES_PER_NAME * n_rows) + 1.0
    beside, below = (INCHES_PER_LETTER * max(map(len, names), default=0) for names in (rows, columns))
    figure = empty_figure(width + beside, height + below)
    axes = figure.subplots()
    lowest = 0 if np.nanmin(values, initial=0) >= 0 else None
    shown = axes.imshow(values, cmap="viridis", aspect="auto", vmin=lowest)
    axes.set_xticks(range(n_columns), columns, rotation=90, parse_math=False)
    axes.set_yticks(range(n_rows), rows, parse_math=False)
    axes.set(xlabel=chart.x_title, ylabel=chart.y_title)
    axes.set_title(fill(chart.title, TITLE_LETTERS), parse_math=False)
    figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure


def _draw_matrices(chart: Matrices) -> Figure:
    n_columns = min(len(chart.names), MATRICES_PER_ROW)
    n_rows = -(-len(chart.names) // n_columns)
    figure = empty_figure(2 * n_columns, 2 * n_rows + 0.6)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for panel in panels[len(chart.names) :]:
        panel.axis("off")
    for panel, name, counts in zip(panels, chart.names, chart.values, strict=False):
        panel.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
        panel.set_title(shorten(name), fontsize=8, parse_math=False)
        panel.set_xticks([0, 1], ["not said", "said"], fontsize=7)
        panel.set_yticks([0, 1], ["is not", "is"], fontsize=7)
        for (i, j), value in np.ndenumerate(counts):
            panel.text(j, i, str(value), ha="center", va="center", fontsize=8)
    return figure


DRAW = {Plot: _draw_plot, Heatmap: _draw_heatmap, Matrices: _draw_matrices}
