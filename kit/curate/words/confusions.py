"""Count what is taken for what, and find the class pairs that better words could tell apart.

A class pair asks for better words where it is confused *and* its texts lie close together: pairs that are confused
with texts far apart want better images, not better words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Labels, Mask, Vectors
from kit.features.prompts import PromptList


@dataclass(frozen=True)
class Confusion:
    """Count the images of class `true` that are taken for class `predicted`."""

    true: str
    predicted: str
    n: int


@dataclass(frozen=True)
class Pair:
    """Hold two classes that are confused.

    Parameters
    ----------
    n_forth, n_back
        Images of the first taken for the second, and of the second taken for the first.
    share
        Both together, as a share of the images of the two classes, 0..1.
    cosine
        Between the two classes' text features.
    closeness
        Share of all class pairs whose texts are no closer than these, 0..1: cosines differ little between words and
        much between encoders, their order does not.
    urgency
        share * closeness.
    first_words, second_words
        The words as they stand.
    """

    first: str
    second: str
    n_forth: int
    n_back: int
    share: float
    cosine: float
    closeness: float
    urgency: float
    first_words: tuple[str, ...]
    second_words: tuple[str, ...]


def _count_pairs(labels: Labels, predicted: Labels, n_classes: int) -> np.ndarray:
    """Count (true, predicted) pairs; (n_classes, n_classes)."""
    return np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def recalls(labels: Labels, predicted: Labels, classes: tuple[str, ...]) -> dict[str, float | None]:
    """Return the share of each class's images that are recognised; None where a class has none."""
    counts = _count_pairs(labels, predicted, len(classes))
    rows = zip(classes, np.diag(counts), counts.sum(axis=1), strict=True)
    return {name: float(right / n) if n else None for name, right, n in rows}


def confused(labels: Labels, predicted: Labels, classes: tuple[str, ...], among: Mask | None = None) -> list[Confusion]:
    """Return the confusions, the most frequent first; of the images `among` which to count, all by default."""
    wrong = (labels != predicted) & (True if among is None else among)
    counts = _count_pairs(labels[wrong], predicted[wrong], len(classes))
    cells = sorted(np.argwhere(counts).tolist(), key=lambda cell: -counts[tuple(cell)])
    return [Confusion(classes[true], classes[other], int(counts[true, other])) for true, other in cells]


def list_pairs(
    labels: Labels, predicted: Labels, text: Vectors, prompts: PromptList, classes: tuple[str, ...]
) -> list[Pair]:
    """Return the confused class pairs, the most urgent first; `text` holds the list's features, a row per class."""
    counts = _count_pairs(labels, predicted, len(classes))
    cosines = text @ text.T
    all_cosines = np.sort(cosines[np.triu_indices(len(classes), k=1)])
    pairs = []
    for a, b in np.argwhere(np.triu(counts + counts.T, k=1)).tolist():
        share = float((counts[a, b] + counts[b, a]) / counts[[a, b]].sum())
        closeness = float(np.searchsorted(all_cosines, cosines[a, b], side="right") / len(all_cosines))
        pairs.append(
            Pair(
                first=classes[a],
                second=classes[b],
                n_forth=int(counts[a, b]),
                n_back=int(counts[b, a]),
                share=share,
                cosine=float(cosines[a, b]),
                closeness=closeness,
                urgency=share * closeness,
                first_words=prompts.words[a],
                second_words=prompts.words[b],
            )
        )
    return sorted(pairs, key=lambda pair: -pair.urgency)
