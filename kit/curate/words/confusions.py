"""What is taken for what, and which words could change it.

A class pair asks for better words where it is confused *and* its texts lie close together: pairs that are confused
with texts far apart want better images, not better words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    first, second
        The classes.
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


def count_confusions(labels: np.ndarray, said: np.ndarray, n_classes: int) -> np.ndarray:
    """Count (true, predicted) pairs; (n_classes, n_classes)."""
    return np.bincount(labels * n_classes + said, minlength=n_classes**2).reshape(n_classes, n_classes)


def recalls(labels: np.ndarray, said: np.ndarray, classes: tuple[str, ...]) -> dict[str, float | None]:
    """Return the share of each class's images that are recognised; None where there are none."""
    counts = count_confusions(labels, said, len(classes))
    rows = zip(classes, np.diag(counts), counts.sum(axis=1), strict=True)
    return {name: float(right / n) if n else None for name, right, n in rows}


def confused(
    labels: np.ndarray, said: np.ndarray, classes: tuple[str, ...], among: np.ndarray | None = None
) -> list[Confusion]:
    """Return the confusions, the most frequent first.

    Parameters
    ----------
    labels, said
        (n_images,) class codes: true and predicted.
    classes
        Class names.
    among
        (n_images,) bool; only these images count. All by default.
    """
    wrong = (labels != said) & (True if among is None else among)
    counts = count_confusions(labels[wrong], said[wrong], len(classes))
    cells = sorted(np.argwhere(counts).tolist(), key=lambda cell: -counts[tuple(cell)])
    return [Confusion(classes[true], classes[predicted], int(counts[true, predicted])) for true, predicted in cells]


def list_pairs(
    labels: np.ndarray, said: np.ndarray, text: np.ndarray, prompts: PromptList, classes: tuple[str, ...]
) -> list[Pair]:
    """Return the confused class pairs, the most urgent first.

    Parameters
    ----------
    labels, said
        (n_images,) class codes: true and predicted.
    text
        (n_classes, n_dims) text features, rows of unit length.
    prompts
        The list they come from.
    classes
        Class names.
    """
    counts = count_confusions(labels, said, len(classes))
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
