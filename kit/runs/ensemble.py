"""Ensemble: a temperature per member, weights with a prior that favours the best few; the score is nested.

Reads the members' oof and test predictions; writes ``runs/NAME/ensemble/KEY/`` in the form of a run. Temperatures and
weights for fold k are chosen on the other folds' rows, so that the printed CV is measured on rows that chose nothing:
where all members are heads by models that did not see fold k either (`kit.runs.store.pairs`), else on their oof; the
weights for the test images are chosen on all rows. A copy of another member is noticed without a label and left out; a
member that adds nothing gets no weight, and is not bundled.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit import __version__
from kit.core.errors import InputError, nearest, some
from kit.core.files import key_of
from kit.core.names import ENSEMBLE
from kit.core.shapes import Groups, Labels, Proba, Weights
from kit.core.terminal import count, note, stage, track
from kit.data.prepared import Prepared
from kit.runs.record import record_of
from kit.runs.store.find import find_usable, result_at
from kit.runs.store.imported import list_imported, read_import, stale_imports
from kit.runs.store.pairs import BY_FOLDS, BY_PAIRS, Apart, pairs_of, predict_apart, settle_pair
from kit.runs.store.result import Result, read_result, write_result
from kit.runs.store.score import decide_anew, describe_run, oof_rows, score_anew
from kit.runs.store.sent import PairProba, describe_sent
from kit.runs.store.thresholds import scored_blocks
from kit.scoring.chances import Record
from kit.scoring.metrics import paired_difference
from kit.scoring.mixing import Mixture, find_copies, fit_greedy, fit_weighed, of_choices, take_uniform
from kit.scoring.predictions import Predictions, write_predictions

Fit = Callable[[Labels, np.ndarray, Groups | None], Mixture]  # of labels, members' probabilities and groups
Weigh = Callable[[Labels, np.ndarray, Groups | None, Record | None], Mixture]  # and of what is known of the members


def ensemble(prepared: Prepared, members: list[Result]) -> Result:
    """Combine finished runs, in the form of a run; re-used when the same was combined before.

    No member at all, and a member of other ids or classes, raise InputError.
    """
    if not members:
        raise InputError(f"the ensemble has no finished member; {prepared.competition.command('all')} makes them")
    if combined := find_ensemble(prepared, members):
        _tell(prepared, combined, "re-used")
        return combined
    method, key = prepared.competition.ensemble.method, _key(prepared, members)
    folder = prepared.competition.workspace.runs(prepared.competition.name) / ENSEMBLE / key
    started = time.perf_counter()
    oof, test, learned = combine(prepared, members, method)
    write_predictions(folder / "oof.parquet", oof.predictions)
    write_predictions(folder / "test.parquet", test)
    document = describe_run(prepared, ENSEMBLE, oof.predictions, oof.apart) | learned
    document |= {"key": key, "model": f"ensemble ({method})"}
    document |= {"teachers": {}, "seconds": round(time.perf_counter() - started, 1)}
    result = write_result(ENSEMBLE, folder, document)
    _tell(prepared, result, f"weighed in {document['seconds']:.0f} s")
    return result


def _tell(prepared: Prepared, combined: Result, how: str) -> None:
    """Say what the ensemble scores, whom it consists of, whom not, and whether it was there already."""
    record, score = combined.record, prepared.competition.data.score_name
    scored = f"{score} {record.cv:.4f} +- {record.se:.4f} (nested)"
    members = f"{count(len(record.members), 'member')} {how}"
    stage("ensemble", f"{members}; {scored}; {', '.join(_name_weights(combined))}")
    for line in describe_idle(combined):
        note(f"ensemble: {line}")


def _name_weights(combined: Result) -> list[str]:
    """Return the members that weigh, the heaviest first, with their weights."""
    ordered = sorted(combined.record.weights.items(), key=lambda item: -item[1])
    return [f"{name} {weight:.2f}" for name, weight in ordered if weight > 0]


def describe_idle(combined: Result) -> list[str]:
    """Say which members have no weight and why, one line per reason; nothing where all weigh."""
    copies = combined.record.copies
    lines = [f"{name} has the predictions of {kept}: one of them is kept" for name, kept in copies.items()]
    idle = [name for name, weight in combined.record.weights.items() if weight == 0 and name not in copies]
    return [*lines, *([f"no weight for what adds nothing: {', '.join(idle)}"] if idle else [])]


def list_weights(combined: Result, separator: str) -> str:
    """Return the ensemble's weights as text, the heaviest member first, then why others have none."""
    return separator.join([*_name_weights(combined), *describe_idle(combined)])


def find_ensemble(prepared: Prepared, members: list[Result]) -> Result | None:
    """Return the finished ensemble of exactly these members, or None."""
    folder = prepared.competition.workspace.runs(prepared.competition.name) / ENSEMBLE / _key(prepared, members)
    result = read_result(ENSEMBLE, folder)
    return score_anew(prepared, result, _mix_apart(prepared, members)) if result else None


def score_combined(prepared: Prepared, combined: Result) -> Result | None:
    """Return a finished ensemble scored as today, its thresholds as `ensemble` chooses them; None without its members.

    As it is where it was scored so.
    """
    try:
        members = [result_at(prepared, name, key) for name, key in combined.record.members.items()]
    except InputError:
        return combined if score_anew(prepared, combined) is combined else None
    return score_anew(prepared, combined, _mix_apart(prepared, members))


def _key(prepared: Prepared, members: list[Result]) -> str:
    """Return the key of what is combined and how."""
    method, metric = prepared.competition.ensemble.method, prepared.metric.key
    keys = [(member.name, member.record.key) for member in members]
    return key_of(__version__, keys, prepared.fold_key, method, metric)


@dataclass(frozen=True)
class Nested:
    """Hold an ensemble's nested oof predictions, and by fold what its mixture says of the other folds' images.

    That is by models that did not see the fold either; None where a member has none.
    """

    predictions: Predictions
    apart: Apart | None


def combine(prepared: Prepared, members: list[Result], method: str) -> tuple[Nested, Predictions, dict[str, Any]]:
    """Return nested oof predictions, test predictions, and what was learned on all rows."""
    proba, labels = _member_proba(prepared, members)
    copies = find_copies(proba)
    fit = _leave_out(_choose_fit(prepared, method), copies, members)
    final = fit(labels, proba, prepared.scored_groups)
    test_ids = prepared.pool.ids[prepared.split("test")]
    several = prepared.pool.is_multilabel
    mixed = final(np.stack([of_choices(member.predictions("test").at(test_ids).proba, several) for member in members]))
    apart = _find_apart(prepared, members)
    oof = _mix_nested(prepared, labels, proba, fit, apart)
    test = Predictions(test_ids, prepared.classes, mixed[..., 1] if several else mixed, prepared.pool.task)
    names = [member.name for member in members]
    pairs = None if apart is None else _mix_pairs(prepared, members, final)

    def by_name(values: Weights | None) -> dict[str, float]:
        return {} if values is None else dict(zip(names, values.round(6).tolist(), strict=True))

    return oof, test, {
        "weights": by_name(final.weights),
        "temperatures": by_name(final.temperatures),
        "prior": by_name(final.prior),
        "copies": {names[copy]: names[kept] for copy, kept in copies.items()},
        "members": {member.name: member.record.key for member in members},
        "nested": BY_FOLDS if apart is None else BY_PAIRS,
        "sent": describe_sent(prepared, oof.predictions, test, pairs),
    }  # fmt: skip


def _choose_fit(prepared: Prepared, method: str) -> Weigh:
    """Return what learns weights; where there are no other rows to learn them on, equal ones are taken."""
    if len(np.unique(scored_blocks(prepared))) < 2:
        return take_uniform
    return fit_greedy(prepared.metric) if method == "greedy" else fit_weighed


def _leave_out(weigh: Weigh, copies: Collection[int], members: Sequence[Result]) -> Fit:
    """Return a fit of all members in which copies have no weight, by the record that the others have."""
    kept = np.setdiff1d(np.arange(len(members)), list(copies))
    record = record_of([members[position] for position in kept])

    def spread(values: Weights, absent: float) -> Weights:
        whole = np.full(len(members), absent)
        whole[kept] = values
        return whole

    def fit(labels: Labels, proba: np.ndarray, groups: Groups | None) -> Mixture:
        mixture = weigh(labels, proba[kept], groups, record)
        prior = None if mixture.prior is None else spread(mixture.prior, 0.0)
        return Mixture(spread(mixture.temperatures, 1.0), spread(mixture.weights, 0.0), prior)

    return fit


def _mix_nested(prepared: Prepared, labels: Labels, proba: np.ndarray, fit: Fit, apart: Apart | None) -> Nested:
    """Return oof predictions, every block's mixed by what the other blocks taught: by models apart, if there are."""
    blocks, groups, several = scored_blocks(prepared), prepared.scored_groups, prepared.pool.is_multilabel
    mixed = np.empty(proba.shape[1:])  # (n_images, n_classes), with several labels per image (n_images, n_classes, 2)
    others: dict[int, Proba] = {}
    for block in np.unique(blocks).tolist():
        rest, here = blocks != block, blocks == block
        teaching = proba[:, rest] if apart is None else apart(block)
        mixture = fit(labels[rest], teaching, groups[rest])
        mixed[here] = mixture(proba[:, here])
        if apart is not None and several:
            others[block] = mixture(teaching)[..., 1]
    ids = prepared.pool.ids[prepared.labeled[prepared.scored_rows]]
    oof = Predictions(ids, prepared.classes, mixed[..., 1] if several else mixed, prepared.pool.task)
    return Nested(oof, others.__getitem__ if others else None)


def _find_apart(prepared: Prepared, members: Sequence[Result]) -> Apart | None:
    """Return what gives the members' probabilities by the models of pairs of folds; None where a member has none."""
    if any(pairs_of(prepared, member) is None for member in members):
        return None

    def apart(fold: int) -> np.ndarray:
        return of_choices(predict_apart(prepared, members, fold), prepared.pool.is_multilabel)

    return apart


def _mix_apart(prepared: Prepared, members: Sequence[Result]) -> Apart | None:
    """Return what thresholds of an ensemble are chosen by, made when first asked for; None where oof chooses them."""
    if not prepared.pool.is_multilabel or (apart := _find_apart(prepared, members)) is None:
        return None

    @functools.cache
    def mix() -> Apart:
        proba, labels = _member_proba(prepared, members)
        fit = _choose_fit(prepared, prepared.competition.ensemble.method)
        mixed = _mix_nested(prepared, labels, proba, _leave_out(fit, find_copies(proba), members), apart).apart
        assert mixed is not None
        return mixed

    return lambda fold: mix()(fold)


def _mix_pairs(prepared: Prepared, members: Sequence[Result], mixture: Mixture) -> PairProba:
    """Return what gives the mixture of the members' models of a pair of folds."""
    several = prepared.pool.is_multilabel

    def mix(of: int, other: int) -> Proba:
        own = [settle_pair(prepared, each.folder, each.record.chosen, of, other, is_own=True) for each in members]
        mixed = mixture(np.stack([of_choices(proba, several) for proba in own]))
        return mixed[..., 1] if several else mixed

    return mix


def members_of(prepared: Prepared) -> list[Result]:
    """Return the finished members, imports among them, in the order of ``[ensemble] members``; see `check_members`."""
    return [result for name in check_members(prepared) if (result := find_usable(prepared, name))]


def check_members(prepared: Prepared) -> list[str]:
    """Return the members' names; where one is neither a run nor an import, an InputError names the nearest."""
    competition = prepared.competition
    known = {*competition.runs, *list_imported(prepared)}
    members = competition.ensemble.members
    without_test = {name for name in list_imported(prepared) if not _predicts_test(prepared, name)}
    if members is None:
        return [*competition.default_runs, *(name for name in list_imported(prepared) if name not in without_test)]
    for name in members:
        if name in without_test:
            cause = "was imported without test predictions; import it again with --test FILE, or take it out"
            raise InputError(f"{competition.file}: [ensemble] members: {name!r} {cause}")
        if name in known:
            continue
        file = competition.file
        if why := stale_imports(prepared).get(name):
            raise InputError(f"{file}: [ensemble] members: {name!r} {why}")
        raise InputError(f"{file}: [ensemble] members: no run or import {name!r}; {nearest(name, known)}")
    return members


def _predicts_test(prepared: Prepared, name: str) -> bool:
    """Return whether an import has test predictions."""
    found = read_import(prepared, name)
    return found is not None and found.predicts_test


def find_twin(prepared: Prepared, result: Result) -> str | None:
    """Return the finished run or import that has the oof predictions of another one, up to a temperature; or None."""
    names = [name for name in (*prepared.competition.runs, *list_imported(prepared)) if name != result.name]
    others = [other for name in names if (other := find_usable(prepared, name))]
    copies = find_copies(_member_proba(prepared, [*others, result])[0])
    return others[copies[len(others)]].name if len(others) in copies else None


def _member_proba(prepared: Prepared, members: Sequence[Result]) -> tuple[np.ndarray, Labels]:
    """Return the members' oof probabilities (n_members, n_images, n_classes) and the labels; see `of_choices`."""
    probas, labels = [], prepared.labels[prepared.scored_rows]
    for member in members:
        oof = member.predictions("oof")
        if oof.classes != prepared.classes:
            raise InputError(f"{member.folder}: classes are {some(oof.classes)}, not the competition's; remake the run")
        probas.append(of_choices(oof_rows(prepared, oof)[1], prepared.pool.is_multilabel))
    return np.stack(probas), labels


def weigh(prepared: Prepared, members: Sequence[Result], fold: int) -> Mixture:
    """Return the mixture of runs that the oof rows outside a fold choose; equal weights where there are none."""
    proba, labels = _member_proba(prepared, members)
    rest = prepared.folds[prepared.scored_rows] != fold
    fit = fit_weighed if rest.any() else take_uniform
    fit = _leave_out(fit, find_copies(proba), members)
    apart = _find_apart(prepared, members) if fold in prepared.scored else None  # a refit is in no pair
    return fit(labels[rest], proba[:, rest] if apart is None else apart(fold), prepared.scored_groups[rest])


def leave_one_out(prepared: Prepared, members: list[Result], names: Collection[str]) -> dict[str, tuple[float, float]]:
    """Return how much some members add: the ensemble of all against that of the others, nested, on the same images.

    By member: what is lost without it, in the metric's unit and above 0 where the member helps, and one standard error.
    """
    labels, whole = _decided(prepared, members)
    lost = {}
    for member in track([member for member in members if member.name in names], "members"):
        _, without = _decided(prepared, [other for other in members if other is not member])
        lost[member.name] = paired_difference(prepared.metric, labels, whole, without, prepared.scored_groups)
    return lost


def _decided(prepared: Prepared, members: list[Result]) -> tuple[Labels, Proba]:
    """Return labels and the nested probabilities of an ensemble, with its thresholds at one half."""
    proba, labels = _member_proba(prepared, members)
    fit = _choose_fit(prepared, prepared.competition.ensemble.method)
    fit = _leave_out(fit, find_copies(proba), members)
    oof = _mix_nested(prepared, labels, proba, fit, _find_apart(prepared, members))
    return decide_anew(prepared, oof.predictions, oof.apart)
