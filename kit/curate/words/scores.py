"""Hold what is measured of prompt lists."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kit.curate.words.confusions import Confusion, Pair

ADVICE = (
    "Nothing was fitted on these images; but to take the best list by its score is a choice on them. "
    'A run with prompts = ["names", "mine"] chooses per fold, and its CV is nested.'
)


@dataclass(frozen=True)
class Difference:
    """Hold a paired difference in the metric, positive where this list is better, and one standard error."""

    value: float
    se: float
    distinguishable: bool


@dataclass(frozen=True)
class ListScore:
    """Hold the scores of one list with one encoder.

    Parameters
    ----------
    name, key
        The list and the hash of its content.
    templates, words
        The sentences, and the words of each class.
    score, se
        The metric on all labelled images and one standard error.
    log_loss
        Mean over the images, in nats.
    against_names, against_best
        Paired tests on the same images; None for the list itself.
    recalls
        Share of each class's images that are recognised, 0..1; None where a class has none.
    confusions
        All confusions, the most frequent first.
    resolves, causes
        Images that ``names`` got wrong and this list gets right, by what they were taken for; and the other way round.
    pairs
        Class pairs that ask for better words, the most urgent first.
    snippet
        A piece of TOML with the words of the foremost pairs, ready to edit; empty where nothing is confused.
    optimistic
        Whether the list was written, or edited, after a score was seen.
    """

    name: str
    key: str
    templates: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    score: float
    se: float
    log_loss: float
    against_names: Difference | None
    against_best: Difference | None
    recalls: dict[str, float | None]
    confusions: list[Confusion]
    resolves: list[Confusion]
    causes: list[Confusion]
    pairs: list[Pair]
    snippet: str
    optimistic: bool


@dataclass(frozen=True)
class EncoderScores:
    """Hold all lists' scores with one encoder, the best first."""

    encoder: str
    encoder_args: dict[str, Any]
    lists: list[ListScore]


@dataclass(frozen=True)
class PromptReport:
    """Hold the comparison of all prompt lists.

    Parameters
    ----------
    n_images
        Labelled images of each class.
    skipped
        Encoders whose weights cannot be had, and why.
    """

    competition: str
    metric: str
    n_images: dict[str, int]
    encoders: list[EncoderScores]
    skipped: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-like values."""
        return asdict(self) | {"advice": ADVICE}
