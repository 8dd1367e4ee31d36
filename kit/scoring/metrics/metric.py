"""What a metric is: its function, what that needs to be told, and for which tasks it is defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS, MULTILABEL

THRESHOLD = 0.5  # probability from which a class is said to be there, where an image may have several

ResampledMetric = Callable[[np.ndarray], float]  # the metric of a resample, given as positions with repeats


@dataclass(frozen=True)
class Metric:
    """Hold one metric.

    Labels are (n_images,) class codes, or (n_images, n_classes) of 0 and 1 where an image may have several. What is
    said of the images is either the decision, of the labels' shape, or the probabilities (n_images, n_classes).

    Parameters
    ----------
    name
        As it is written in competition.toml.
    of
        ``of(labels, said)``; NaN where these images do not define the metric.
    per_image
        ``per_image(labels, said) -> (n_images,)`` where the metric is the mean of it, else None.
    share
        ``share(labels, said)`` computes once what all resamples have in common; None where nothing is gained.
    greater_is_better
        False for losses.
    needs
        ``"labels"``: what is said is the decision; ``"proba"``: the probabilities.
    tasks
        ``"multiclass"``, ``"multilabel"`` or both.
    left_out
        ``left_out(labels, n_classes) -> (n_classes,)`` bool, the classes of which these labels say nothing.
    key
        Changes where the metric gives other numbers under the same name; the name by default.
    """

    name: str
    of: Callable[[np.ndarray, np.ndarray], float]
    per_image: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    share: Callable[[np.ndarray, np.ndarray], ResampledMetric] | None = None
    greater_is_better: bool = True
    needs: Literal["labels", "proba"] = "proba"
    tasks: tuple[str, ...] = (MULTICLASS, MULTILABEL)
    left_out: Callable[[np.ndarray, int], np.ndarray] | None = None
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)

    @property
    def sign(self) -> int:
        """Return 1 where greater is better, else -1."""
        return 1 if self.greater_is_better else -1

    def read(self, labels: np.ndarray, proba: np.ndarray) -> np.ndarray:
        """Return what the metric reads of probabilities: themselves, or what they decide."""
        return decide(proba, labels.ndim == 2) if self.needs == "labels" else proba

    def score(self, labels: np.ndarray, proba: np.ndarray) -> float:
        """Return the metric of probabilities (n_images, n_classes).

        Raises
        ------
        InputError
            When the metric is not defined on these images.
        """
        labels, proba = np.asarray(labels), np.asarray(proba)
        value = float(self.of(labels, self.read(labels, proba))) if len(labels) else float("nan")
        if not np.isfinite(value):
            raise InputError(f"metric {self.name} is not defined on these {len(labels)} images: {self._cause(labels)}")
        return value

    def classes_left_out(self, labels: np.ndarray, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes that the metric leaves out, as these labels say nothing of them."""
        if self.left_out is None:
            return ()
        return tuple(classes[code] for code in np.flatnonzero(self.left_out(np.asarray(labels), len(classes))))

    def _cause(self, labels: np.ndarray) -> str:
        """Say why there is no score."""
        if not len(labels):
            return "there are none"
        if self.left_out is None:
            return "it is not a finite number"
        there = np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))
        return f"no class has what it needs; of the classes there are only numbers {some(there.tolist())}"


def decide(proba: np.ndarray, is_multilabel: bool) -> np.ndarray:
    """Return the most probable class (n_images,), or per class whether it is at least even (n_images, n_classes).

    Of equally probable classes the first is taken.
    """
    return (proba >= THRESHOLD).astype(np.int8) if is_multilabel else proba.argmax(axis=1)
