"""What is expected of what is sent: the mean of all folds' models, or a refit, on the test's mix of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.core.names import ENSEMBLE
from kit.data.prepared import Prepared
from kit.runs.store import Result

MEASURED, BY_HEADS = "measured", "by heads"  # how it is known how much better the mean of the folds' models is
FEWEST_HEADS = 2  # whose gains stand for that of a network: from one alone nothing is known of the spread
MOST_SHARES = 3  # classes whose shares are told


@dataclass(frozen=True)
class Expected:
    """Hold the expected score of what is sent, and how it was found.

    Parameters
    ----------
    score, se
        In the metric's unit; None where it is not known how much better the mean of the folds' models is.
    how
        ``"measured"`` by models of pairs of folds; ``"by heads"``, whose gain stands for that of a network; else None.
    shares
        The test's class shares by class, where they surely differ from the labelled images'; else None.
    is_refit
        Whether one model of every label is sent, and not the mean of the folds' models.
    """

    score: float | None
    se: float | None
    how: str | None
    shares: dict[str, float] | None
    is_refit: bool = False


def expect_scores(prepared: Prepared, results: Sequence[Result]) -> dict[str, Expected]:
    """Return what is expected of each run's submission; nothing of imports and of scores in another metric."""
    known = [result for result in results if result.record.sent.get("metric_key") == prepared.metric.key]
    heads = [each for each in known if "gain" in each.record.sent and not each.record.refit and each.name != ENSEMBLE]
    gains = np.array([(each.record.sent["gain"], each.record.sent["gain_se"]) for each in heads]).reshape(-1, 2)
    return {result.name: _expect(result, gains, prepared.metric.bounds) for result in known}


def _expect(result: Result, gains: np.ndarray, bounds: tuple[float, float]) -> Expected:
    """Return what is expected of one run, within the bounds; gains and their errors are the heads', (n_heads, 2)."""
    sent = result.record.sent
    if sent["score"] is not None:
        score = float(np.clip(sent["score"], *bounds))
        return Expected(score, sent["se"], MEASURED, sent["shares"], result.record.refit)
    if len(gains) < FEWEST_HEADS or result.record.refit:
        return Expected(None, None, None, sent["shares"], result.record.refit)
    gain, spread = gains[:, 0].mean(), gains[:, 0].var(ddof=1)
    error = np.sqrt(sent["cv_se"] ** 2 + (gains[:, 1] ** 2).mean() + spread)
    return Expected(float(np.clip(sent["cv"] + gain, *bounds)), float(error), BY_HEADS, sent["shares"])


def describe_expected(prepared: Prepared, run: str, cv: float, expected: Expected | None) -> str | None:
    """Say in one sentence what is expected of a run's submission beside its CV; None where nothing can be said."""
    if expected is None or (expected.how is None and expected.shares is None):
        return None
    labeled = np.bincount(prepared.labels, minlength=len(prepared.classes)) / len(prepared.labels)
    mix = ""
    if expected.shares is not None:
        new = np.array([expected.shares[name] for name in prepared.classes])
        apart = np.argsort(-np.abs(new - labeled), kind="stable")[:MOST_SHARES]
        told = ", ".join(f"{prepared.classes[code]} {new[code]:.2f} for {labeled[code]:.2f}" for code in apart)
        mix = f", at the test's class shares as estimated ({told})"
    model = "one model of every label" if expected.is_refit else "the mean of the folds' models"
    if expected.score is None:
        return f"{run}: sent is {model}; how much better than its CV is not known{mix}"
    how = "" if expected.how == MEASURED else " by as much as heads gain"
    return (
        f"{run}: {expected.score:.3f} ± {expected.se:.3f} is expected of what is sent, {model}{how}{mix}; its CV "
        f"{cv:.3f} is that of one fold's model"
    )
