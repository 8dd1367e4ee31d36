"""Metrics, their standard errors, and the paired test between two runs on the same images.

Arrays in, numbers out; the one file read is that of a custom metric. Labels are (n_images,) class codes, or
(n_images, n_classes) of 0 and 1 where an image may have several; proba is (n_images, n_classes).

- `metric`: what a metric is. `decisions`, `probabilities`: the functions. `names`: METRICS, and how a name is found.
- `custom`: a metric of the user's, by dotted path.
- `uncertainty`: standard errors, the paired test. `by_class`: precision, recall and F1 of every class.
"""

from kit.scoring.metrics.by_class import ClassScore, per_class
from kit.scoring.metrics.decisions import hits
from kit.scoring.metrics.metric import Classes, Counts, Metric, decide, positive_of
from kit.scoring.metrics.names import METRICS, check_metric_classes, check_metric_name, find_metric, grades_of
from kit.scoring.metrics.probabilities import count_zeros, negative_log_proba, rescale
from kit.scoring.metrics.uncertainty import (
    N_BOOTSTRAP,
    Z_95,
    Contest,
    Estimate,
    compare_with_best,
    correct_best,
    distinguishable,
    error_of_mean,
    estimate,
    paired_difference,
    score_with_error,
)

__all__ = [
    "METRICS",
    "N_BOOTSTRAP",
    "Z_95",
    "ClassScore",
    "Classes",
    "Contest",
    "Counts",
    "Estimate",
    "Metric",
    "check_metric_classes",
    "check_metric_name",
    "compare_with_best",
    "correct_best",
    "count_zeros",
    "decide",
    "distinguishable",
    "error_of_mean",
    "estimate",
    "find_metric",
    "grades_of",
    "hits",
    "negative_log_proba",
    "paired_difference",
    "per_class",
    "positive_of",
    "rescale",
    "score_with_error",
]
