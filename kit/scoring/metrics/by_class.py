"""Per class: precision, recall, F1 and how many images; what one number for all of them hides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kit.core.shapes import Groups, Labels, Proba
from kit.scoring.metrics.decisions import count_decisions
from kit.scoring.metrics.metric import decide
from kit.scoring.metrics.uncertainty.spread import error_of_ratio


@dataclass(frozen=True)
class ClassScore:
    """Hold one class's scores, 0..1 each; None where no image defines it.

    Parameters
    ----------
    precision, precision_se
        Share of the images decided for the class that are of it, and its standard error.
    recall, recall_se
        Share of the class's images that are decided for it, and its standard error.
    f1, f1_se
        Harmonic mean of both, and its standard error.
    decided
        Images decided for the class.
    """

    name: str
    precision: float | None
    precision_se: float | None
    recall: float | None
    recall_se: float | None
    f1: float | None
    f1_se: float | None
    support: int
    decided: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        facts = asdict(self)
        return facts | {"said": facts.pop("decided")}


def per_class(labels: Labels, proba: Proba, classes: tuple[str, ...], groups: Groups | None = None) -> list[ClassScore]:
    """Return every class's precision, recall and F1, in the order of the classes.

    An image is decided for its most probable class; where it may have several, for every class from one half.
    """
    decided = decide(np.asarray(proba), labels.ndim == 2)
    counts = count_decisions(labels, decided, len(classes))
    errors = zip(*(_errors(labels, decided, code, groups) for code in range(len(classes))), strict=True)
    of_precision, of_recall, of_f1 = errors
    columns = (counts.precision, of_precision, counts.recall, of_recall, counts.f1, of_f1)
    rates = ([_known(value) for value in column] for column in columns)
    sizes = (count.tolist() for count in (counts.labeled, counts.decided))
    return [ClassScore(*row) for row in zip(classes, *rates, *sizes, strict=True)]


def _errors(labels: Labels, decided: Labels, code: int, groups: Groups | None) -> tuple[float, float, float]:
    """Return the standard errors of one class's precision, recall and F1; NaN where no image defines it.

    Each is a ratio of two sums over images. Where every image of the lower sum counts fully in the upper, or none does,
    the linearised error is 0, as if that were certain: see `_counted_share`.
    """
    is_labeled, is_decided = (codes == code if codes.ndim == 1 else codes[:, code] == 1 for codes in (labels, decided))
    right = (is_labeled & is_decided).astype(np.float64)
    either = is_labeled.astype(np.float64) + is_decided
    ratios = ((right, is_decided.astype(np.float64)), (right, is_labeled.astype(np.float64)), (2 * right, either))
    errors = [_error_of_ratio(upper, lower, groups) for upper, lower in ratios]
    if either.any() and not (0 < 2 * right.sum() < either.sum()):
        # F1 is 2 J / (1 + J) of the share J of the images of either kind that are of both; as steep is its error
        share = _counted_share(right[either > 0], None if groups is None else groups[either > 0])[0]
        errors[2] *= 2 / (1 + share) ** 2
    return errors[0], errors[1], errors[2]


def _error_of_ratio(upper: np.ndarray, lower: np.ndarray, groups: Groups | None) -> float:
    """Return the standard error of a ratio of sums over images; NaN where the lower one is 0."""
    counted = lower > 0
    if not counted.any():
        return float("nan")
    if 0 < upper.sum() < lower.sum():
        return error_of_ratio(upper, lower, groups)
    share, n_counted = _counted_share(upper[counted] / lower[counted], None if groups is None else groups[counted])
    return float(np.sqrt(share * (1 - share) / n_counted))


def _counted_share(values: np.ndarray, groups: Groups | None) -> tuple[float, int]:
    """Return a share of all or none of some images with two more of each kind counted, and how many are counted.

    So is the error of certainty never 0 (Agresti and Coull 1998); images of one group count as one.
    """
    n_images = len(values) if groups is None else len(np.unique(groups))
    return (values[0] * n_images + 2) / (n_images + 4), n_images + 4


def _known(value: float) -> float | None:
    """Return a number, or None for NaN."""
    return None if np.isnan(value) else float(value)
