"""The rule that tells images that show none of the classes, and the test images that it rejects.

Reads a finished run and features; writes nothing. No image that shows none of the classes is known, so the threshold is
that which keeps a given share of the labelled images, each scored by the models and the labelled images of the other
folds; or that share is chosen by hiding each class in turn. Test images are scored by all folds together: that tells
strangers better than one fold does, and keeps a little more of the known than was asked for; where an ensemble is
judged by its probability alone, which mixing flattens, it keeps less.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.config.competition import DecisionPlan
from kit.data.prepared import Prepared
from kit.runs.decide.scorer import Scorer
from kit.runs.store import Result
from kit.runs.store.thresholds import check_decision, scored_blocks
from kit.scoring import rejection as reject
from kit.scoring.predictions import Predictions

HOW_GIVEN = "the threshold keeps {rate:.0%} of the labelled images, scored by the other folds"
HOW_HIDDEN = "the share that is kept, {rate:.0%}, tells each class best from the others when it is hidden"
UNSEEN = "no image that shows none of the classes took part"
TOGETHER = "all folds score a test image together, which may keep somewhat more or fewer"


@dataclass(frozen=True)
class Rule:
    """Hold what tells images that show none of the classes, learned without any of them.

    Parameters
    ----------
    scores
        The scores' names; their ranks are averaged.
    references
        (n_labeled,) scores of held-out labelled images, for each of the scores: among these an image is ranked.
    accept_rate
        Share of held-out labelled images that the threshold keeps, 0..1.
    threshold
        The mean rank below which an image is rejected.
    kept
        Share of labelled images kept by a threshold that the other folds chose; None where there are no other folds.
    passed
        Share of the images of a hidden class that are let pass, 0..1, each class hidden in turn; None where it was not
        tried. Of a true stranger it is not known.
    how
        How the threshold was chosen, in a sentence.
    """

    scores: tuple[str, ...]
    references: tuple[np.ndarray, ...]
    accept_rate: float
    threshold: float
    kept: float | None
    passed: float | None
    how: str


@dataclass(frozen=True)
class Rejection(Rule):
    """Hold which test images a rule rejects.

    Parameters
    ----------
    ids, ranks, is_rejected
        (n_test,) test images, their mean ranks, and whether they are rejected.
    """

    ids: np.ndarray
    ranks: np.ndarray
    is_rejected: np.ndarray

    @property
    def sentence(self) -> str:
        """Say how the threshold was chosen and what it does."""
        kept = "" if self.kept is None else f"; nested it keeps {self.kept:.1%}"
        passed = "" if self.passed is None else f"; of a hidden class it lets {self.passed:.1%} pass"
        rejected = f"{int(self.is_rejected.sum())} of {len(self.ids)} test images are rejected"
        return f"none of these, by {' and '.join(self.scores)}: {self.how}{kept}{passed}; {rejected}"

    def as_dict(self) -> dict[str, Any]:
        """Return the facts for JSON, without the images."""
        names = ("scores", "accept_rate", "threshold", "kept", "passed", "how")
        facts = {name: getattr(self, name) for name in names}
        return facts | {"n_test": len(self.ids), "n_rejected": int(self.is_rejected.sum())}


def find_strangers(prepared: Prepared, result: Result) -> Rejection:
    """Find the test images that show none of the classes.

    Parameters
    ----------
    prepared
        The competition made ready, with one label per image and ``[decision] none_of_these``.
    result
        A finished run, or the ensemble.

    Raises
    ------
    InputError
        When the name is a class, a score cannot be had of this run, or there are too few classes to hide one.
    """
    rule, scorer = learn_rule(prepared, result), Scorer(prepared, result)
    ranks = reject.combine_ranks(rule.references, scorer.test())
    ids = prepared.pool.ids[prepared.split("test")]
    return Rejection(**vars(rule), ids=ids, ranks=ranks, is_rejected=ranks < rule.threshold)


def learn_rule(prepared: Prepared, result: Result) -> Rule:
    """Return what tells images that show none of the classes; parameters and errors are those of `find_strangers`."""
    plan = prepared.competition.decision
    check_decision(prepared)
    scorer = Scorer(prepared, result)
    oof, blocks = scorer.oof(), scored_blocks(prepared)
    hidden = scorer.hidden(blocks) if plan.accept_rate == "leave_one_out" else None
    rate, passed = (plan.accept_rate, None) if hidden is None else reject.choose_accept_rate(hidden)
    threshold = reject.threshold_of(reject.combine_ranks(oof, oof), rate)
    how = (HOW_GIVEN if hidden is None else HOW_HIDDEN).format(rate=rate)
    kept = _nest(oof, blocks, plan, hidden)
    return Rule(scorer.names, tuple(oof), rate, threshold, kept, passed, f"{how}; {TOGETHER}; {UNSEEN}")


def name_strangers(said: Predictions, name: str, is_rejected: np.ndarray) -> Predictions:
    """Return predictions with a further class of this name, certain where an image is rejected and 0 elsewhere.

    Parameters
    ----------
    said
        Predictions of one class per image.
    name
        What an image is called that shows none of the classes.
    is_rejected
        (n_images,) in the order of `said`.
    """
    proba = np.column_stack([said.proba, np.zeros(len(said))])
    proba[is_rejected] = np.eye(proba.shape[1])[-1]
    return dataclasses.replace(said, classes=(*said.classes, name), proba=proba)


def _nest(
    oof: list[np.ndarray], blocks: np.ndarray, plan: DecisionPlan, hidden: list[reject.Hidden] | None
) -> float | None:
    """Return the share of labelled images that are kept by a threshold of the other blocks."""
    every = np.unique(blocks)
    if len(every) < 2:
        return None
    kept = np.empty(len(blocks), dtype=bool)
    for block in every:
        rest, mine = [own[blocks != block] for own in oof], [own[blocks == block] for own in oof]
        rate = plan.accept_rate
        if hidden is not None:
            rate, _ = reject.choose_accept_rate([own.without(block) for own in hidden])
        threshold = reject.threshold_of(reject.combine_ranks(rest, rest), rate)
        kept[blocks == block] = reject.combine_ranks(rest, mine) >= threshold
    return float(kept.mean())
