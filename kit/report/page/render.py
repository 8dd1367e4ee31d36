"""The page: sections, style, script and Plotly in one HTML file.

Jinja2 escapes every name; what scripts read is JSON in an element of its own. The page asks for nothing outside itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from kit.report.page.parts import (
    Fold,
    Gallery,
    Heatmap,
    Matrices,
    Measured,
    Picture,
    Plot,
    Section,
    SortableTable,
    Text,
)
from kit.report.page.plotly_json import to_json
from kit.report.page.thumbnails import embed_picture, embed_thumbnail

KINDS = {
    Text: "text",
    SortableTable: "table",
    Plot: "chart",
    Heatmap: "chart",
    Matrices: "matrices",
    Gallery: "gallery",
    Picture: "picture",
}


def render_page(title: str, made: str, sections: Sequence[Section]) -> str:
    """Return the page; `made`, below its heading, says when and by what."""
    import jinja2
    from plotly.offline import get_plotlyjs

    page = files("kit.report.page") / "template"
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"kind": _kind, "chart": to_json, "thumbnail": embed_thumbnail, "picture": embed_picture}
    environment.filters |= {"sort_value": _sort_value, "is_number": _is_number}
    template = environment.from_string((page / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        made=made,
        sections=sections,
        style=(page / "page.css").read_text(encoding="utf-8"),
        script=(page / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def _kind(part: object) -> str:
    """Return which macro of the template draws a part."""
    return "fold" if isinstance(part, Fold) else KINDS[type(part)]


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float, Measured)) and not isinstance(cell, bool)


def _sort_value(cell: Any) -> str:
    """Return what a column sorts by: a number where the cell holds one."""
    value = cell.value if isinstance(cell, Measured) else cell
    return "" if value is None else str(value)
