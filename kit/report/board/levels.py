"""The levels of a hierarchy: how good a run is at each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from kit.core.errors import InputError
from kit.core.shapes import Groups, Labels, Proba
from kit.core.terminal import empty_table, escape
from kit.data.prepared import Prepared
from kit.runs.store import Result, decided_rows
from kit.scoring.metrics import score_with_error

FINEST = "classes"  # stands for the level of the classes themselves

LevelScore = tuple[float, float]


def score_levels(prepared: Prepared, result: Result) -> dict[str, LevelScore | None]:
    """Score a run's oof at every level of the hierarchy, the coarsest first.

    With one label per image it is the accuracy of `kit.scoring.hierarchy.Hierarchy.best_paths`: the class predicted at
    one level is above the one predicted at the next. With several it is the macro F1 of the classes that have as many
    ancestors.

    Returns
    -------
    dict
        Score and standard error by level, nothing without a hierarchy; None where no scored image is of a class of the
        level, nor predicted to be.
    """
    labels, proba = decided_rows(prepared, result)
    tree, groups = prepared.hierarchy, prepared.scored_groups
    if tree is None:
        return {}
    if labels.ndim == 2:
        depth = tree.ancestors.sum(axis=1)
        columns = {f"level_{level}": np.flatnonzero(depth == level) for level in np.unique(depth)}
        return {name: _macro_f1(labels[:, at], proba[:, at], groups) for name, at in columns.items()}
    predicted = tree.best_paths(proba)
    codes = {name: level.codes for name, level in tree.levels.items()} | {FINEST: np.arange(len(prepared.classes))}
    return {name: _accuracy(of[labels], of[predicted], groups) for name, of in codes.items()}


def render_levels(prepared: Prepared, scores: Mapping[str, Mapping[str, LevelScore | None]]) -> Table:
    """Return a table of runs by levels, from what `score_levels` gave of each."""
    metric = "macro F1" if prepared.labels.ndim == 2 else "accuracy of one path"
    table = empty_table(f"{metric} at each level, ± standard error")
    for header in ("run", *next(iter(scores.values()))):
        table.add_column(escape(header))
    for name, levels in scores.items():
        cells = ("" if score is None else "{:.4f} ± {:.4f}".format(*score) for score in levels.values())
        table.add_row(escape(name), *cells)
    return table


def _macro_f1(labels: Labels, proba: Proba, groups: Groups) -> LevelScore | None:
    try:
        return score_with_error("macro_f1", labels, proba, groups)
    except InputError:
        return None


def _accuracy(labels: Labels, predicted: Labels, groups: Groups) -> LevelScore:
    n_classes = int(max(labels.max(), predicted.max())) + 1
    return score_with_error("accuracy", labels, np.eye(n_classes, dtype=np.float32)[predicted], groups)
