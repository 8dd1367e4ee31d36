"""What stands beside the competition's metric: scores that show what it may hide."""

from __future__ import annotations

from dataclasses import dataclass

from kit.core.errors import InputError
from kit.core.names import MULTICLASS, MULTILABEL
from kit.data.prepared import Prepared
from kit.runs.store import Result, decided_rows, oof_rows
from kit.scoring.metrics import estimate, find_metric

BESIDE = {
    MULTICLASS: ("accuracy", "balanced_accuracy", "macro_f1"),
    MULTILABEL: ("accuracy", "macro_f1", "micro_f1", "map"),
}


@dataclass(frozen=True)
class Score:
    """Hold a score, one standard error and the ends of the 95 % interval, in the metric's unit."""

    score: float
    se: float
    low: float
    high: float


def score_beside(prepared: Prepared, result: Result) -> dict[str, Score]:
    """Return a run's out-of-fold scores in the metrics that always count, save the competition's own.

    Thresholds count where decisions do: they differ by fold, and would mix up the order of the probabilities.
    """
    labels, decided = decided_rows(prepared, result)
    _, proba = oof_rows(prepared, result.predictions("oof"))
    scores = {}
    for name in BESIDE[prepared.competition.facts.task]:
        if name == prepared.metric.name:
            continue
        try:
            asked = decided if find_metric(name).needs == "labels" else proba
            scores[name] = Score(*estimate(name, labels, asked, prepared.scored_groups))
        except InputError:  # the competition's metric is what must be defined; one beside it may be missing
            continue
    return scores
