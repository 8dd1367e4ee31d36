"""Show a layout as a table, for a person to confirm."""

from __future__ import annotations

from rich.table import Table

from kit.core.errors import some
from kit.core.names import MULTILABEL
from kit.core.terminal import empty_table, escape
from kit.curate.start.hints import LABELED, TEST, UNLABELED, VALIDATION
from kit.curate.start.layout import Layout
from kit.curate.start.templates import toml_source


def describe_layout(layout: Layout) -> Table:
    """Return what was inferred of a folder of images as a table."""
    table = empty_table(f"what lies in {layout.root}")
    for column in ("", "where", "images", ""):
        table.add_column(column, justify="right" if column == "images" else "left", overflow="fold")
    several = ", several per image" if layout.task == MULTILABEL else ""
    classes = f"{len(layout.classes)} classes{several}: {some(layout.classes)}"
    details = {LABELED: classes, VALIDATION: "not used: the folds do its work; its images may join the labelled ones"}
    sources = {LABELED: layout.labeled, UNLABELED: layout.unlabeled, TEST: layout.test, VALIDATION: layout.validation}
    for split, source in sources.items():
        where = escape(toml_source(source)) if source else "none found"
        if source or split != VALIDATION:
            n_images = f"{layout.counts[split]:,}" if source else ""
            table.add_row(split, where, n_images, escape(details.get(split, "")))
    table.add_row("sample submission", escape(layout.sample_submission or "none found"), "", "")
    if layout.solution:
        table.add_row("solution", escape(layout.solution), "", "practice: scores submissions, read by nothing else")
    return table
