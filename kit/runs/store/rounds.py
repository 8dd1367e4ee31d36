"""Which rounds of pseudo labels are kept: each is measured against its base, the same model without pseudo labels.

Arrays of finished rounds in, a choice out; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.core.errors import InputError
from kit.core.shapes import Folds, Groups, Labels, Mask, Proba
from kit.data.prepared import Prepared
from kit.runs.store.result import Result
from kit.runs.store.score import decided_rows
from kit.scoring.metrics import Metric, paired_difference

GAIN, GAIN_SPREAD = 0.007, 0.019  # of a metric's unit: follows from bench/members.json by derive_gain, as a test holds
ROUNDING = 1e-9  # one image that turned wrong is exactly one standard error, and no reason to stop


@dataclass(frozen=True)
class Choice:
    """Hold which rounds count, round 0 being the run without pseudo labels.

    Parameters
    ----------
    kept
        The last round that all scored images keep; a refit is of it.
    per_fold
        By fold, the last round that the other folds' images keep.
    against_base
        Of every round from the first on, the paired difference to round 0, above 0 where the round is better, and one
        standard error.
    """

    kept: int
    per_fold: dict[int, int]
    against_base: list[tuple[float, float]]

    @property
    def is_over(self) -> bool:
        """Return whether nobody keeps the last round: a further one would be of no use."""
        return max(self.kept, *self.per_fold.values()) < len(self.against_base)


def choose_rounds(prepared: Prepared, made: list[Result]) -> Choice:
    """Choose how many of the rounds that were made are kept: for each fold on the other folds' images."""
    rows = [decided_rows(prepared, result) for result in made]
    folds, groups = prepared.folds[prepared.scored_rows], prepared.scored_groups
    return choose_among(rows[0][0], [proba for _, proba in rows], folds, groups, prepared.scored, prepared.metric)


def choose_among(
    labels: Labels, probas: Sequence[Proba], folds: Folds, groups: Groups, scored: Sequence[int], metric: Metric
) -> Choice:
    """Choose how many rounds are kept, by the oof probabilities of round 0 and of those after it."""
    everything = np.ones(len(labels), dtype=bool)

    def compare(number: int, other: int, where: Mask) -> tuple[float, float]:
        if not where.any():  # a single hold-out has no other images
            return 0.0, float("inf")
        try:
            return paired_difference(metric, labels[where], probas[number][where], probas[other][where], groups[where])
        except InputError:  # a metric that is not defined on so few images tells nothing
            return 0.0, float("inf")

    def count(where: Mask) -> int:
        kept = 0
        for number in range(1, len(probas)):
            if not stays(*compare(number, 0, where)) or _is_worse(*compare(number, kept, where)):
                break
            kept = number
        return kept

    per_fold = {fold: count(folds != fold) for fold in scored}
    return Choice(count(everything), per_fold, [compare(number, 0, everything) for number in range(1, len(probas))])


def stays(difference: float, error: float) -> bool:
    """Return whether a round stays: what was measured on other data sets is the prior, these images may object.

    The prior of its gain is normal, of the mean `GAIN` and the standard deviation `GAIN_SPREAD`; a round stays where
    its mean after these images is above 0, and it is not worse than its base by more than one standard error.
    """
    told = difference / max(error, ROUNDING) ** 2
    return told + GAIN / GAIN_SPREAD**2 > 0 and not _is_worse(difference, error)


def _is_worse(difference: float, error: float) -> bool:
    """Return whether a difference is below 0 by more than one standard error."""
    return difference < -error - ROUNDING
