"""Strangers: test images that show none of the classes, found by scores that no such image took part in.

scorer.py    how much images look like the labelled ones
rule.py      the threshold, and which test images are below it
"""

from kit.runs.decide.rule import Rejection, Rule, find_strangers, learn_rule, name_strangers

__all__ = ["Rejection", "Rule", "find_strangers", "learn_rule", "name_strangers"]
