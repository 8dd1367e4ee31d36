"""Decide: what becomes of a run's probabilities before they are sent. File by file::

    scorer.py     how much images look like the labelled ones
    rule.py       the out-of-distribution rule: a threshold of those scores, and which test images are below it
    decisions.py  what is decided of a run's images in the end, shown and written

The thresholds of several labels per image belong to a run's CV, so they stand in `kit.runs.store.thresholds`; how a
threshold is chosen, of arrays alone, in `kit.scoring.thresholds` and `kit.scoring.rejection`.
"""

from kit.runs.decide.rule import Rejection, Rule, learn_rule, name_rejected, reject_test_images

__all__ = ["Rejection", "Rule", "learn_rule", "name_rejected", "reject_test_images"]
