"""Charts as Plotly draws them: data and layout, JSON-like, without colours of the page's own.

Names are data: Plotly reads a few HTML tags in texts, so ``<`` and ``&`` are written as entities and stay text.
"""

from __future__ import annotations

import html
import json
import math
from typing import Any

import numpy as np

from kit.report.page.parts import IN_LEGEND, LONGEST, Heatmap, Plot, Series, shorten

MODES = {"line": "lines+markers", "points": "markers", "dashes": "lines", "steps": "lines"}
ROW_PIXELS = 22  # of an upright plot, for each name
MARGIN_PIXELS = 110
HEIGHT = 380  # pixels
LETTER_PIXELS = 7
MANY = 20  # names: turned by half a right angle they would run into each other
STANDOFF = 12  # pixels between an axis's names and its title
SHORT = 3  # characters of a name that need not be turned to stand below a column


def to_json(chart: Plot | Heatmap) -> str:
    """Return a chart as JSON that is safe inside a script element: data, layout, and a heatmap's choices."""
    figure = _heatmap(chart) if isinstance(chart, Heatmap) else _plot(chart)
    text = json.dumps(_finite(figure), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plot(chart: Plot) -> dict[str, Any]:
    height = HEIGHT
    if chart.upright:
        names = {name for line in chart.series for name in line.x}
        height = max(HEIGHT // 2, ROW_PIXELS * len(names) + MARGIN_PIXELS)
    x_axis = {"title": _title(chart.x_title), "automargin": True}
    y_axis = {"title": _title(chart.y_title), "automargin": True}
    x_axis |= {"range": chart.x_range} if chart.x_range else {}
    y_axis |= {"range": chart.y_range} if chart.y_range else {}
    y_axis |= {"type": "log"} if chart.is_log else {}
    if any(isinstance(x, str) for line in chart.series for x in line.x):
        x_axis["type"] = "category"  # a class called "1" is no number
    if chart.upright:
        x_axis, y_axis = y_axis, x_axis | {"autorange": "reversed"}
        x_axis["title"], y_axis["title"] = y_axis["title"], x_axis["title"]
    layout = {
        "height": height,
        "xaxis": x_axis,
        "yaxis": y_axis,
        "barmode": "group",
        "showlegend": len(chart.series) > 1,
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    }
    names = list(dict.fromkeys(x for line in chart.series for x in line.x if isinstance(x, str)))
    shown = dict(zip(names, _distinct([_text(name) for name in names]), strict=True))
    return {"data": [_trace(line, chart.upright, shown) for line in chart.series], "layout": layout}


def _trace(line: Series, upright: bool, shown: dict[str, str]) -> dict[str, Any]:
    """Return one series; upright, what is counted runs along the horizontal axis."""
    x = [shown[value] if isinstance(value, str) else value for value in line.x]
    along, across = ("x", "y") if upright else ("y", "x")
    trace: dict[str, Any] = {"name": _text(line.name, IN_LEGEND), across: x, along: list(line.y)}
    if line.kind == "bars":
        trace |= {"type": "bar", "orientation": "h" if upright else "v"}
    else:
        trace |= {"type": "scatter", "mode": MODES[line.kind]}
    if line.kind == "points":
        trace["marker"] = {"size": 10}
    if line.kind == "dashes":
        trace["line"] = {"dash": "dot"}
    if line.error is not None:
        trace[f"error_{along}"] = {"type": "data", "array": list(line.error), "thickness": 1.2}
    return trace


def _heatmap(chart: Heatmap) -> dict[str, Any]:
    n_letters = max((len(shorten(name)) for name in chart.column_names), default=0)
    angle = 0 if n_letters <= SHORT else -45 if len(chart.column_names) <= MANY else -90
    below = 0 if angle == 0 else n_letters * LETTER_PIXELS * (1 if angle == -90 else math.sqrt(0.5))
    layout = {
        "height": round(min(max(ROW_PIXELS * len(chart.row_names), 100) + below + MARGIN_PIXELS, 1300)),
        "xaxis": {"title": _title(chart.x_title), "type": "category", "automargin": True, "tickangle": angle},
        "yaxis": {
            "title": _title(chart.y_title),
            "type": "category",
            "automargin": True,
            "autorange": "reversed",
        },
    }
    return {
        "heatmap": {
            "z": np.asarray(chart.values).tolist(),
            "rows": _distinct([_text(name) for name in chart.row_names]),
            "columns": _distinct([_text(name) for name in chart.column_names]),
            "order": None if chart.order is None else [int(i) for i in chart.order],
            "shares": chart.shares,
        },
        "layout": layout,
    }


def _title(text: str) -> dict[str, Any]:
    """Return the title of an axis; it keeps off the names beside it."""
    return {"text": _text(text, IN_LEGEND), "standoff": STANDOFF}


def _text(value: str, longest: int = LONGEST) -> str:
    """Return a text that Plotly shows as it is, shortened where it would push the plot aside."""
    return html.escape(shorten(value, longest), quote=False)


def _distinct(names: list[str]) -> list[str]:
    """Keep names apart that look alike after shortening: a category axis would join them."""
    seen: dict[str, int] = {}
    apart = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        apart.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return apart


def _finite(value: Any) -> Any:
    """Return `value` with null for what JSON has no number for, and numbers short enough to read."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) or hasattr(value, "dtype"):
        number = float(value)
        if not math.isfinite(number):
            return None
        return int(number) if number.is_integer() and abs(number) < 1e15 else float(f"{number:.5g}")
    return value
