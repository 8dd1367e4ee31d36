"""Which rounds of pseudo labels are kept: each is measured against its base, the same model without pseudo labels.

Arrays of finished rounds in, a choice out; nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

from kit.core.errors import InputError
from kit.core.shapes import Folds, Groups, Labels, Mask, Proba
from kit.data.prepared import Prepared
from kit.runs.store.result import Result, read_provenance
from kit.runs.store.score import decided_rows
from kit.scoring.metrics import Metric, paired_difference

ROUNDING = 1e-9  # one image that turned wrong is exactly one standard error, and no reason to stop
SURE = 0.75  # probability of a gain that a round needs
UNTOLD = (0.0, math.inf)  # a difference that no image tells


@dataclass(frozen=True)
class Expected:
    """Say what rounds of pseudo labels gain, before a competition's images are looked at; in a metric's unit.

    Parameters
    ----------
    share
        Of what its teachers are ahead of it, how much a student takes on.
    gain, gain_sd
        Beyond that, and how far one more run on one more data set differs.
    excess, excess_sd
        How much more the model of one fold gains, which the labelled images score, than all folds' together, which are
        sent; and how far one more run differs.
    ahead_sd
        How far teachers are ahead of their student, or behind.
    """

    share: float
    gain: float
    gain_sd: float
    excess: float
    excess_sd: float
    ahead_sd: float


EXPECTED = Expected(share=0.389, gain=0.002, gain_sd=0.032, excess=0.008, excess_sd=0.016, ahead_sd=0.067)
"""It follows from ``kit/bench/members.json`` by `kit.bench.members.derive_expected`; a test holds that it does, and
``./run.sh bench members`` measures it again.
"""


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
    chances
        Of every round from the first on, the probability that what is sent of it is better than of round 0.
    """

    kept: int
    per_fold: dict[int, int]
    against_base: list[tuple[float, float]]
    chances: list[float]

    @property
    def is_over(self) -> bool:
        """Return whether nobody keeps the last round: a further one would be of no use."""
        return max(self.kept, *self.per_fold.values()) < len(self.against_base)


def describe_rule() -> dict[str, float]:
    """Return what decides beside the images: of another rule the rounds are chosen anew."""
    return {"sure": SURE, **asdict(EXPECTED)}


def choose_rounds(prepared: Prepared, made: Sequence[Result], teachers: Sequence[Result]) -> Choice:
    """Choose how many of the rounds that were made are kept: for each fold on the other folds' images.

    `teachers` are those of the first round.
    """
    rows = [decided_rows(prepared, result) for result in made]
    folds, groups = prepared.folds[prepared.scored_rows], prepared.scored_groups
    taught = _mix_teachers(prepared, made[1], teachers) if len(made) > 1 else {}
    probas = [proba for _, proba in rows]
    return choose_among(rows[0][0], probas, folds, groups, prepared.scored, prepared.metric, taught)


def _mix_teachers(prepared: Prepared, first: Result, teachers: Sequence[Result]) -> dict[int | None, Proba]:
    """Return what the teachers say of the scored images, weighed as they were for each fold; None: as for all."""
    said = np.stack([decided_rows(prepared, teacher)[1] for teacher in teachers])
    given = {fold: (read_provenance(first.folder, fold) or {}).get("diary") for fold in prepared.scored}
    choices = {None: first.record.pseudo_choice, **given}
    weights = {fold: _weights(choice or {}, teachers) for fold, choice in choices.items()}
    return {fold: np.tensordot(each, said, axes=1) for fold, each in weights.items()}


def _weights(choice: Mapping[str, Mapping[str, float]], teachers: Sequence[Result]) -> np.ndarray:
    """Return the say that each teacher had, (n_teachers,) summing to 1; the same for all where nothing tells."""
    say = np.array([choice.get("teachers", {}).get(teacher.name, 0.0) for teacher in teachers])
    return say / say.sum() if say.sum() else np.full(len(teachers), 1 / len(teachers))


def choose_among(
    labels: Labels,
    probas: Sequence[Proba],
    folds: Folds,
    groups: Groups,
    scored: Sequence[int],
    metric: Metric,
    taught: Mapping[int | None, Proba],
    expected: Expected = EXPECTED,
) -> Choice:
    """Choose how many rounds are kept, by the oof probabilities of round 0 and of those after it.

    `taught` holds the oof probabilities of the teachers together, for each fold and, as None, for all images; of
    teachers that are not in it nothing is known.
    """

    def compare(ours: Proba, theirs: Proba, where: Mask) -> tuple[float, float]:
        if not where.any():  # a single hold-out has no other images
            return UNTOLD
        try:
            return paired_difference(metric, labels[where], ours[where], theirs[where], groups[where])
        except InputError:  # a metric that is not defined on so few images tells nothing
            return UNTOLD

    def weigh(number: int, fold: int | None, where: Mask) -> float:
        teachers = taught.get(fold)
        ahead = UNTOLD if teachers is None else compare(teachers, probas[0], where)
        return chance_of_gain(compare(probas[number], probas[0], where), ahead, expected)

    def count(fold: int | None, where: Mask) -> int:
        kept = 0
        for number in range(1, len(probas)):
            since = [compare(probas[number], probas[earlier], where) for earlier in {0, kept}]
            if weigh(number, fold, where) < SURE or any(_is_worse(*each) for each in since):
                break
            kept = number
        return kept

    everything, after = np.ones(len(labels), dtype=bool), range(1, len(probas))
    per_fold = {fold: count(fold, folds != fold) for fold in scored}
    against_base = [compare(probas[number], probas[0], everything) for number in after]
    chances = [weigh(number, None, everything) for number in after]
    return Choice(count(None, everything), per_fold, against_base, chances)


def chance_of_gain(told: tuple[float, float], ahead: tuple[float, float], expected: Expected = EXPECTED) -> float:
    """Return the probability, 0..1, that what is sent of a round is better than what is sent of its base.

    Parameters
    ----------
    told
        The paired difference of the round to its base on labelled images, and one standard error.
    ahead
        That of the teachers to the base.
    expected
        What was measured on other data sets. Both are taken to be normal, and so is what the images tell.
    """
    known = expected.ahead_sd**2 / (expected.ahead_sd**2 + ahead[1] ** 2)
    prior = expected.gain + expected.share * known * ahead[0]
    variance = expected.gain_sd**2 + (1 - known) * (expected.share * expected.ahead_sd) ** 2
    error = max(math.hypot(told[1], expected.excess_sd), ROUNDING)
    precision = 1 / variance + 1 / error**2
    mean = (prior / variance + (told[0] - expected.excess) / error**2) / precision
    return NormalDist().cdf(mean * math.sqrt(precision))


def _is_worse(difference: float, error: float) -> bool:
    """Return whether a difference is below 0 by more than one standard error."""
    return difference < -error - ROUNDING
