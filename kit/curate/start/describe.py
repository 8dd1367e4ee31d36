"""Show a layout as tables, for a person to confirm: which images there are, and why each choice was made."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from kit.core.errors import some
from kit.core.names import MULTILABEL
from kit.core.terminal import empty_table, escape
from kit.curate.start.layout import Layout
from kit.curate.start.roles import LABELED, TEST, UNLABELED, VALIDATION
from kit.curate.start.templates import toml_source


def describe_layout(layout: Layout) -> Table:
    """Return which images were found in a folder as a table."""
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
    if layout.left_aside:
        aside = some((f"{n:,} {kind}" for kind, n in layout.left_aside.items()), 6)
        table.add_row("left aside", escape(aside), "", "nothing reads these")
    return table


def describe_choices(layout: Layout) -> Table:
    """Return what was chosen as a table: the evidence, what was rejected, and the option that corrects it."""
    table = empty_table("what was taken for what, and why")
    for column in ("", "taken", "because", "to correct it"):
        table.add_column(column, overflow="fold")
    for choice in layout.choices:
        table.add_row(choice.question, *map(escape, (choice.value or "none", choice.reason, choice.option)))
    return table


def list_choices(layout: Layout) -> list[dict[str, Any]]:
    """Return the same for scripts."""
    return [
        {
            "question": choice.question,
            "value": choice.value or None,
            "evidence": choice.evidence,
            "rejected": list(choice.rejected),
            "option": choice.option or None,
            "is_guess": choice.is_guess,
        }
        for choice in layout.choices
    ]
