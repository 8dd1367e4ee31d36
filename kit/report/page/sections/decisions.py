"""What is decided of probabilities: a threshold for every class, or none of the classes at all."""

from __future__ import annotations

import numpy as np

from kit.report.page.evidence import Evidence
from kit.report.page.parts import Gallery, Measured, Part, Plot, Section, Series, SortableTable, Text, Tile
from kit.runs.decide import Rejection
from kit.runs.decide.decisions import Decisions, describe_decisions
from kit.runs.store.result import Thresholds

SHOWN = 18  # tiles of a gallery


def build(evidence: Evidence) -> Section | None:
    """Return the thresholds of what is to be sent, or which test images are turned away."""
    decision, result = evidence.prepared.competition.decision, evidence.headline
    if not evidence.prepared.pool.is_multilabel and decision.none_of_these is None:
        return None
    decided = describe_decisions(evidence.prepared, result)
    parts: list[Part] = [Text(f"Of {result.name}.", "note")]
    if decided.thresholds:
        parts += _thresholds(evidence, decided, decided.thresholds)
    if decided.rejection:
        parts += _rejected(evidence, decided.rejection)
    return Section("decisions", "What is decided", parts)


def _thresholds(evidence: Evidence, decided: Decisions, thresholds: Thresholds) -> list[Part]:
    """Give every class's threshold, those that the folds chose beside it, and what they are worth."""
    order = np.argsort([-threshold for threshold in thresholds.values], kind="stable")
    names = evidence.spell([decided.classes[i] for i in order])
    per_fold = [
        Series(f"without fold {fold}", names, [chosen[i] for i in order], kind="points")
        for fold, chosen in thresholds.per_fold.items()
    ]
    used = Series("for test images", names, [thresholds.values[i] for i in order], kind="bars")
    caption = "A class is said from its threshold on. Each fold's images are decided by what the other folds chose."
    rows = [
        [name, Measured(thresholds.values[code]), *counts.ravel().tolist()[1:]]
        for code, (name, counts) in enumerate(zip(evidence.spell(decided.classes), decided.counts, strict=True))
    ]
    parts: list[Part] = []
    if thresholds.gain is not None and thresholds.gain_se is not None:
        taken = "they are taken" if thresholds.gain > thresholds.gain_se else "not surely better, so one half is kept"
        gain = f"{thresholds.gain:+.4f} ± {thresholds.gain_se:.4f}"
        parts.append(Text(f"Thresholds gain {gain} over one half on folds that did not choose them: {taken}."))
    chart = Plot(
        "thresholds", "Threshold of every class", "probability", "", caption,
        series=[used, *per_fold], y_range=(0, 1), upright=True,
    )  # fmt: skip
    return [
        *parts,
        chart,
        SortableTable("Decisions on oof", ["class", "threshold", "wrongly said", "missed", "found"], rows),
    ]


def _rejected(evidence: Evidence, rejection: Rejection) -> list[Part]:
    """Say how many test images show none of the classes, and show those that were turned away first."""
    pool = evidence.prepared.pool
    rows = evidence.prepared.split("test")
    turned = np.flatnonzero(rejection.is_rejected)
    first = turned[np.argsort(rejection.ranks[turned], kind="stable")][:SHOWN]
    tiles = [Tile(str(pool.paths[rows[i]]), [f"rank {rejection.ranks[i]:.3f}", str(rejection.ids[i])]) for i in first]
    parts: list[Part] = [Text(f"{rejection.sentence[0].upper()}{rejection.sentence[1:]}.")]
    if tiles:
        parts.append(Gallery("Test images that look least like any class", tiles))
    return parts
