"""Tell where a team stands: whether CV and Kaggle's scores agree, what the noise is, which two files to choose.

Reads the ledger's rows and the predictions of the runs they name; writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.core.errors import InputError
from kit.core.names import MULTILABEL
from kit.data.prepared import Prepared
from kit.kaggle.submission.ledger import LedgerRow
from kit.runs.decide.decisions import decided_test
from kit.runs.store import Result, compare_runs, result_at
from kit.scoring.metrics import Z_95, decide, distinguishable

FEWEST = 4  # submissions, for a rank correlation that means anything
BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True)
class CvCorrelation:
    """Hold Spearman's rank correlation of CV and a score, and its 95 % interval; None with too few."""

    n: int
    rho: float | None = None
    low: float | None = None
    high: float | None = None
    score: str = "public"

    def __str__(self) -> str:
        """Say it to a person."""
        what = f"CV and {self.score} score"
        if self.n < FEWEST:
            return f"{what}: {self.n} scored submissions with a CV, too few for a rank correlation ({FEWEST})"
        if self.rho is None:
            return f"{what} of {self.n} submissions: one of them never changes, so they have no ranks"
        between = f"95 % {self.low:+.2f} to {self.high:+.2f}, bootstrap"
        return f"{what} of {self.n} submissions: rank correlation {self.rho:+.2f} ({between})"


@dataclass(frozen=True)
class Pick:
    """Hold a submission for the final scoring, and the reason for it."""

    file: str
    ref: str
    why: str


def comparable(prepared: Prepared, rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Return the rows whose CV is comparable: of a run that is here, on today's folds, labels and metric.

    A CV of other folds is of other rows: where groups were added, the older one is the higher and means less.
    """
    return [row for row in rows if (result := _result(prepared, row)) and row["cv"] == f"{result.record.cv:.6f}"]


def describe_incomparable(rows: Sequence[LedgerRow], compared: Sequence[LedgerRow]) -> str | None:
    """Tell how many submissions with a CV are left out where CVs are compared; None where none is."""
    n_known = sum(number(row["cv"]) is not None for row in rows)
    if n_known == len(compared):
        return None
    return (
        f"{n_known - len(compared)} of {n_known} submissions with a CV are left out of what follows: their CVs are not "
        "of today's folds, labels, metric and thresholds, or their runs are not here"
    )


def number(text: str) -> float | None:
    """Return a score of the ledger; None where there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def correlate_cv(rows: Sequence[LedgerRow], score: str = "public") -> CvCorrelation:
    """Return the rank correlation of `comparable` CVs and the public or private score, where a row has both."""
    pairs = [pair for row in rows if None not in (pair := (number(row["cv"]), number(row[score])))]
    if len(pairs) < FEWEST:
        return CvCorrelation(len(pairs), score=score)
    values = np.array(pairs)
    if (np.ptp(values, axis=0) == 0).any():
        return CvCorrelation(len(pairs), score=score)
    draws, kept = np.random.default_rng(0), []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = values[draws.integers(0, len(values), len(values))]
        if (np.ptp(drawn, axis=0) > 0).all():  # a standard deviation of equal numbers may be rounded above 0
            kept.append(_rank_correlation(drawn))
    low, high = np.quantile(kept, [0.025, 0.975])
    return CvCorrelation(len(pairs), _rank_correlation(values), float(low), float(high), score)


def _rank_correlation(pairs: np.ndarray) -> float:
    """Return Spearman's correlation of two columns, (n_submissions, 2)."""
    from scipy.stats import spearmanr

    return float(np.asarray(spearmanr(*pairs.T))[0])


def public_error(prepared: Prepared, row: LedgerRow, public_share: float) -> float | None:
    """Return the standard error of a public score, in the metric's unit.

    Accuracy has the binomial one; other metrics the CV's, scaled by the square root of the numbers of images. The
    `public_share`, 0..1, is the share of the test images that the public score counts.
    """
    n_public = public_share * (len(prepared.split("test")) + len(prepared.broken_test))
    score, error = number(row["public"]), number(row["se"])
    if score is None or n_public < 1:
        return None
    if prepared.competition.facts.metric == "accuracy" and 0 <= score <= 1:
        return math.sqrt(score * (1 - score) / n_public)
    return None if error is None else error * math.sqrt(len(prepared.scored_rows) / n_public)


def warn_of_noise(prepared: Prepared, rows: Sequence[LedgerRow], public_share: float) -> str | None:
    """Return a warning where the public score favours another run than CV does by less than its noise, else None.

    The noise of the difference is that of paired scores where both runs' predictions are here: only the images on which
    they differ count. Elsewhere it is that of two independent scores, which is more.
    """
    known = [row for row in rows if number(row["cv"]) is not None and number(row["public"]) is not None]
    if len({row["run"] for row in known}) < 2:
        return None
    sign = prepared.metric.sign
    by_cv = max(known, key=lambda row: sign * float(row["cv"]))
    by_public = max(known, key=lambda row: sign * float(row["public"]))
    lead = sign * (float(by_public["public"]) - float(by_cv["public"]))
    error = _difference_error(prepared, by_public, by_cv, public_share)
    if by_public["run"] == by_cv["run"] or error is None or lead > Z_95 * error:
        return None
    first, best = (f"{row['run']} ({row['file']})" for row in (by_public, by_cv))
    return (
        f"by public score {first} is ahead of {best}, the best by CV, by {lead:.4f}: within the noise of the public "
        f"score, {Z_95 * error:.4f} at 95 % (taking {public_share:.0%} of the test images as public). Choose by CV"
    )


def _difference_error(prepared: Prepared, ours: LedgerRow, theirs: LedgerRow, public_share: float) -> float | None:
    """Return the standard error of the difference of two public scores."""
    apart = _disagreement(prepared, _result(prepared, ours), _result(prepared, theirs))
    if apart is not None and prepared.competition.facts.metric == "accuracy":
        n_public = public_share * (len(prepared.split("test")) + len(prepared.broken_test))
        return math.sqrt(apart / n_public) if n_public >= 1 else None
    errors = [error for row in (ours, theirs) if (error := public_error(prepared, row, public_share)) is not None]
    return math.hypot(*errors) if len(errors) == 2 else None


def pick_two(prepared: Prepared, rows: Sequence[LedgerRow]) -> list[Pick]:
    """Return the two submissions to choose for the final scoring: best CV, and the most different good one.

    Good is what a paired test on the same images does not tell from the best CV. Of those the one whose test labels
    agree least with the best's is the better second: where the first is unlucky, it is the likeliest not to be. The
    CVs of the `rows` must be `comparable`.
    """
    scored = [row for row in rows if row["status"] == "COMPLETE" and number(row["cv"]) is not None]
    if not scored:
        return []
    sign = prepared.metric.sign
    best = max(scored, key=lambda row: sign * float(row["cv"]))
    best_result = _result(prepared, best)
    picks = [Pick(best["file"], best["ref"], f"best CV, {cv_with_error(best)}")]
    good = []
    for row in scored:
        result = _result(prepared, row)
        if row["key"] == best["key"] or not _are_as_good(prepared, result, best_result):
            continue
        if apart := _disagreement(prepared, result, best_result):  # the same labels again are no second chance
            good.append((apart, row))
    if good:
        apart, row = max(good, key=lambda pair: pair[0])
        why = f"CV {cv_with_error(row)}, not distinguishable from the best, and the most different of those"
        picks.append(Pick(row["file"], row["ref"], f"{why}: other labels on {apart:.1%} of the test images"))
    return picks


def _are_as_good(prepared: Prepared, ours: Result | None, theirs: Result | None) -> bool:
    """Return whether a paired test cannot tell two runs from each other; False where one is not here."""
    return ours is not None and theirs is not None and not distinguishable(*compare_runs(prepared, ours, theirs))


def _result(prepared: Prepared, row: LedgerRow) -> Result | None:
    """Return the run of a ledger row where its files are still here and on today's folds."""
    if not row["key"]:
        return None
    try:
        result = result_at(prepared, row["run"], row["key"])
    except InputError:
        return None
    return result if result.record.fold_key == prepared.fold_key else None


def _disagreement(prepared: Prepared, ours: Result | None, theirs: Result | None) -> float | None:
    """Return the share of test images that two runs label differently as they are sent, 0..1; None where unknown."""
    if ours is None or theirs is None:
        return None
    try:
        first, second = decided_test(prepared, ours), decided_test(prepared, theirs)
    except InputError:  # one of the runs cannot give the out-of-distribution score that [decision] asks for by now
        return None
    is_multilabel = first.task == MULTILABEL
    labels, others = decide(first.proba, is_multilabel), decide(second.at(first.ids).proba, is_multilabel)
    return float((labels != others).reshape(len(first), -1).any(axis=1).mean())


def cv_with_error(row: LedgerRow) -> str:
    """Return a submission's CV and, where it is known, its standard error."""
    error = number(row["se"])
    return f"{float(row['cv']):.4f}" + ("" if error is None else f" ± {error:.4f}")
