"""The paired test between two runs on the same images."""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Groups, Labels, Proba
from kit.scoring.metrics.metric import Metric
from kit.scoring.metrics.names import find_metric
from kit.scoring.metrics.uncertainty.resamples import score_deviations
from kit.scoring.metrics.uncertainty.spread import Z_95, count_effective, error_of_difference, widen


def paired_difference(
    metric: str | Metric,
    labels: Labels,
    ours: Proba,
    theirs: Proba,
    groups: Groups | None = None,
) -> tuple[float, float]:
    """Return how much better `ours` is than `theirs` on the same images, and its standard error.

    Both share the images' difficulty, so the difference is known far better than either score.

    Returns
    -------
    tuple
        The difference, positive where ours is better, and one standard error; of few images or groups it is widened
        so that 1.96 of it are the 95 % interval of Student's t (9 % wider for 15 groups, 42 % for 5).

    Raises
    ------
    InputError
        When the metric is not known or not defined on these images.
    """
    chosen, wide = find_metric(metric), widen(count_effective(len(labels), groups) - 1)
    if chosen.per_image is not None:
        our_scores, their_scores = (chosen.per_image(labels, chosen.read(labels, proba)) for proba in (ours, theirs))
        values = chosen.sign * (our_scores - their_scores)
        return float(values.mean()), error_of_difference(values, groups) * wide
    difference = chosen.sign * (chosen.score(labels, ours) - chosen.score(labels, theirs))
    deviations = np.subtract(*score_deviations(chosen, labels, [ours, theirs], groups).T)
    return difference, float(np.sqrt((deviations**2).sum())) * wide


def distinguishable(difference: float, error: float) -> bool:
    """Return whether a paired difference is beyond chance at 95 %."""
    return abs(difference) > Z_95 * error
