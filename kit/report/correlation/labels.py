"""Label correlation: which labels go together, in the labels and in a run's predictions, and which it confuses.

Reads a finished run's oof predictions, where an image may have several labels; writes
``runs/NAME/RUN/KEY/label_correlation.json`` and ``.png``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.files import write_json
from kit.core.shapes import Groups, Mask, Proba
from kit.data.prepared import Prepared
from kit.report.correlation import ClassMatrix, draw_maps, list_cells
from kit.runs.store import Result, oof_rows

MOST_PAIRS = 10  # pairs of classes that are named
N_ERRORS = 2  # standard errors from which a pair is named


@dataclass(frozen=True)
class LabelCorrelation:
    """Hold how the classes go together on images that the models had not seen.

    Parameters
    ----------
    labels, proba
        (n_classes, n_classes) Pearson correlations of the labels, and of the probabilities, -1..1; NaN for a class that
        all images have or none.
    errors, errors_se
        The same of label minus probability, and its standard error. Below 0 one class is taken for the other; above 0
        both are missed, or wrongly predicted, together. It is 0 where a run has learned all that one says of the other.
    is_related
        (n_classes, n_classes) whether one stands above the other or is it: those go together in any case.
    """

    classes: tuple[str, ...]
    labels: ClassMatrix
    proba: ClassMatrix
    errors: ClassMatrix
    errors_se: ClassMatrix
    is_related: Mask

    def pairs(self) -> list[dict[str, Any]]:
        """Return the pairs whose errors surely go together or against each other, the strongest first."""
        with np.errstate(invalid="ignore"):
            is_sure = np.abs(self.errors) > N_ERRORS * self.errors_se
        rows, columns = np.nonzero(np.triu(is_sure & ~self.is_related, k=1))
        order = np.argsort(-np.abs(self.errors[rows, columns]), kind="stable")[:MOST_PAIRS]
        names = ("labels", "proba", "errors", "errors_se")
        return [
            {"classes": [self.classes[i], self.classes[j]]} | {name: float(getattr(self, name)[i, j]) for name in names}
            for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON; null where a class does not vary."""
        maps = {name: list_cells(getattr(self, name)) for name in ("labels", "proba", "errors", "errors_se")}
        return {"classes": list(self.classes), **maps, "pairs": self.pairs()}


def correlate_labels(prepared: Prepared, result: Result) -> LabelCorrelation:
    """Measure how the classes go together out of fold, where an image may have several labels."""
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    (of_labels, _), (of_proba, _), (errors, errors_se) = (
        correlations(values.astype(np.float64), prepared.scored_groups) for values in (labels, proba, labels - proba)
    )
    tree, same = prepared.hierarchy, np.eye(len(prepared.classes), dtype=bool)
    is_related = same if tree is None else tree.ancestors | tree.ancestors.T
    return LabelCorrelation(prepared.classes, of_labels, of_proba, errors, errors_se, is_related)


def correlations(values: Proba, groups: Groups) -> tuple[ClassMatrix, ClassMatrix]:
    """Return the Pearson correlations of columns, and their standard errors by the images' influence.

    Both are NaN for a column that does not vary.
    """
    centred, (_, group) = values - values.mean(axis=0), np.unique(groups, return_inverse=True)
    spread = values.std(axis=0)
    units = centred / np.where(spread > 0, spread, np.nan)  # (n_images, n_classes)
    pairs = units.T @ units / len(units)
    errors, sums = np.empty_like(pairs), np.zeros((group.max() + 1, pairs.shape[1]))
    for row, column in enumerate(units.T):
        sums[:] = 0
        np.add.at(sums, group, column[:, None] * units - pairs[row] * (column[:, None] ** 2 + units**2) / 2)
        errors[row] = np.sqrt((sums**2).sum(axis=0)) / len(units)
    return pairs, errors


def write_label_correlation(correlation: LabelCorrelation, result: Result) -> Path:
    """Write label_correlation.json and .png beside a run's predictions; return the picture's path."""
    write_json(result.folder / "label_correlation.json", {"run": result.name} | correlation.as_dict())
    path = result.folder / "label_correlation.png"
    maps = {"labels": correlation.labels, "probabilities": correlation.proba}
    draw_maps(maps, correlation.classes, result.name, "correlation", path)
    return path
