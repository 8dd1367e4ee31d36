"""What a metric is: its function, what that needs to be told, and for which tasks it is defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Labels, Mask, Proba, Rows, Scores

THRESHOLD = 0.5  # probability from which on an image that may have several classes is decided to have a class

ResampledMetric = Callable[[Rows], float]  # the metric of a resample, given as positions with repeats


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
    key
        Changes where the metric gives other numbers under the same name; the name by default.
    """

    name: str
    of: Callable[[Labels, np.ndarray], float]
    per_image: Callable[[Labels, np.ndarray], Scores] | None = None
    share: Callable[[Labels, np.ndarray], ResampledMetric] | None = None
    greater_is_better: bool = True
    needs: Literal["labels", "proba"] = "proba"
    tasks: tuple[str, ...] = (MULTICLASS, MULTILABEL)
    left_out: Callable[[Labels, int], Mask] | None = None
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)

    @property
    def sign(self) -> int:
        """Return 1 where greater is better, else -1."""
        return 1 if self.greater_is_better else -1

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
