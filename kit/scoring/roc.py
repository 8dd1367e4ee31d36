"""ROC curves of every class against the rest, and their areas; drawn as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import some
from kit.core.figures import as_plain_text, empty_figure, write_figure
from kit.scoring.metrics import decide

WITH_NAMES = 20  # curves that the legend names


@dataclass(frozen=True)
class RocCurve:
    """Hold the ROC curve of one class against the rest.

    Parameters
    ----------
    name
        The class.
    false_rates, true_rates
        (n_points,) shares of the others' images, and of the class's, that are said to be of the class as the threshold
        falls, 0..1, from (0, 0) to (1, 1); None where there is no curve.
    auc
        Area below it, 0..1; None where there is no curve.
    cause
        Why there is none: the class has no image here, or all of them; "" where there is one.
    """

    name: str
    false_rates: np.ndarray | None
    true_rates: np.ndarray | None
    auc: float | None
    cause: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: lists, and null where there is no curve."""
        points = (None if own is None else own.round(6).tolist() for own in (self.false_rates, self.true_rates))
        return {"class": self.name, "auc": self.auc, "cause": self.cause} | dict(
            zip(("false_rates", "true_rates"), points, strict=True)
        )


def roc_curves(labels: np.ndarray, proba: np.ndarray, classes: tuple[str, ...]) -> list[RocCurve]:
    """Return each class's ROC curve against the rest, in the order of the classes.

    Parameters
    ----------
    labels
        (n_images,) class codes, or (n_images, n_classes) of 0 and 1.
    proba
        (n_images, n_classes) probabilities.
    classes
        Class names.
    """
    is_own = labels == 1 if labels.ndim == 2 else labels[:, None] == np.arange(len(classes))
    return [_curve(name, is_own[:, code], proba[:, code]) for code, name in enumerate(classes)]


def _curve(name: str, is_own: np.ndarray, scores: np.ndarray) -> RocCurve:
    """Return one class's curve, or why there is none."""
    from sklearn.metrics import auc, roc_curve

    if not is_own.any():
        return RocCurve(name, None, None, None, f"no image is of class {name}")
    if is_own.all():
        return RocCurve(name, None, None, None, f"every image is of class {name}")
    false_rates, true_rates, _ = roc_curve(is_own, scores)
    return RocCurve(name, false_rates, true_rates, float(auc(false_rates, true_rates)))


def draw_roc_curves(curves: Sequence[RocCurve], title: str, path: Path) -> None:
    """Draw the curves into one PNG, each with its area; say of which classes there is none."""
    drawn, missing = ([own for own in curves if (own.auc is not None) == wanted] for wanted in (True, False))
    is_named = len(drawn) <= WITH_NAMES
    figure = empty_figure(8 if is_named else 6, 6)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="0.7", linestyle="--", linewidth=1)
    for own in drawn:
        label = f"{own.name} {own.auc:.3f}" if is_named else None
        panel.plot(own.false_rates, own.true_rates, linewidth=1.2, alpha=1.0 if is_named else 0.4, label=label)
    panel.set(xlabel="share of the other images", ylabel="share of the class's images", aspect="equal")
    mean = f"; mean area {np.mean([own.auc for own in drawn]):.3f}" if drawn else ""
    lacking = f"\nno curve: {some([own.name for own in missing])}" if missing else ""
    panel.set_title(f"{title}{mean}{lacking}", fontsize=10, parse_math=False)
    if is_named and drawn:
        legend = panel.legend(title="area", loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
        as_plain_text(legend.get_texts())
    write_figure(path, figure)


def count_confusions(labels: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Count, for every class by itself, what is there against what is said.

    Parameters
    ----------
    labels
        (n_images,) class codes, or (n_images, n_classes) of 0 and 1.
    proba
        (n_images, n_classes) probabilities; the most probable class is decided for, or every class from one half.

    Returns
    -------
    np.ndarray
        (n_classes, 2, 2) int64 in scikit-learn's order: ``[[not there, said although not], [missed, found]]``.
    """
    said, n_classes = decide(proba, labels.ndim == 2), proba.shape[1]
    is_there, is_said = (own == 1 if own.ndim == 2 else own[:, None] == np.arange(n_classes) for own in (labels, said))
    cells = [[~is_there & ~is_said, ~is_there & is_said], [is_there & ~is_said, is_there & is_said]]
    return np.moveaxis(np.array(cells).sum(axis=2), 2, 0)


def describe_confusions(classes: tuple[str, ...], counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the matrices for JSON, by class: how many images are right and wrong on either side."""
    names = ("right_absent", "wrongly_said", "missed", "found")
    by_class = zip(classes, counts.reshape(-1, len(names)).tolist(), strict=True)
    return {name: dict(zip(names, own, strict=True)) for name, own in by_class}
