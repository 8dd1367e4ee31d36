"""Where a team stands: CV beside Kaggle's scores, whether they agree, what the noise is, which two to choose.

Reads the ledger's rows and the predictions of the runs they name; writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from kit.errors import InputError
from kit.ledger import Row
from kit.metrics import METRICS, Z_95, distinguishable, paired_difference
from kit.prepare import Prepared
from kit.runs import Result, oof_rows, result_at
from kit.terminal import escape

FEWEST = 4  # submissions that a rank correlation says anything of
N_BOOTSTRAP = 2000
PUBLIC_SHARE = 0.3  # of the test images, where the organisers do not say


@dataclass(frozen=True)
class Correlation:
    """Hold Spearman's rank correlation of CV and public score, and its 95 % interval; None with too few."""

    n: int
    rho: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """Say it to a person."""
        if self.n < FEWEST:
            return (
                f"CV and public score: {self.n} scored submissions with a CV, too few for a rank correlation ({FEWEST})"
            )
        if self.rho is None:
            return f"CV and public score of {self.n} submissions: one of them never changes, so they have no ranks"
        between = f"95 % {self.low:+.2f} to {self.high:+.2f}, bootstrap"
        return f"CV and public score of {self.n} submissions: rank correlation {self.rho:+.2f} ({between})"


@dataclass(frozen=True)
class Pick:
    """Hold a submission for the final scoring, and why it."""

    file: str
    ref: str
    why: str


def number(text: str) -> float | None:
    """Return a score of the ledger; None where there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def correlate(rows: Sequence[Row]) -> Correlation:
    """Return the rank correlation of CV and public score over the scored submissions, better as higher."""
    from scipy.stats import spearmanr

    pairs = [pair for row in rows if None not in (pair := (number(row["cv"]), number(row["public"])))]
    if len(pairs) < FEWEST:
        return Correlation(len(pairs))
    values = np.array(pairs)
    if (values.std(axis=0) == 0).any():
        return Correlation(len(pairs))
    draws, kept = np.random.default_rng(0), []
    for _ in range(N_BOOTSTRAP):
        drawn = values[draws.integers(0, len(values), len(values))]
        if (drawn.std(axis=0) > 0).all():
            kept.append(spearmanr(*drawn.T).statistic)
    low, high = np.quantile(kept, [0.025, 0.975])
    return Correlation(len(pairs), float(spearmanr(*values.T).statistic), float(low), float(high))


def public_error(prepared: Prepared, row: Row, public_share: float) -> float | None:
    """Return the standard error of a public score, in the metric's unit.

    Accuracy has the binomial one; other metrics the CV's, scaled by the square root of the numbers of images.

    Parameters
    ----------
    prepared
        The competition made ready.
    row
        A scored submission.
    public_share
        Share of the test images that the public score counts, 0..1.
    """
    n_public = public_share * (len(prepared.split("test")) + len(prepared.broken_test))
    score, error = number(row["public"]), number(row["se"])
    if score is None or n_public < 1:
        return None
    if prepared.competition.facts.metric == "accuracy" and 0 <= score <= 1:
        return math.sqrt(score * (1 - score) / n_public)
    return None if error is None else error * math.sqrt(len(prepared.scored_rows) / n_public)


def warn_of_noise(prepared: Prepared, rows: Sequence[Row], public_share: float) -> str | None:
    """Return a warning where the public score favours another run than CV does by less than its noise, else None.

    The noise of the difference is that of paired scores where both runs' predictions are here: only the images on which
    they differ count. Elsewhere it is that of two independent scores, which is more.
    """
    known = [row for row in rows if number(row["cv"]) is not None and number(row["public"]) is not None]
    if len({row["run"] for row in known}) < 2:
        return None
    sign = METRICS[prepared.competition.facts.metric].sign
    by_cv = max(known, key=lambda row: sign * number(row["cv"]))
    by_public = max(known, key=lambda row: sign * number(row["public"]))
    lead = sign * (number(by_public["public"]) - number(by_cv["public"]))
    error = _difference_error(prepared, by_public, by_cv, public_share)
    if by_public["run"] == by_cv["run"] or error is None or lead > Z_95 * error:
        return None
    first, best = (f"{row['run']} ({row['file']})" for row in (by_public, by_cv))
    return (
        f"by public score {first} is ahead of {best}, the best by CV, by {lead:.4f}: within the noise of the public "
        f"score, {Z_95 * error:.4f} at 95 % (taking {public_share:.0%} of the test images as public). Choose by CV"
    )


def _difference_error(prepared: Prepared, ours: Row, theirs: Row, public_share: float) -> float | None:
    """Return the standard error of the difference of two public scores."""
    apart = _disagreement(_result(prepared, ours), _result(prepared, theirs))
    if apart is not None and prepared.competition.facts.metric == "accuracy":
        n_public = public_share * (len(prepared.split("test")) + len(prepared.broken_test))
        return math.sqrt(apart / n_public) if n_public >= 1 else None
    errors = [public_error(prepared, row, public_share) for row in (ours, theirs)]
    return None if None in errors else math.hypot(*errors)


def pick_two(prepared: Prepared, rows: Sequence[Row]) -> list[Pick]:
    """Return the two submissions to choose for the final scoring: best CV, and the most different good one.

    Good is what a paired test on the same images does not tell from the best CV. Of those the one whose test labels
    agree least with the best's is the better second: where the first is unlucky, it is the likeliest not to be.
    """
    scored = [row for row in rows if row["status"] == "COMPLETE" and number(row["cv"]) is not None]
    if not scored:
        return []
    sign = METRICS[prepared.competition.facts.metric].sign
    best = max(scored, key=lambda row: sign * number(row["cv"]))
    found = _result(prepared, best)
    picks = [Pick(best["file"], best["ref"], f"best CV, {_with_error(best)}")]
    good = []
    for row in scored:
        own = _result(prepared, row)
        if row["key"] == best["key"] or own is None or found is None or not _is_as_good(prepared, own, found):
            continue
        good.append((_disagreement(own, found), row))
    if good:
        apart, row = max(good, key=lambda pair: pair[0])
        why = f"CV {_with_error(row)}, not distinguishable from the best, and the most different of those"
        picks.append(Pick(row["file"], row["ref"], f"{why}: other labels on {apart:.1%} of the test images"))
    return picks


def _is_as_good(prepared: Prepared, own: Result, best: Result) -> bool:
    """Return whether a paired test cannot tell a run from the best."""
    labels, ours = oof_rows(prepared, own.predictions("oof"))
    _, theirs = oof_rows(prepared, best.predictions("oof"))
    return not distinguishable(*paired_difference(prepared.competition.facts.metric, labels, ours, theirs))


def _result(prepared: Prepared, row: Row) -> Result | None:
    """Return the run of a ledger row where its files are still here and on today's folds."""
    if not row["key"]:
        return None
    try:
        result = result_at(prepared, row["run"], row["key"])
    except InputError:
        return None
    return result if result.facts.get("fold_key") == prepared.fold_key else None


def _disagreement(ours: Result | None, theirs: Result | None) -> float | None:
    """Return the share of test images that two runs label differently, 0..1."""
    if ours is None or theirs is None:
        return None
    first, second = ours.predictions("test"), theirs.predictions("test")
    return float((first.proba.argmax(axis=1) != second.at(first.ids).proba.argmax(axis=1)).mean())


def _with_error(row: Row) -> str:
    error = number(row["se"])
    return f"{float(row['cv']):.4f}" + ("" if error is None else f" ± {error:.4f}")


def render_submissions(rows: Sequence[Row], picks: Sequence[Pick], title: str) -> Table:
    """Return the submissions as a table, newest last; a star marks those to choose."""
    table = Table(title=escape(title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "file", "run", "CV ± SE", "public", "private", "status", "sent (UTC)", "message"):
        is_number = column in ("CV ± SE", "public", "private")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    chosen = {pick.ref for pick in picks}
    for row in rows:
        cv = _with_error(row) if number(row["cv"]) is not None else ""
        cells = ("*" if row["ref"] in chosen else "", Path(row["file"]).name, row["run"] or "by hand", cv)
        cells += (
            row["public"],
            row["private"],
            row["status"].lower(),
            row["sent"].replace("T", " ")[:16],
            row["message"],
        )
        table.add_row(*[escape(_printable(cell)) for cell in cells])
    return table


def _printable(text: Any) -> str:
    """Return text without control characters: messages and file names come from elsewhere."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))
