"""Sweeps: settings chosen after fitting, for each fold on the other folds' oof rows.

WiSE-FT's alpha, the words' weight, the neighbours' share and the prompt list are chosen here; nothing is read or
written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kit.core.shapes import Labels, Proba, Weights
from kit.data.prepared import Prepared
from kit.models.balance import class_weights, image_weights

LOG_TEMPERATURES = np.arange(-2.0, 2.75, 0.25)  # natural logarithms; at -2 a model is made e^2 times surer
# Images of rare classes weigh more where the metric hears all classes alike; F1, of precision and recall, halfway.
CLASS_WEIGHTS = {"balanced_accuracy": "inverse", "macro_f1": "sqrt_inverse"}
LEAST_PROBA = 1e-7  # probability: the logarithm of a certain error stays finite


def choose_per_fold(prepared: Prepared, values: list[Any], sweeps: dict[int, Proba], default: Any) -> dict[int, Any]:
    """Choose a swept setting for each fold on the other folds' oof rows.

    The log-loss at its best temperature decides: on some hundred rows it tells settings apart that accuracy cannot, and
    the temperature keeps it from preferring whoever is better calibrated, which the ensemble mends anyway. Only where
    the competition's metric is the log-loss does the temperature count. Where the metric is a mean over classes, so is
    the log-loss: an image weighs the more, the rarer its class is (`CLASS_WEIGHTS`).

    The burden of proof lies with change: the best value must beat the first by more than one paired standard error, so
    that what is worth nothing - a list of words that the encoder does not know - is left out and not nearly left out.

    Parameters
    ----------
    values
        The values that were tried, the plainest first; a single one is taken.
    sweeps
        Per scored fold, probabilities at every value, (n_values, n_images, n_classes).
    default
        Taken with a single hold-out, where there are no other rows to choose on.

    Raises
    ------
    RuntimeError
        When a model gave probabilities that are not finite.
    """
    for fold, sweep in sweeps.items():
        if not (finite := np.isfinite(sweep).all(axis=(1, 2))).all():
            raise RuntimeError(f"fold {fold}: probabilities at {values[int(np.argmin(finite))]} are not finite")
    if len(values) == 1 or len(prepared.scored) == 1:
        return dict.fromkeys(prepared.scored, values[0] if len(values) == 1 else default)
    is_calibrated = prepared.competition.facts.metric == "log_loss"
    temperatures = np.zeros(1) if is_calibrated else LOG_TEMPERATURES
    losses = {fold: _losses(prepared.fold_labels(fold), sweeps[fold], temperatures) for fold in prepared.scored}
    chosen = {}
    for fold in prepared.scored:
        others = np.concatenate([part for other, part in losses.items() if other != fold], axis=2)
        weights = _weigh(prepared, np.concatenate([prepared.fold_labels(other) for other in losses if other != fold]))
        chosen[fold] = values[_choose(others * weights)]
    return chosen


def _weigh(prepared: Prepared, labels: Labels) -> Weights:
    """Return how much each image counts under the competition's metric, (n_images,), 1 in the mean."""
    kind = CLASS_WEIGHTS.get(prepared.competition.facts.metric, "none")
    return image_weights(labels, class_weights(labels, kind, len(prepared.classes)))


def _choose(losses: np.ndarray) -> int:
    """Return which value's losses (n_values, n_temperatures, n_images) are best; 0, the first, unless surely better."""
    at_best = losses.sum(axis=2).argmin(axis=1)  # each value's temperature
    calibrated = losses[np.arange(len(losses)), at_best]  # (n_values, n_images)
    best = int(calibrated.mean(axis=1).round(9).argmin())
    gains = calibrated[0] - calibrated[best]
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return best if gains.mean() > error else 0


def _losses(labels: Labels, sweep: Proba, log_temperatures: np.ndarray) -> np.ndarray:
    """Return the log-loss of every image at every value and temperature, (n_values, n_temperatures, n_images).

    Where an image may have several labels it is the mean over the classes of what each one's yes or no costs.
    """
    from scipy.special import logsumexp

    proba = sweep.astype(np.float64)  # (n_values, n_images, n_classes)
    if labels.ndim == 2:
        proba = np.stack([1 - proba, proba], axis=-1)  # of no and yes
    log_proba = np.log(np.maximum(proba, LEAST_PROBA))
    of_label = np.take_along_axis(log_proba, labels[None, ..., None].astype(np.int64), axis=-1)[..., 0]
    columns = []
    for temperature in np.exp(log_temperatures):
        losses = logsumexp(log_proba / temperature, axis=-1) - of_label / temperature
        columns.append(losses.reshape(*losses.shape[:2], -1).mean(axis=2))
    return np.stack(columns, axis=1)
