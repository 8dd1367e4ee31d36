"""What rounds of pseudo labels gain on the draws that were kept, and what the kit expects of one more.

Whatever is judged on a set uses the evidence of the other photos alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kit.bench.explain import mean_and_error
from kit.bench.kept import Kept
from kit.bench.members.measure import JOINTLY_TAUGHT, WEAKLY_TAUGHT
from kit.core.names import base_of, round_of
from kit.core.shapes import Proba, Scores
from kit.models.trust import JOINT, Trust
from kit.runs.store.rounds import EXPECTED, Choice, Expected, choose_among
from kit.scoring.metrics import find_metric, hits

DIGITS = 3  # to which trust is rounded
Draws = Mapping[int, Kept]


@dataclass(frozen=True)
class OfRounds:
    """Hold what the first round of a run gains over the same run without pseudo labels, on one set; accuracies, -1..1.

    Parameters
    ----------
    gain, sd
        Mean over draws of the difference on hidden images, and its standard deviation over draws.
    told
        The mean of the difference on the labelled images, by the models of the folds.
    ahead
        How far its teacher is ahead of that run, on hidden images.
    kept, kept_se
        The difference on hidden images of the round that the rule keeps, by the evidence of the other photos, and its
        standard error over draws.
    """

    setting: str
    run: str
    gain: float
    sd: float
    told: float
    ahead: float
    kept: float
    kept_se: float
    draws: int


def describe_rounds(measured: Mapping[str, Draws]) -> list[OfRounds]:
    """Return what rounds gain on every set: the first one, and the one that the rule keeps."""
    lines, judged = describe_first_rounds(measured), []
    for line in lines:
        expected = expect_by_others(lines, line.setting)
        kept = np.array([_gain_of_kept(draw, line.run, expected) for draw in measured[line.setting].values()])
        mean, error = mean_and_error(kept)
        judged.append(replace(line, kept=round(mean, 4), kept_se=round(error, 4)))
    return judged


def describe_first_rounds(measured: Mapping[str, Draws]) -> list[OfRounds]:
    """Return what the first rounds gain on every set; nothing is judged by a rule yet."""
    cases = [(setting, run) for setting, draws in measured.items() for run in _taught_runs(next(iter(draws.values())))]
    return [_describe_first(setting, run, measured[setting]) for setting, run in cases]


def expect_by_others(lines: Sequence[OfRounds], setting: str) -> Expected:
    """Return what rounds gain by the evidence of the other photos; the kit's where fewer than two sets are left."""
    others = [other for other in lines if other.setting.split()[0] != setting.split()[0]]
    return derive_expected(others) if len({other.setting for other in others}) > 1 else EXPECTED


def _taught_runs(draw: Kept) -> list[str]:
    return list(dict.fromkeys(base_of(name) for name in draw.names.tolist() if round_of(name) is not None))


def _rounds_and_teacher(draw: Kept, run: str) -> tuple[Kept, Kept]:
    """Return the rounds of a run, the first without pseudo labels, and its teacher; of itself that is round 0."""
    names = draw.names.tolist()
    rounds = [name for name in names if base_of(name) == run and round_of(name) is not None]
    weakest = [name for name in names if name.startswith("plain_")][-1:]
    teacher = {JOINTLY_TAUGHT: [JOINT], WEAKLY_TAUGHT: weakest}.get(run, rounds[:1])
    return draw.take(rounds), draw.take(teacher)


def _describe_first(setting: str, run: str, draws: Draws) -> OfRounds:
    """Return what the first round of a run gains, and how far its teacher is ahead."""
    rows = []
    for draw in draws.values():
        rounds, teacher = _rounds_and_teacher(draw, run)
        base, first, ahead = (hits(draw.truth, each).mean() for each in (*rounds.test[:2], teacher.test[0]))
        told = hits(draw.labels, rounds.oof[1]).mean() - hits(draw.labels, rounds.oof[0]).mean()
        rows.append((first - base, told, ahead - base))
    gain, told, ahead = (round(float(value), 4) for value in np.mean(rows, axis=0))
    sd = round(float(np.std(rows, axis=0)[0]), 4)
    return OfRounds(setting, run, gain, sd, told, ahead, kept=0.0, kept_se=0.0, draws=len(draws))


def _gain_of_kept(draw: Kept, run: str, expected: Expected) -> float:
    """Return what the round that the rule keeps gains on the hidden images of a draw."""
    rounds, kept = _rounds_and_teacher(draw, run)[0], _choose(draw, run, expected).kept
    return float(hits(draw.truth, rounds.test[kept]).mean() - hits(draw.truth, rounds.test[0]).mean())


def _choose(draw: Kept, run: str, expected: Expected) -> Choice:
    (rounds, teacher), metric = _rounds_and_teacher(draw, run), find_metric("accuracy")
    folds: list[int] = np.unique(draw.folds).tolist()
    taught: dict[int | None, Proba] = {None: teacher.oof[0]}
    taught.update(dict.fromkeys(folds, teacher.oof[0]))
    return choose_among(draw.labels, list(rounds.oof), draw.folds, draw.groups, folds, metric, taught, expected)


def settle(draw: Kept, expected: Expected) -> Kept:
    """Return a draw in which every taught run is one member: the rounds that the rule keeps, for each fold its own."""
    plain = draw.take([name for name in draw.names.tolist() if round_of(name) is None])
    runs, oof, test = _taught_runs(draw), [], []
    for run in runs:
        rounds, choice = _rounds_and_teacher(draw, run)[0], _choose(draw, run, expected)
        per_image = np.array([choice.per_fold[fold] for fold in draw.folds.tolist()])
        oof.append(rounds.oof[per_image, np.arange(len(per_image))])
        test.append(rounds.test[choice.kept])
    return replace(
        plain,
        names=np.array([*plain.names.tolist(), *runs]),
        kinds=np.array([*plain.kinds.tolist(), *[""] * len(runs)]),
        oof=np.stack([*plain.oof, *oof]),
        test=np.stack([*plain.test, *test]),
    )


def derive_expected(rounds: Sequence[OfRounds]) -> Expected:
    """Return what rounds of pseudo labels gain, from what was measured on several sets.

    What a student takes on of its teacher's lead is the slope of the gain within the sets. Everything else is a mean
    over sets; its standard deviation is that of one more run on one more set: over sets, and over runs and, of the
    gain, draws within them.
    """
    settings = dict.fromkeys(line.setting for line in rounds)
    of_set = [[line for line in rounds if line.setting == setting] for setting in settings]

    def centred(values: Sequence[float]) -> Scores:
        return np.asarray(values) - np.mean(values)

    ahead = np.concatenate([centred([line.ahead for line in lines]) for lines in of_set])
    gains = np.concatenate([centred([line.gain for line in lines]) for lines in of_set])
    share = float(ahead @ gains / (ahead @ ahead))
    beyond = [np.array([line.gain - share * line.ahead for line in lines]) for lines in of_set]
    excess = [np.array([line.told - line.gain for line in lines]) for lines in of_set]
    drawn = [np.mean([line.sd**2 for line in lines]) for lines in of_set]
    gain = derive_trust([each.mean() for each in beyond], np.sqrt([each.var() for each in beyond] + np.array(drawn)))
    more = derive_trust([each.mean() for each in excess], [float(each.std()) for each in excess])
    lead = float(np.sqrt(np.mean([line.ahead**2 for line in rounds])))
    return Expected(round(share, DIGITS), gain.excess, gain.sd, more.excess, more.sd, round(lead, DIGITS))


def derive_trust(means: Sequence[float], within: Sequence[float] | Scores) -> Trust:
    """Return a mean over sets, and how far one more differs: their deviation, and that `within` each of them."""
    between = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    return Trust(
        round(float(np.mean(means)), DIGITS), round(float(np.sqrt(between + np.mean(np.square(within)))), DIGITS)
    )
