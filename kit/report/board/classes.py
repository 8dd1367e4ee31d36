"""One run, class by class: where the mean over all images comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from kit.core.terminal import empty_table, escape
from kit.data.prepared import Prepared
from kit.runs.store import Result, decided_rows
from kit.scoring.metrics import ClassScore, per_class


def score_classes(prepared: Prepared, result: Result) -> list[ClassScore]:
    """Return a run's out-of-fold precision, recall and F1 of every class, in the order of the classes."""
    labels, proba = decided_rows(prepared, result)
    return per_class(labels, proba, prepared.classes, prepared.scored_groups)


def render_classes(prepared: Prepared, result: Result, scores: Sequence[ClassScore], width: int) -> Table:
    """Return the classes as a Rich table that fits `width` characters, those of the lowest F1 first."""
    facts = prepared.competition.facts
    title = f"{result.name}, class by class ({facts.title})"
    table = empty_table(title, "out of fold; images of the class, and how many were said to be of it")
    columns = dict(COLUMNS)
    for spare in ("said", "images", "precision ± SE"):
        if _room(columns, scores) > width:
            columns.pop(spare)
    if _room(columns, scores) > width:
        columns = {
            "class": columns["class"],
            "F1": lambda score: _number(score.f1),
            "recall ± SE": columns["recall ± SE"],
        }
    for header in columns:
        is_name = header == "class"
        table.add_column(header, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for score in sorted(scores, key=lambda score: -1.0 if score.f1 is None else score.f1):
        table.add_row(*[escape(cell(score)) for cell in columns.values()])
    return table


def _room(columns: Mapping[str, Callable[[ClassScore], str]], scores: Sequence[ClassScore]) -> int:
    """Return the characters that a line of these columns takes."""
    return sum(3 + max(len(header), *(len(cell(score)) for score in scores)) for header, cell in columns.items())


def _number(value: float | None, error: float | None = None) -> str:
    """Return a share and its standard error where it has one, or nothing where no image defines it."""
    if value is None:
        return ""
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


COLUMNS: dict[str, Callable[[ClassScore], str]] = {
    "class": lambda score: score.name,
    "F1 ± SE": lambda score: _number(score.f1, score.f1_se),
    "precision ± SE": lambda score: _number(score.precision, score.precision_se),
    "recall ± SE": lambda score: _number(score.recall, score.recall_se),
    "images": lambda score: str(score.support),
    "said": lambda score: str(score.decided),
}
