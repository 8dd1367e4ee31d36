"""Sweeps: a setting chosen after fitting, for each fold on the other folds' oof rows.

WiSE-FT's alpha and the text prior's weight are chosen here; nothing is read or written.
"""

from __future__ import annotations

import numpy as np

from kit.metrics import METRICS, negative_log_proba
from kit.prepare import Prepared


def choose_per_fold(
    prepared: Prepared, values: list[float], sweeps: dict[int, np.ndarray], default: float
) -> dict[int, float]:
    """Choose a swept setting for each fold on the other folds' oof rows.

    Parameters
    ----------
    prepared
        The competition made ready.
    values
        The values that were tried; a single one is taken.
    sweeps
        Per scored fold, probabilities at every value, (n_values, n_images, n_classes).
    default
        Taken with a single hold-out, where there are no other rows to choose on.
    """
    chosen = {}
    for fold in prepared.scored:
        others = [other for other in prepared.scored if other != fold]
        if len(values) == 1 or not others:
            chosen[fold] = values[0] if len(values) == 1 else default
            continue
        labels = np.concatenate([prepared.fold_labels(other) for other in others])
        chosen[fold] = values[_best_value(prepared.competition.facts.metric, labels, [sweeps[own] for own in others])]
    return chosen


def _best_value(metric: str, labels: np.ndarray, sweeps: list[np.ndarray]) -> int:
    """Return the position of the value with the best score; log-loss, then order, breaks ties."""
    together = np.concatenate(sweeps, axis=1)  # (n_values, n_images, n_classes)

    def merit(i: int) -> tuple[float, float, int]:
        score = METRICS[metric].sign * METRICS[metric].score(labels, together[i])
        return round(score, 9), -round(float(negative_log_proba(labels, together[i]).mean()), 9), -i

    return max(range(len(together)), key=merit)
