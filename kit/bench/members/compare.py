"""Compare ways of mixing on the draws that were kept, and rounds with their base; derive what the kit believes of both.

Reads and writes ``kit/bench/members.json``: per set, what a kind of run costs beside the joint probe, and what rounds
of pseudo labels gain. Whatever is judged on a set uses the record of the other photos alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Table

from kit.bench.explain import mean_and_error
from kit.bench.kept import Kept, Rule, mix_by, without_copies
from kit.bench.members.rounds import (
    DIGITS,
    Draws,
    OfRounds,
    derive_trust,
    describe_first_rounds,
    expect_by_others,
    settle,
)
from kit.core.files import read_json, write_json
from kit.core.shapes import Groups, Labels, Proba, Rows, Scores
from kit.core.terminal import empty_table
from kit.models.trust import JOINT, RECORD, Known
from kit.scoring.chances import Record
from kit.scoring.metrics import hits
from kit.scoring.mixing import (
    Mixture,
    apply_temperature,
    fit_temperature,
    fit_weighed,
    fit_weights,
    take_uniform,
)

FILE = Path(__file__).parents[1] / "members.json"
HOPELESS, PLANNED = "hopeless", "as planned"
CLEARLY = 2.0  # paired standard errors
TINY = 1e-7  # probability: the logarithm of a certain error stays finite
LEAST_SHARE = 10.0**-DIGITS


@dataclass(frozen=True)
class OfKind:
    """Hold what a run of a kind costs beside the joint probe of the same draws, on one set.

    Parameters
    ----------
    error, error_sd
        Mean over draws and over the runs of the kind of the share of hidden images that one gets wrong beyond, -1..1,
        and the standard deviation over draws of the runs' mean.
    loss, loss_sd
        The same of the log-loss in nats, each at its best temperature.
    share
        Weight, 0..1, of all runs of the kind in the mixture that makes the hidden labels most likely; each run at its
        best temperature, all draws together.
    """

    setting: str
    kind: str
    error: float
    error_sd: float
    loss: float
    loss_sd: float
    share: float
    draws: int


@dataclass(frozen=True)
class Standing:
    """Hold how a way of mixing compares with its members on one set, in hidden accuracy.

    Parameters
    ----------
    of_mean, of_draw
        Beyond the member that is best in the mean over draws, and beyond the best of each draw.
    worse, worse_of_draw
        Share of the draws in which it is below that one, and below the best of the draw, by more than 2 paired standard
        errors.
    """

    setting: str
    members: str
    way: str
    of_mean: float
    of_draw: float
    worse: float
    worse_of_draw: float
    draws: int


def describe_kinds(measured: Mapping[str, Draws]) -> list[OfKind]:
    """Return what every kind costs on every set."""
    lines = []
    for setting, draws in measured.items():
        apart: dict[str, list[tuple[float, float]]] = {}
        for draw in draws.values():
            kinds = draw.kinds.tolist()
            scores = {i: _cost(draw.truth, draw.test[i]) for i, kind in enumerate(kinds) if kind}
            joint = np.array(scores[kinds.index(JOINT)])
            for kind in dict.fromkeys(kinds[i] for i in scores):
                mean = np.mean([scores[i] for i in scores if kinds[i] == kind], axis=0)
                apart.setdefault(str(kind), []).append(tuple(mean - joint))
        shares = _share_out(draws.values())
        for kind, values in apart.items():
            mean, sd = np.mean(values, axis=0), np.std(values, axis=0)
            figures = [round(float(value), 4) for value in (mean[0], sd[0], mean[1], sd[1])]
            error, error_sd, loss, loss_sd = figures
            share = round(shares.get(kind, 0.0), 4)
            lines.append(OfKind(setting, kind, error, error_sd, loss, loss_sd, share, draws=len(draws)))
    return lines


def _share_out(draws: Iterable[Kept]) -> dict[str, float]:
    """Return the weights that the hidden images of all draws choose, by kind; of runs that every draw has."""
    draws = list(draws)
    named = [set(draw.names[_alone(draw)].tolist()) for draw in draws]
    shared = sorted(set.intersection(*named))
    kinds, of_truth = draws[0].take(shared).kinds, []
    for draw in draws:
        logits = np.log(np.maximum(draw.take(shared).test.astype(np.float64), TINY))
        scaled = [apply_temperature(each, fit_temperature(draw.truth, each)) for each in logits]
        of_truth.append(np.stack([each[np.arange(len(draw.truth)), draw.truth] for each in scaled]))
    chosen = np.maximum(np.concatenate(of_truth, axis=1), TINY)[:, :, None]
    weights = fit_weights(chosen, np.ones(len(kinds)) / len(kinds), 0)
    return {str(kind): float(weights[kinds == kind].sum()) for kind in np.unique(kinds)}


def _alone(draw: Kept) -> Rows:
    """Return the members of which there is a record, copies of another left out."""
    alone = without_copies(draw.oof.astype(np.float64))
    return alone[draw.kinds[alone] != ""]


def _cost(truth: Labels, proba: Proba) -> tuple[float, float]:
    """Return the error and the log-loss at the best temperature."""
    from scipy.special import log_softmax

    logits = np.log(np.maximum(proba.astype(np.float64), TINY))
    scaled = log_softmax(logits / fit_temperature(truth, logits), axis=1)
    return 1 - float(hits(truth, proba).mean()), -float(scaled[np.arange(len(truth)), truth].mean())


def derive_record(kinds: Sequence[OfKind]) -> dict[str, Known]:
    """Return what each kind costs beside the joint probe, in errors and in log-loss: the mean over sets.

    Its standard deviation is that over sets, how far one more may differ. It is taken as no less than half of the mean,
    for the sets are few and partly the same images. How the runs of one set differ by the labels drawn is no part of
    it: that luck is not known before.
    """
    record = {}
    for kind in dict.fromkeys(line.kind for line in kinds):
        of_sets = [[getattr(line, name) for line in kinds if line.kind == kind] for name in ("error", "loss")]
        trusts = [derive_trust(costs, np.zeros(len(costs))) for costs in of_sets]
        surely = [replace(each, sd=max(each.sd, round(each.excess / 2, DIGITS))) for each in trusts]
        share = float(np.mean([line.share for line in kinds if line.kind == kind]))
        record[kind] = Known(surely[0], surely[1], max(round(share, DIGITS), LEAST_SHARE))
    return record


def best_alone(labels: Labels, proba: Proba, groups: Groups, record: Record | None) -> Mixture:
    """Give all weight to the member of the lowest log-loss, each at its best temperature."""
    losses = [_cost(labels, member)[1] for member in proba]
    return Mixture(np.ones(len(proba)), np.eye(len(proba))[int(np.argmin(losses))])


def without_record(labels: Labels, proba: Proba, groups: Groups, record: Record | None) -> Mixture:
    """Mix as the kit does where nothing is known of the members."""
    return fit_weighed(labels, proba, groups)


RULES: dict[str, Rule] = {
    "equal weights": take_uniform,
    "best log-loss alone": best_alone,
    "by the images alone": without_record,
    "by images and record": fit_weighed,
}


def compare_rules(measured: Mapping[str, Draws], rules: Mapping[str, Rule] = RULES) -> list[Standing]:
    """Return how ways of mixing compare on every set, by the record of the other photos."""
    kinds, rounds, lines = describe_kinds(measured), describe_first_rounds(measured), []
    for setting, draws in measured.items():
        photos, expected = setting.split()[0], expect_by_others(rounds, setting)
        record = derive_record([line for line in kinds if line.setting.split()[0] != photos])
        settled = {number: settle(draw, expected) for number, draw in draws.items()}
        for members, chosen in selections(next(iter(settled.values())).names.tolist()).items():
            taken = {number: draw.take(chosen) for number, draw in settled.items()}
            if members.endswith(HOPELESS):
                taken = {number: _with_hopeless(draw, number) for number, draw in taken.items()}
            right = np.stack([[hits(draw.truth, each).mean() for each in draw.test] for draw in taken.values()])
            for way, rule in rules.items():
                mixed = [_hits_of(draw, rule, record) for draw in taken.values()]
                lines.append(_stand(setting, members, way, list(taken.values()), mixed, right))
    return lines


def compare_planned(measured: Mapping[str, Draws]) -> list[Standing]:
    """Return how the ensembles of planned runs compare with those of their runs that every draw has.

    They are mixed as the kit does, whose record knows these sets too, and by the record of the other photos.
    """
    known, lines = read_members()[0], []
    for setting, draws in measured.items():
        shared = [name for name in next(iter(draws.values())).names.tolist()
                  if all(name in draw.names for draw in draws.values())]  # fmt: skip
        compared = [draw.take(shared) for draw in draws.values()]
        right = np.stack([[hits(draw.truth, each).mean() for each in draw.test] for draw in compared])
        others = derive_record([line for line in known if line.setting.split()[0] != setting.split()[0]])
        joined = {number: _with_hopeless(draw, number) for number, draw in draws.items()}
        for members, mixing in ((PLANNED, draws), (f"{PLANNED}, {HOPELESS}", joined)):
            for way, record in (("by images and record", RECORD), ("by images and the record of others", others)):
                mixed = [_hits_of(draw, fit_weighed, record) for draw in mixing.values()]
                lines.append(_stand(setting, members, way, compared, mixed, right))
    return lines


def selections(names: Sequence[str]) -> dict[str, list[str]]:
    """Return which members are combined: all, those of a plan, and each with a hopeless one."""
    planned = [name for name in names if name == JOINT or name.startswith("probe_")]
    chosen = {"all": list(names), "of a plan": planned}
    return chosen | {f"{name}, {HOPELESS}": members for name, members in chosen.items()}


def _with_hopeless(draw: Kept, seed: int) -> Kept:
    """Add a member that is sure of something, whatever it sees."""
    draws = np.random.default_rng(seed)

    def guess(like: Proba) -> Proba:
        return draws.dirichlet(np.full(like.shape[2], 0.3), like.shape[1])[None].astype(np.float32)

    return replace(
        draw,
        names=np.append(draw.names, HOPELESS),
        kinds=np.append(draw.kinds, ""),
        oof=np.concatenate([draw.oof, guess(draw.oof)]),
        test=np.concatenate([draw.test, guess(draw.test)]),
    )


def _hits_of(draw: Kept, rule: Rule, record: Mapping[str, Known]) -> Scores:
    """Return which hidden images the mixture of a draw gets right."""
    return hits(draw.truth, mix_by(draw, rule, record)).astype(float)


def _stand(
    setting: str, members: str, way: str, draws: Sequence[Kept], mixed: Sequence[Scores], right: Scores
) -> Standing:
    """Compare mixtures with the members' accuracies, (n_draws, n_members)."""
    best = int(right.mean(axis=0).argmax())
    gains, worse = zip(*(_compare(draws, mixed, of) for of in ([best] * len(draws), right.argmax(axis=1))), strict=True)
    return Standing(setting, members, way, gains[0], gains[1], worse[0], worse[1], len(draws))


def _compare(draws: Sequence[Kept], mixed: Sequence[Scores], members: Sequence[int] | Rows) -> tuple[float, float]:
    """Return the mean difference of mixtures to one member of each draw, and how often they are clearly below."""
    apart = [ours - hits(draw.truth, draw.test[of]) for ours, draw, of in zip(mixed, draws, members, strict=True)]
    worse = [each.mean() < -CLEARLY * mean_and_error(each)[1] for each in apart]
    return float(np.mean([each.mean() for each in apart])), float(np.mean(worse))


def read_members(file: Path = FILE) -> tuple[list[OfKind], list[OfRounds]]:
    """Return the committed evidence."""
    held = read_json(file)
    return [OfKind(**each) for each in held["kinds"]], [OfRounds(**each) for each in held["rounds"]]


def write_members(kinds: Sequence[OfKind], rounds: Sequence[OfRounds], file: Path = FILE) -> None:
    """Commit evidence: what `kit.models.trust` and `kit.runs.store.rounds` hold must follow from it."""
    write_json(file, {"kinds": [asdict(each) for each in kinds], "rounds": [asdict(each) for each in rounds]})


def render_members(lines: Sequence[Standing], rounds: Sequence[OfRounds]) -> list[Table]:
    """Return the comparisons as tables: points of accuracy."""
    taught = empty_table()
    for column in (
        "set, labels per class",
        "run",
        "its teacher ahead",
        "first round, labelled",
        "hidden",
        "by the rule",
        "draws",
    ):
        taught.add_column(column)
    for each in rounds:
        kept = f"{100 * each.kept:+.1f} ± {100 * each.kept_se:.1f}"
        figures = [f"{100 * value:+.1f}" for value in (each.ahead, each.told, each.gain)]
        taught.add_row(each.setting, each.run, *figures, kept, str(each.draws))
    return [render_mixing(lines), taught]


def render_mixing(lines: Sequence[Standing]) -> Table:
    """Return how mixtures compare with their members as a table: points of accuracy."""
    mixing = empty_table()
    for column in (
        "set, labels per class",
        "members",
        "way",
        "best in the mean",
        "best of each draw",
        "clearly worse",
        "than each draw's",
        "draws",
    ):
        mixing.add_column(column)
    for line in lines:
        shares = (
            f"{100 * line.of_mean:+.1f}",
            f"{100 * line.of_draw:+.1f}",
            f"{line.worse:.0%}",
            f"{line.worse_of_draw:.0%}",
        )
        mixing.add_row(line.setting, line.members, line.way, *shares, str(line.draws))
    return mixing
