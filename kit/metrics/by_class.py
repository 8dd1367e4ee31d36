"""Per class: precision, recall, F1 and how many images; what one number for all of them hides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.metrics.decisions import count_classes
from kit.metrics.metric import decide
from kit.metrics.uncertainty import error_of_mean


@dataclass(frozen=True)
class ClassScore:
    """Hold one class's scores, 0..1 each; None where no image defines it.

    Parameters
    ----------
    name
        The class.
    precision
        Share of the images said to be of the class that are.
    recall, recall_se
        Share of the class's images that are said to be, and its standard error.
    f1
        Harmonic mean of both.
    support
        Images of the class.
    said
        Images said to be of the class.
    """

    name: str
    precision: float | None
    recall: float | None
    recall_se: float | None
    f1: float | None
    support: int
    said: int


def per_class(
    labels: np.ndarray, proba: np.ndarray, classes: tuple[str, ...], groups: np.ndarray | None = None
) -> list[ClassScore]:
    """Return every class's precision, recall and F1, in the order of the classes.

    Parameters
    ----------
    labels
        (n_images,) class codes, or (n_images, n_classes) of 0 and 1.
    proba
        (n_images, n_classes) probabilities; the most probable class is decided for, or every class from one half.
    classes
        Class names.
    groups
        (n_images,) whole numbers, equal for images that are not independent; every image for itself by default.
    """
    said = decide(np.asarray(proba), labels.ndim == 2)
    counts = count_classes(labels, said, len(classes))
    errors = [_recall_error(labels, said, code, groups) for code in range(len(classes))]
    columns = (counts.precision, counts.recall, errors, counts.f1)
    rates = ([_known(value) for value in column] for column in columns)
    sizes = (count.tolist() for count in (counts.labeled, counts.said))
    return [ClassScore(*row) for row in zip(classes, *rates, *sizes, strict=True)]


def _recall_error(labels: np.ndarray, said: np.ndarray, code: int, groups: np.ndarray | None) -> float:
    """Return the standard error of one class's recall; NaN where it has no images.

    Where all of its images are right, or none, the closed form is 0, as if that were certain: there two more of each
    kind are counted (Agresti and Coull 1998).
    """
    is_labeled, is_said = (own == code if own.ndim == 1 else own[:, code] == 1 for own in (labels, said))
    if not is_labeled.any():
        return float("nan")
    values, own_groups = is_said[is_labeled].astype(np.float64), None if groups is None else groups[is_labeled]
    if np.ptp(values) > 0:
        return error_of_mean(values, own_groups)
    n_counted = 4 + (len(values) if own_groups is None else len(np.unique(own_groups)))
    return float(np.sqrt(2 / n_counted * (1 - 2 / n_counted) / n_counted))


def _known(value: float) -> float | None:
    """Return a number, or None for NaN."""
    return None if np.isnan(value) else float(value)
