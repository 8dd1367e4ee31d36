"""Each run by itself: confusions, classes, calibration, ROC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kit.core.errors import some
from kit.core.shapes import Proba
from kit.report.page.curves import calibrate_nested, order_by_similarity, reliability
from kit.report.page.evidence import MOST_RUNS, Evidence
from kit.report.page.parts import (
    Chart,
    Fold,
    Heatmap,
    Matrices,
    Measured,
    Part,
    Plot,
    Section,
    Series,
    SortableTable,
    Text,
)
from kit.runs.store import Result
from kit.scoring.metrics import decide, per_class
from kit.scoring.roc import RocCurve, count_confusions, roc_curves

MOST_CURVES = 12  # of a ROC plot
MOST_POINTS = 80  # of a curve: more are not seen
UNIT = (-0.02, 1.02)  # a line along the edge is seen whole
DIAGONAL = Series("as sure as right", [0.0, 1.0], [0.0, 1.0], kind="dashes")


def build(evidence: Evidence) -> Section:
    """Return a fold of parts for the ensemble and for the best runs; the first is open."""
    folds = [
        Fold(
            f"{result.name} · {result.record.metric} {result.record.cv:.4f} ± {result.record.se:.4f}",
            list(_parts(evidence, result)),
            is_open=number == 0,
        )
        for number, result in enumerate(evidence.drawn)
    ]
    parts: list[Part] = [Text("All on oof: every image by a model that never saw its label.", "note"), *folds]
    if len(evidence.results) > MOST_RUNS:
        parts.append(Text(f"Of {len(evidence.results)} runs the best {MOST_RUNS} are drawn.", "note"))
    return Section("runs", "Run by run", parts)


def _parts(evidence: Evidence, result: Result) -> Iterator[Part]:
    proba = evidence.oof(result)
    yield _confusions(evidence, result, proba)
    as_given = evidence.probabilities(result)
    curves = roc_curves(evidence.labels, as_given, tuple(evidence.spell(evidence.prepared.classes)))
    yield _classes(evidence, proba, curves)
    yield _reliability(evidence, result, as_given)
    yield from _roc(result, curves)


def _confusions(evidence: Evidence, result: Result, proba: Proba) -> Chart:
    labels, classes = evidence.labels, evidence.spell(evidence.prepared.classes)
    key = f"confusion-{result.name}"
    if labels.ndim == 2:
        values = count_confusions(labels, proba)
        return Matrices(key, f"{result.name}: one confusion matrix per class", names=classes, values=values)
    predicted = decide(proba, is_multilabel=False)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return Heatmap(
        key,
        f"{result.name}: confusion matrix",
        "said",
        "label",
        "Rows are labels, columns what the model said.",
        row_names=classes,
        column_names=classes,
        values=counts,
        order=order_by_similarity(counts),
        shares=True,
    )


def _classes(evidence: Evidence, proba: Proba, curves: Sequence[RocCurve]) -> SortableTable:
    prepared = evidence.prepared
    classes = tuple(evidence.spell(prepared.classes))
    scores = per_class(evidence.labels, proba, classes, prepared.scored_groups)
    rows = [
        [
            score.name,
            score.support,
            score.decided,
            Measured(score.precision, score.precision_se),
            Measured(score.recall, score.recall_se),
            Measured(score.f1, score.f1_se),
            Measured(curve.auc),
        ]
        for score, curve in zip(scores, curves, strict=True)
    ]
    return SortableTable(
        "Per class", ["class", "labelled", "said", "precision ± SE", "recall ± SE", "F1 ± SE", "ROC area"], rows
    )


def _reliability(evidence: Evidence, result: Result, proba: Proba) -> Plot:
    """Draw how often the run is right where it is so sure, before and after a nested temperature."""
    labels = evidence.labels
    forms = {"as it is": proba}
    if labels.ndim == 1 and (calibrated := calibrate_nested(labels, proba, evidence.folds)) is not None:
        forms["at its temperature"] = calibrated
    series = [DIAGONAL]
    for name, given in forms.items():
        bins = reliability(labels, given)
        points = (bins.confidence.tolist(), bins.accuracy.tolist(), bins.spread.tolist())
        series.append(Series(f"{name}: calibration error {bins.error:.3f}", *points))
    return Plot(
        f"reliability-{result.name}",
        f"{result.name}: how right where how sure",
        "probability of what was said",
        "share that is right",
        "Bars are standard errors: wide where few images are."
        + (" Temperature chosen per fold on the other folds." if len(forms) > 1 else ""),
        series=series,
        x_range=UNIT,
        y_range=UNIT,
    )


def _roc(result: Result, curves: Sequence[RocCurve]) -> Iterator[Part]:
    """Give the ROC curves, one class against the rest: of many classes those with the least area."""
    known = [
        (curve.auc, curve.name, curve.false_rates, curve.true_rates)
        for curve in curves
        if curve.auc is not None and curve.false_rates is not None and curve.true_rates is not None
    ]
    drawn = sorted(known, key=lambda curve: curve[0])[:MOST_CURVES]
    if drawn:
        series = []
        for area, name, false_rates, true_rates in drawn:
            at = np.linspace(0, len(false_rates) - 1, min(len(false_rates), MOST_POINTS)).round().astype(int)
            x, y = false_rates[at].tolist(), true_rates[at].tolist()
            series.append(Series(f"{name}: {area:.3f}", x, y, kind="steps"))
        caption = "Area below each curve in the legend." + (
            f" The {MOST_CURVES} classes of the least area." if len(curves) > MOST_CURVES else ""
        )
        title = f"{result.name}: each class against the rest (ROC)"
        yield Plot(
            f"roc-{result.name}",
            title,
            "said although not (false positive rate)",
            "found (recall)",
            caption,
            series=series,
            x_range=UNIT,
            y_range=UNIT,
        )
    if without := [curve.name for curve in curves if curve.auc is None]:
        yield Text(f"No ROC curve of {some(without)}: no scored image is of it, or every one is.", "note")
