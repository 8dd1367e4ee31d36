"""Mistakes: the labelled images whose out-of-fold decision is not their label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Labels, Rows, Scores
from kit.data.prepared import Prepared
from kit.runs.store import Result, decided_rows
from kit.scoring.metrics import decide


@dataclass(frozen=True)
class Mistaken:
    """Hold what a run said of the scored images, in their order, and which of it is wrong.

    Parameters
    ----------
    labels, predicted
        Class codes, or rows of 0 and 1 where an image may have several labels.
    sureness
        How sure the run was, 0..1; of several labels, how far off its worst decision is.
    order
        The positions of the mistakes, those that the run was surest of first.
    """

    labels: Labels
    predicted: Labels
    sureness: Scores
    order: Rows


def share_wrong(prepared: Prepared, result: Result) -> float:
    """Return which share of the scored images a run mistakes, 0..1; of several labels, of those given or said."""
    ranked = rank_mistakes(prepared, result)
    if ranked.labels.ndim == 1:
        return len(ranked.order) / len(ranked.labels)
    either = (ranked.labels | ranked.predicted).sum()
    return float((ranked.labels != ranked.predicted).sum() / max(either, 1))


def rank_mistakes(prepared: Prepared, result: Result) -> Mistaken:
    """Return a run's mistakes out of fold, those that it was surest of first; a wrong label is often among them."""
    labels, proba = decided_rows(prepared, result)
    predicted = decide(proba, labels.ndim == 2)
    if labels.ndim == 2:
        wrong, sureness = (predicted != labels).any(axis=1), np.abs(proba - labels).max(axis=1)
    else:
        wrong, sureness = predicted != labels, proba.max(axis=1)
    return Mistaken(labels, predicted, sureness, np.flatnonzero(wrong)[np.argsort(-sureness[wrong], kind="stable")])
