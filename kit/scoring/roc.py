"""ROC curves of every class against the rest, and their areas; drawn as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import some
from kit.core.figures import as_plain_text, empty_figure, write_figure
from kit.core.shapes import Labels, Mask, Proba, Scores
from kit.scoring.metrics import decide
from kit.scoring.metrics.probabilities import one_hot

WITH_NAMES = 20  # curves that the legend names


@dataclass(frozen=True)
class RocCurve:
    """Hold the ROC curve of one class against the rest.

    Parameters
    ----------
    false_rates, true_rates
        (n_points,) shares of the others' images, and of the class's, that are decided for the class as the threshold
        falls, 0..1, from (0, 0) to (1, 1); empty where there is no curve.
    auc
        Area below it, 0..1; None where there is no curve.
    cause
        Why there is none: the class has no image here, or all of them; "" where there is one.
    """

    name: str
    false_rates: Scores
    true_rates: Scores
    auc: float | None
    cause: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: lists, and null where there is no curve."""
        points = (rates.round(6).tolist() or None for rates in (self.false_rates, self.true_rates))
        return {"class": self.name, "auc": self.auc, "cause": self.cause} | dict(
            zip(("false_rates", "true_rates"), points, strict=True)
        )


def roc_curves(labels: Labels, proba: Proba, classes: tuple[str, ...]) -> list[RocCurve]:
    """Return each class's ROC curve against the rest, in the order of the classes."""
    is_label = one_hot(labels, len(classes))
    return [_curve(name, is_label[:, code], proba[:, code]) for code, name in enumerate(classes)]


def _curve(name: str, is_label: Mask, scores: Scores) -> RocCurve:
    """Return one class's curve, or why there is none."""
    from sklearn.metrics import auc, roc_curve

    if not is_label.any():
        return RocCurve(name, np.empty(0), np.empty(0), None, f"no image is of class {name}")
    if is_label.all():
        return RocCurve(name, np.empty(0), np.empty(0), None, f"every image is of class {name}")
    false_rates, true_rates, _ = roc_curve(is_label, scores)
    return RocCurve(name, false_rates, true_rates, float(auc(false_rates, true_rates)))


def draw_roc_curves(curves: Sequence[RocCurve], title: str, path: Path) -> None:
    """Draw the curves into one PNG, each with its area; say of which classes there is none."""
    drawn, missing = ([curve for curve in curves if (curve.auc is not None) == wanted] for wanted in (True, False))
    is_named = len(drawn) <= WITH_NAMES
    figure = empty_figure(8 if is_named else 6, 6)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="0.7", linestyle="--", linewidth=1)
    for curve in drawn:
        label = f"{curve.name} {curve.auc:.3f}" if is_named else None
        panel.plot(curve.false_rates, curve.true_rates, linewidth=1.2, alpha=1.0 if is_named else 0.4, label=label)
    panel.set(xlabel="share of the other images", ylabel="share of the class's images", aspect="equal")
    mean = f"; mean area {np.mean([curve.auc for curve in curves if curve.auc is not None]):.3f}" if drawn else ""
    lacking = f"\nno curve: {some([curve.name for curve in missing])}" if missing else ""
    panel.set_title(f"{title}{mean}{lacking}", fontsize=10, parse_math=False)
    if is_named and drawn:
        legend = panel.legend(title="area", loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
        as_plain_text(legend.get_texts())
    write_figure(path, figure)


def count_confusions(labels: Labels, proba: Proba) -> np.ndarray:
    """Count, for every class by itself, which images are of it against which are decided for it.

    An image is decided for its most probable class; where it may have several, for every class from one half. The
    result is (n_classes, 2, 2) int64 in scikit-learn's order: ``[[rightly absent, wrongly decided for], [missed,
    found]]``.
    """
    from sklearn.metrics import multilabel_confusion_matrix

    decided, n_classes = decide(proba, labels.ndim == 2), proba.shape[1]
    if labels.ndim == 2 and n_classes == 1:  # scikit-learn takes one column of 0 and 1 for codes of two classes
        return multilabel_confusion_matrix(labels, decided, labels=[1])
    return multilabel_confusion_matrix(labels, decided, labels=np.arange(n_classes))


def describe_confusions(classes: tuple[str, ...], counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the matrices for JSON, by class: how many images are right and wrong on either side."""
    names = ("right_absent", "wrongly_said", "missed", "found")
    by_class = zip(classes, counts.reshape(-1, len(names)).tolist(), strict=True)
    return {name: dict(zip(names, cells, strict=True)) for name, cells in by_class}
