"""The out-of-distribution rule: which images show none of the classes, and which test images it rejects.

Reads a finished run and features; writes nothing. No image that shows none of the classes is known, so the threshold is
that which keeps a given share of the labelled images, each scored by the models and the labelled images of the other
folds; or that share is chosen by hiding each class in turn. Test images are scored by all folds together: that tells
out-of-distribution images better than one fold does, and keeps a little more of the known than was asked for; where an
ensemble is judged by its probability alone, which mixing flattens, it keeps less.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.core.shapes import Groups, Ids, Mask, Scores
from kit.data.prepared import Prepared
from kit.runs.decide.scorer import Scorer
from kit.runs.store.result import Result
from kit.runs.store.thresholds import check_decision, scored_blocks
from kit.scoring.predictions import Predictions
from kit.scoring.rejection import Hidden, choose_accept_rate, combine_ranks, threshold_of

HOW_GIVEN = "the threshold keeps {rate:.0%} of the labelled images, scored by the other folds"
HOW_HIDDEN = "the share that is kept, {rate:.0%}, tells each class best from the others when it is hidden"
UNSEEN = "no image that shows none of the classes took part"
TOGETHER = "all folds score a test image together, which may keep somewhat more or fewer"


@dataclass(frozen=True)
class Rule:
    """Hold the rule, learned without any out-of-distribution image.

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
        tried. Of images of other kinds it is not known.
    how
        How the threshold was chosen, in a sentence.
    """

    scores: tuple[str, ...]
    references: tuple[Scores, ...]
    accept_rate: float
    threshold: float
    kept: float | None
    passed: float | None
    how: str


@dataclass(frozen=True)
class Rejection(Rule):
    """Hold which test images a rule rejects: their ids, mean ranks, and whether each is rejected, (n_test,)."""

    ids: Ids
    ranks: Scores
    is_rejected: Mask

    @property
    def sentence(self) -> str:
        """Say how the threshold was chosen and what it does."""
        kept = "" if self.kept is None else f"; nested it keeps {self.kept:.1%}"
        passed = "" if self.passed is None else f"; of a hidden class it lets {self.passed:.1%} pass"
        rejected = f"{int(self.is_rejected.sum())} of {len(self.ids)} test images are rejected"
        return f"none of these, by {' and '.join(self.scores)}: {self.how}{kept}{passed}; {rejected}"

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON, without the images."""
        return {
            "scores": self.scores,
            "accept_rate": self.accept_rate,
            "threshold": self.threshold,
            "kept": self.kept,
            "passed": self.passed,
            "how": self.how,
            "n_test": len(self.ids),
            "n_rejected": int(self.is_rejected.sum()),
        }


def reject_test_images(prepared: Prepared, result: Result) -> Rejection:
    """Find the test images that show none of the classes, with one label per image and ``[decision] none_of_these``.

    A name that is a class, a score that cannot be had of this run and too few classes to hide one raise InputError.
    """
    rule, scorer = learn_rule(prepared, result), Scorer(prepared, result)
    ranks = combine_ranks(rule.references, scorer.test())
    ids = prepared.pool.ids[prepared.split("test")]
    return Rejection(**vars(rule), ids=ids, ranks=ranks, is_rejected=ranks < rule.threshold)


def learn_rule(prepared: Prepared, result: Result) -> Rule:
    """Return the rule for a run; its errors are those of `reject_test_images`."""
    rate = prepared.competition.decision.accept_rate
    check_decision(prepared)
    scorer = Scorer(prepared, result)
    oof, blocks = scorer.oof(), scored_blocks(prepared)
    if rate == "leave_one_out":
        hidden, how = scorer.hidden(blocks), HOW_HIDDEN
        rate, passed = choose_accept_rate(hidden)
    else:
        hidden, how, passed = None, HOW_GIVEN, None
    threshold = threshold_of(combine_ranks(oof, oof), rate)
    kept = _share_kept(oof, blocks, rate, hidden)
    sentence = f"{how.format(rate=rate)}; {TOGETHER}; {UNSEEN}"
    return Rule(scorer.names, tuple(oof), rate, threshold, kept, passed, sentence)


def name_rejected(predictions: Predictions, name: str, is_rejected: Mask) -> Predictions:
    """Return predictions with a further class of this name, certain where an image is rejected and 0 elsewhere.

    The predictions are of one class per image; the mask (n_images,) is in their order.
    """
    proba = np.column_stack([predictions.proba, np.zeros(len(predictions))])
    proba[is_rejected] = np.eye(proba.shape[1])[-1]
    return dataclasses.replace(predictions, classes=(*predictions.classes, name), proba=proba)


def _share_kept(oof: list[Scores], blocks: Groups, rate: float, hidden: list[Hidden] | None) -> float | None:
    """Return the share of labelled images that a threshold of the other blocks keeps; None with one block."""
    names = np.unique(blocks)
    if len(names) < 2:
        return None
    kept = np.empty(len(blocks), dtype=bool)
    for block in names:
        is_here = blocks == block
        rest, here = [scores[~is_here] for scores in oof], [scores[is_here] for scores in oof]
        if hidden is not None:
            rate, _ = choose_accept_rate([each.without(block) for each in hidden])
        kept[is_here] = combine_ranks(rest, here) >= threshold_of(combine_ranks(rest, rest), rate)
    return float(kept.mean())
