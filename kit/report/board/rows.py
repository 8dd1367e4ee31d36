"""The leaderboard's rows: what is known of every run.

Reads run.json and the predictions of finished runs, the ledger, and a practice competition's solution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from kit.core.errors import InputError
from kit.data.prepared import Prepared
from kit.features.joint import encoders_of
from kit.kaggle.submission import is_of, read_ledger
from kit.report.board.beside import Score, score_beside
from kit.report.board.expected import Expected, expect_scores
from kit.report.board.remarks import remarks_on, sources_of
from kit.report.board.solution import Label, local_score, read_solution, why_cv_only
from kit.runs.alarm import find_doubts
from kit.runs.decide.decisions import decided_test
from kit.runs.noise import read_noise
from kit.runs.store import Result, compare_with_the_best, read_provenance
from kit.runs.store.pairs import BY_FOLDS, BY_PAIRS
from kit.scoring.metrics import Estimate

BEST, SAME = "best", "not distinguishable"
JOINED = " + "  # between the encoders of a run that has several


class Against(NamedTuple):
    """Hold how a run compares with the best: the paired difference, its standard error, the joint test's verdict."""

    difference: float
    error: float
    may_be_best: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """Hold one line of the leaderboard; None where a thing is not known.

    `test_images_used` says that the run, one of its teachers or one of its members learned from test images;
    `pseudo_precision` is the share, 0..1, of the test images it was taught whose pseudo label the solution confirms;
    `corrected` is the best CV without the luck by which the best of all runs was chosen, of that run alone;
    `interval` and `local_interval` are the ends of the 95 % intervals of `cv` and `local`;
    `over_base` is the paired difference of the kept round of pseudo labels to the same model without any;
    `nested` says how what was chosen on the scored images, thresholds too, was: by ``"pairs"`` of folds, models that
    did not see the fold, or by the other ``"folds"``' oof, whose models did; None where nothing was;
    `flattered` is how far such a score was above what it should be where labels mean nothing, by ``bench noise``;
    `expected` is the score of what is sent, the mean of the folds' models at the test's class shares, and how it is
    known;
    `beside` holds the out-of-fold scores in other metrics by name;
    `remarks` hold what must be known of the CV before it is believed, and why rounds of pseudo labels ended.
    """

    run: str
    model: str
    encoder: str | None
    round: int | None = None
    test_images_used: bool
    cv: float | None = None
    se: float | None = None
    interval: list[float] | None = None
    corrected: float | None = None
    difference: float | None = None
    difference_se: float | None = None
    verdict: str
    local: float | None = None
    local_se: float | None = None
    local_interval: list[float] | None = None
    public: str | None = None
    private: str | None = None
    seconds: float | None = None
    remarks: tuple[str, ...] = ()
    pseudo_precision: float | None = None
    over_base: float | None = None
    over_base_se: float | None = None
    nested: str | None = None
    flattered: float | None = None
    flattered_se: float | None = None
    expected: Expected | None = None
    beside: dict[str, Score] = field(default_factory=dict)


def leaderboard(
    prepared: Prepared, results: Sequence[Result], skipped: dict[str, str], states: Mapping[str, str] | None = None
) -> list[Row]:
    """Return the leaderboard's rows, best CV first; the ensemble is among the finished runs.

    `skipped` says of each other run why it could not be made, `states` how far those are that are not finished.
    """
    sign = prepared.metric.sign
    ordered = sorted(results, key=lambda result: -sign * result.record.cv)
    solution = read_solution(prepared)
    cv_only = None if solution is None else why_cv_only(prepared)
    ledger = read_ledger(prepared.competition)
    contest, corrected = compare_with_the_best(prepared, ordered)
    doubts = {doubt.run: f"CV doubtful: {doubt}" for doubt in find_doubts(prepared, ordered)}
    rows = [
        _row(prepared, result, Against(*against), solution, cv_only, ledger)
        for result, *against in zip(ordered, *(values.tolist() for values in contest), strict=True)
    ]
    rows = [replace(row, remarks=(doubts[row.run], *row.remarks)) if row.run in doubts else row for row in rows]
    rows[0] = replace(rows[0], verdict=BEST, corrected=corrected)
    expected = expect_scores(prepared, results)
    rows = [replace(row, expected=expected.get(row.run)) for row in rows]
    told = {name: f"skipped: {reason}" for name, reason in skipped.items()}
    for name, verdict in (told | dict(states or {})).items():
        run = prepared.competition.runs[name]
        facts = {"run": name, "model": run.model, "encoder": _encoder(run.options)}
        rows.append(Row(**facts, test_images_used=run.use_test_images, verdict=verdict))
    return rows


def used_test_images(prepared: Prepared, result: Result) -> bool:
    """Return whether a run learned from test images, by itself or through its teachers or members.

    How an import was made is not known; it counts as one that did not. InputError where a teacher or member is gone.
    """
    return result.record.use_test_images or any(
        used_test_images(prepared, source) for source in sources_of(prepared, result)
    )


def _encoder(options: dict[str, Any]) -> str | None:
    """Return a run's encoder as its table names it, several joined; None where it has none."""
    return JOINED.join(encoder for encoder, _ in encoders_of(options)) or None


def _row(
    prepared: Prepared,
    result: Result,
    against: Against,
    solution: dict[str, Label] | None,
    cv_only: str | None,
    ledger: list[dict[str, str]],
) -> Row:
    """Fill one line."""
    name, record = result.name, result.record
    local: Estimate | None = None
    if solution is not None and cv_only is None:
        try:
            local = local_score(prepared, solution, decided_test(prepared, result))
        except InputError as refusal:  # what cannot be had of one run must not hide the others
            cv_only = str(refusal)
    over_base = _over_base(record.rounds)
    public, private = _kaggle_scores(prepared, ledger, result)
    flattered = noise.told if (noise := read_noise(prepared, result)) else (None, None)
    thresholds = record.thresholds if record.thresholds and record.thresholds.gain is not None else None
    nested = {record.nested, thresholds and thresholds.nested}
    return Row(
        run=name,
        model=record.model,
        encoder=_encoder(record.options),
        round=record.rounds.get("kept"),
        over_base=over_base[0],
        over_base_se=over_base[1],
        test_images_used=used_test_images(prepared, result),
        cv=record.cv,
        se=record.se,
        interval=record.interval,
        difference=against.difference,
        difference_se=against.error,
        verdict=SAME if against.may_be_best else f"{against.difference:+.3f} ± {against.error:.3f}",
        local=local and local.score,
        local_se=local and local.se,
        local_interval=local and [local.low, local.high],
        public=public,
        private=private,
        seconds=record.seconds,
        remarks=remarks_on(prepared, result, cv_only),
        pseudo_precision=None if solution is None else _pseudo_precision(prepared, result, solution),
        nested=next((how for how in (BY_FOLDS, BY_PAIRS) if how in nested), None),
        flattered=flattered[0],
        flattered_se=flattered[1],
        beside=score_beside(prepared, result),
    )


def _over_base(rounds: dict[str, Any]) -> tuple[float | None, float | None]:
    """Return the paired difference of the kept round to the run without pseudo labels; None where there is none."""
    return tuple(rounds["against_base"][rounds["kept"] - 1]) if rounds and rounds["kept"] else (None, None)


def _pseudo_precision(prepared: Prepared, result: Result, solution: dict[str, Label]) -> float | None:
    """Return which share of the test images that a run was taught is right; None where it was taught none."""
    right: list[bool] = []
    for fold in prepared.scored if result.record.pseudo else ():
        pseudo = (read_provenance(result.folder, fold) or {}).get("pseudo")
        for name, code in zip(pseudo["ids"], pseudo["codes"], strict=True) if pseudo else ():
            split, _, image_id = name.partition("/")
            right += [bool(np.all(solution[image_id] == code))] if split == "test" else []
    return float(np.mean(right)) if right else None


def _kaggle_scores(prepared: Prepared, ledger: list[dict[str, str]], result: Result) -> tuple[str | None, str | None]:
    """Return Kaggle's latest public and private scores of what would be sent of this run today."""
    sent = [row for row in ledger if (row["public"] or row["private"]) and is_of(prepared, result, row)]
    return (sent[-1]["public"] or None, sent[-1]["private"] or None) if sent else (None, None)
