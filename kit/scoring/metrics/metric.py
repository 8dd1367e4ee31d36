"""What a metric is: its function, what that needs to be told, and for which tasks it is defined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Labels, Mask, Proba, Rows, Scores

THRESHOLD = 0.5  # probability from which on an image that may have several classes is decided to have a class

TWO = {  # names of yes and no, in any case: the second is the positive class
    ("0", "1"), ("0.0", "1.0"), ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("neg", "pos"),
    ("negative", "positive"),
}  # fmt: skip


ResampledMetric = Callable[[Sequence[Rows]], Scores]  # the metric of each resample, given as positions with repeats


class Counts(NamedTuple):
    """Count images per class: rightly decided for the class, labelled with it, decided for it.

    (n_classes,) each, or (n_samples, n_classes) of several samples of images.
    """

    right: np.ndarray
    labeled: np.ndarray
    decided: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """Return F1 per class, of the counts' shape; NaN for a class that is neither label nor decision."""
        return self.fbeta(1.0)

    def fbeta(self, beta: float) -> np.ndarray:
        """Return F-beta per class, as `f1`: recall counts `beta` times as much as precision."""
        weight = beta**2
        return ratio((1 + weight) * self.right, weight * self.labeled + self.decided)

    @property
    def recall(self) -> np.ndarray:
        """Return the share of a class's images that are decided for it, as `f1`; NaN where it has no image."""
        return ratio(self.right, self.labeled)

    @property
    def precision(self) -> np.ndarray:
        """Return the share of the images decided for a class that are of it, as `f1`; NaN where there are none."""
        return ratio(self.right, self.decided)


@dataclass(frozen=True)
class Classes:
    """Hold what a metric may have to know of the classes.

    Parameters
    ----------
    names
        (n_classes,) in the order of the codes.
    positive
        Of two classes the one whose probability counts; None for `positive_of`.
    order
        Names from the lowest grade to the highest, where the names are no numbers.
    """

    names: tuple[str, ...]
    positive: str | None = None
    order: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """Hold one metric.

    Labels are (n_images,) class codes, or (n_images, n_classes) of 0 and 1 where an image may have several. `predicted`
    is either what is decided, of the labels' shape, or the probabilities, (n_images, n_classes).

    Parameters
    ----------
    name
        As it is written in competition.toml.
    of
        ``of(labels, predicted)``; NaN where these images do not define the metric.
    per_image
        ``per_image(labels, predicted) -> (n_images,)`` where the metric is the mean of it, else None.
    share
        ``share(labels, predicted)`` computes once what all resamples have in common; None where nothing is gained.
    greater_is_better
        False for losses.
    needs
        ``"labels"``: `predicted` is what is decided; ``"proba"``: it is the probabilities.
    tasks
        ``"multiclass"``, ``"multilabel"`` or both.
    left_out
        ``left_out(labels, n_classes) -> (n_classes,)`` bool: the classes that cannot be scored with these labels.
    range
        The lowest and the highest value that the metric can have, for its 95 % interval; by default 0 and 1, and 0 and
        infinity of a loss. Minus infinity where it is not known.
    key
        Changes where the metric gives other numbers under the same name; the name by default.
    of_counts
        The metric as a function of each class's counts, of one sample or of several, where it is one; else None.
    bind
        ``bind(metric, kinds)`` returns the metric of certain classes, where it needs to know more of them than their
        codes: which is the positive one, or how far grades lie apart. See `for_classes`.
    """

    name: str
    of: Callable[[Labels, np.ndarray], float]
    per_image: Callable[[Labels, np.ndarray], Scores] | None = None
    share: Callable[[Labels, np.ndarray], ResampledMetric] | None = None
    greater_is_better: bool = True
    needs: Literal["labels", "proba"] = "proba"
    tasks: tuple[str, ...] = (MULTICLASS, MULTILABEL)
    left_out: Callable[[Labels, int], Mask] | None = None
    range: tuple[float, float] | None = None
    key: str = ""
    of_counts: Callable[[Counts], Scores] | None = None
    bind: Callable[[Metric, Classes], Metric] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)

    @property
    def sign(self) -> int:
        """Return 1 where greater is better, else -1."""
        return 1 if self.greater_is_better else -1

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lowest and the highest value that the metric can have."""
        return self.range or ((0.0, 1.0) if self.greater_is_better else (0.0, float("inf")))

    def for_classes(self, classes: Classes) -> Metric:
        """Return the metric of these classes: itself, but where it has to know which is positive, or what is a grade.

        InputError where it is not defined on them.
        """
        return self if self.bind is None else self.bind(self, classes)

    def read(self, labels: Labels, proba: Proba) -> np.ndarray:
        """Return what the metric reads: the probabilities themselves, or what they decide."""
        return decide(proba, labels.ndim == 2) if self.needs == "labels" else proba

    def score(self, labels: Labels, proba: Proba) -> float:
        """Return the metric of probabilities; InputError where it is not defined on these images."""
        labels, proba = np.asarray(labels), np.asarray(proba)
        value = float(self.of(labels, self.read(labels, proba))) if len(labels) else float("nan")
        if not np.isfinite(value):
            raise InputError(f"metric {self.name} is not defined on these {len(labels)} images: {self._cause(labels)}")
        return value

    def classes_left_out(self, labels: Labels, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes that the metric leaves out, because they cannot be scored with these labels."""
        if self.left_out is None:
            return ()
        return tuple(classes[code] for code in np.flatnonzero(self.left_out(np.asarray(labels), len(classes))))

    def _cause(self, labels: Labels) -> str:
        """Say why there is no score."""
        if not len(labels):
            return "there are none"
        if self.left_out is None:
            return "it is not a finite number"
        codes = np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))
        return f"no class has what it needs; of the classes there are only numbers {some(codes.tolist())}"


def decide(proba: Proba, is_multilabel: bool) -> Labels:
    """Return the most probable class (n_images,), or per class whether it is at least even (n_images, n_classes).

    Of equally probable classes the first is taken.
    """
    return (proba >= THRESHOLD).astype(np.int8) if is_multilabel else proba.argmax(axis=1)


def of_each(score: Callable[[Rows], float]) -> ResampledMetric:
    """Return a metric of one resample as one of several."""
    return lambda samples: np.array([score(rows) for rows in samples])


def positive_of(names: tuple[str, ...]) -> tuple[str, bool]:
    """Return the positive one of two classes, and whether their names say so: else it is the last, a guess."""
    lowered = [name.strip().lower() for name in names]
    for order in ((0, 1), (1, 0)):
        if tuple(lowered[place] for place in order) in TWO:
            return names[order[1]], True
    return names[-1], False


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.greater(whole, 0))
