"""A run's CV: its oof in the order of the scored images, decided as today, and compared with another run's.

Arrays of predictions in, numbers out; writes nothing.
"""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core.activity import describe_machine
from kit.core.names import IS_CHECKOUT
from kit.core.rounding import list_versions
from kit.core.shapes import Labels, Proba
from kit.data.prepared import Prepared
from kit.runs.store.pairs import Apart, apart_in, pairs_of
from kit.runs.store.result import Result
from kit.runs.store.thresholds import decide_oof, decision_key, thresholds_of
from kit.scoring.metrics import Contest, compare_with_best, correct_best, count_zeros, estimate, paired_difference
from kit.scoring.predictions import Predictions


def describe_run(prepared: Prepared, name: str, oof: Predictions, apart: Apart | None = None) -> dict[str, Any]:
    """Return what every run's run.json says: score, standard error, versions, commit, time.

    `apart` chooses thresholds, where there are any: see `kit.runs.store.thresholds.thresholds_of`.
    """
    return _score(prepared, oof, apart) | {
        "name": name,
        "classes": prepared.classes,
        "fold_key": prepared.fold_key,
        "pool_key": prepared.pool.key,
        "versions": list_versions(),
        "kit": __version__,
        "commit": commit(),
        "machine": describe_machine(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def remark_on_zeros(prepared: Prepared, oof: Predictions) -> str | None:
    """Say how many labelled images have a probability of exactly 0 for their class, where log-loss counts."""
    if prepared.metric.name != "log_loss" or not (n := count_zeros(*oof_rows(prepared, oof))):
        return None
    return f"{n} images have a probability of exactly 0 for what they are; each costs about 36 in log_loss"


def score_anew(prepared: Prepared, result: Result, apart: Apart | None = None) -> Result:
    """Return a run scored by the competition's metric and thresholds, also if others counted when it was made.

    `apart` is that of an ensemble, as in `describe_run`; a run of pairs has its own.
    """
    today = (prepared.metric.key, decision_key(prepared))
    if (result.record.metric_key, result.record.decision) == today and result.record.interval is not None:
        return result
    return result.with_record(**_score(prepared, result.predictions("oof"), apart or apart_of(prepared, result)))


def apart_of(prepared: Prepared, result: Result) -> Apart | None:
    """Return what gives a run's rows outside a fold by models that did not see it; None of a run without pairs."""
    if pairs_of(prepared, result) is None:
        return None
    return apart_in(prepared, result.folder, result.record.chosen)


def _score(prepared: Prepared, oof: Predictions, apart: Apart | None) -> dict[str, Any]:
    """Return CV, standard error and 95 % interval in the competition's metric."""
    metric = prepared.metric
    labels, proba = oof_rows(prepared, oof)
    thresholds = thresholds_of(prepared, labels, proba, apart)
    proba = decide_oof(prepared, proba, thresholds)
    cv, error, low, high = estimate(metric, labels, proba, prepared.scored_groups)
    return {
        "cv": cv,
        "se": error,
        "interval": [low, high],
        "metric": metric.name,
        "metric_key": metric.key,
        "left_out": list(metric.classes_left_out(labels, prepared.classes)),
        "decision": decision_key(prepared),
        "thresholds": None if thresholds is None else thresholds.model_dump(),
    }


def oof_rows(prepared: Prepared, oof: Predictions) -> tuple[Labels, Proba]:
    """Return labels and oof probabilities in the order of the scored images; a missing row raises InputError."""
    rows = prepared.scored_rows
    return prepared.labels[rows], oof.at(prepared.pool.ids[prepared.labeled[rows]]).proba


def decide_anew(prepared: Prepared, oof: Predictions, apart: Apart | None = None) -> tuple[Labels, Proba]:
    """Return what `oof_rows` does, for which one half is the threshold that the other folds choose today."""
    labels, proba = oof_rows(prepared, oof)
    return labels, decide_oof(prepared, proba, thresholds_of(prepared, labels, proba, apart))


def decided_rows(prepared: Prepared, result: Result) -> tuple[Labels, Proba]:
    """Return what `oof_rows` does, for which one half is the threshold where an image may have several labels."""
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    return labels, decide_oof(prepared, proba, result.record.thresholds)


def compare_runs(prepared: Prepared, ours: Result, theirs: Result) -> tuple[float, float]:
    """Return the paired difference of two runs' oof, above 0 where ours is better, and its standard error."""
    labels, our_proba = decided_rows(prepared, ours)
    _, their_proba = decided_rows(prepared, theirs)
    return paired_difference(prepared.metric, labels, our_proba, their_proba, prepared.scored_groups)


def compare_with_the_best(prepared: Prepared, results: Sequence[Result]) -> tuple[Contest, float]:
    """Return how runs' oof compare with the best of them by a joint test, and its CV without the luck of the choice."""
    pairs = [decided_rows(prepared, result) for result in results]
    given = (prepared.metric, pairs[0][0], [proba for _, proba in pairs], prepared.scored_groups)
    return compare_with_best(*given), correct_best(*given)


@functools.cache
def commit() -> str:
    """Return the commit of the kit's checkout, with ``+`` when it was edited since; empty outside of one."""
    if not IS_CHECKOUT:  # git would name the repository that the environment lies in
        return ""
    home = Path(__file__).parents[2]
    git = ["git", "-C", str(home)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else ""
