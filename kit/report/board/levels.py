"""The levels of a hierarchy: how good a run is at each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from kit.core.errors import InputError
from kit.core.terminal import empty_table, escape
from kit.data.prepared import Prepared
from kit.runs.store import Result, decided_rows
from kit.scoring.metrics import score_with_error

FINEST = "classes"  # stands for the level of the classes themselves

Score = tuple[float, float]


def score_levels(prepared: Prepared, result: Result) -> dict[str, Score | None]:
    """Score a run's oof at every level of the hierarchy, the coarsest first.

    With one label per image it is the accuracy of `kit.scoring.hierarchy.Hierarchy.best_paths`: what is said at one
    level is above what is said at the next. With several it is the macro F1 of the classes that have as many ancestors.

    Parameters
    ----------
    prepared
        The competition made ready; it has a hierarchy.
    result
        The run.

    Returns
    -------
    dict
        Score and standard error by level; None where no scored image is of a class of the level, nor said to be.
    """
    labels, proba = decided_rows(prepared, result)
    tree, groups = prepared.hierarchy, prepared.scored_groups
    if labels.ndim == 2:
        depth = tree.ancestors.sum(axis=1)
        columns = {f"level_{own}": np.flatnonzero(depth == own) for own in np.unique(depth)}
        return {name: _macro_f1(labels[:, own], proba[:, own], groups) for name, own in columns.items()}
    said = tree.best_paths(proba)
    codes = {name: level.codes for name, level in tree.levels.items()} | {FINEST: np.arange(len(prepared.classes))}
    return {name: _accuracy(own[labels], own[said], groups) for name, own in codes.items()}


def render_levels(prepared: Prepared, scores: Mapping[str, Mapping[str, Score | None]]) -> Table:
    """Return a table of runs by levels, from what `score_levels` gave of each."""
    metric = "macro F1" if prepared.labels.ndim == 2 else "accuracy of one path"
    table = empty_table(f"{metric} at each level, ± standard error")
    for header in ("run", *next(iter(scores.values()))):
        table.add_column(escape(header))
    for name, own in scores.items():
        table.add_row(
            escape(name), *("" if found is None else "{:.4f} ± {:.4f}".format(*found) for found in own.values())
        )
    return table


def _macro_f1(labels: np.ndarray, proba: np.ndarray, groups: np.ndarray) -> Score | None:
    try:
        return score_with_error("macro_f1", labels, proba, groups)
    except InputError:
        return None


def _accuracy(labels: np.ndarray, said: np.ndarray, groups: np.ndarray) -> Score:
    n_classes = int(max(labels.max(), said.max())) + 1
    return score_with_error("accuracy", labels, np.eye(n_classes, dtype=np.float32)[said], groups)
