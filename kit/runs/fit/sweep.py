"""Sweeps: settings chosen after fitting, for each fold on the other folds' oof rows.

WiSE-FT's alpha, the words' weight, the neighbours' share and the prompt list are chosen here; nothing is read or
written.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kit.core.shapes import Labels, Proba, Weights
from kit.data.prepared import Prepared
from kit.models.balance import class_weights, image_weights
from kit.models.trust import expected_excess, trusted_part, weigh_evidence

LOG_TEMPERATURES = np.arange(-2.0, 2.75, 0.25)  # natural logarithms; at -2 a model is made e^2 times surer
# Images of rare classes weigh more where the metric hears all classes alike; F1, of precision and recall, halfway.
CLASS_WEIGHTS = {"balanced_accuracy": "inverse", "macro_f1": "sqrt_inverse"}
Apart = Callable[[int, int], Proba]
LEAST_PROBA = 1e-7  # probability: the logarithm of a certain error stays finite


def choose_per_fold(
    prepared: Prepared, values: list[Any], sweeps: dict[int, Proba], default: Any, apart: Apart | None = None
) -> dict[int, Any]:
    """Choose a swept setting for each fold on the other folds' rows.

    The log-loss at its best temperature decides: on some hundred rows it tells settings apart that accuracy cannot, and
    the temperature keeps it from preferring whoever is better calibrated, which the ensemble mends anyway. Only where
    the competition's metric is the log-loss does the temperature count. Where the metric is a mean over classes, so is
    the log-loss: an image weighs the more, the rarer its class is (`CLASS_WEIGHTS`).

    The burden of proof lies with change. Of a setting that was measured on many data sets (`kit.models.trust`) that
    evidence is weighed against the rows: few rows move it little, many far. Of any other the best value must beat the
    first by more than one paired standard error, so that what is worth nothing - a list of words that the encoder does
    not know - is left out and not nearly left out.

    Parameters
    ----------
    values
        The values that were tried, the trusted or else the plainest first; a single one is taken.
    sweeps
        Per scored fold, probabilities at every value, (n_values, n_images, n_classes).
    default
        Taken with a single hold-out, where there are no other rows to choose on.
    apart
        A function of another fold and the fold that is chosen for: the other's probabilities, as in `sweeps`, by a
        model that saw neither. Where there is none the oof chooses, whose models learned from the fold's labels.

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

    @functools.cache
    def of_oof(other: int) -> np.ndarray:
        return _losses(prepared.fold_labels(other), sweeps[other], temperatures)

    def losses_of(other: int, fold: int) -> np.ndarray:
        return (
            of_oof(other) if apart is None else _losses(prepared.fold_labels(other), apart(other, fold), temperatures)
        )

    chosen = {}
    for fold in prepared.scored:
        rest = [other for other in prepared.scored if other != fold]
        others = np.concatenate([losses_of(other, fold) for other in rest], axis=2)
        weights = _weigh(prepared, np.concatenate([prepared.fold_labels(other) for other in rest]))
        chosen[fold] = values[_choose(others * weights, values, prepared.pool.is_multilabel)]
    return chosen


def _weigh(prepared: Prepared, labels: Labels) -> Weights:
    """Return how much each image counts under the competition's metric, (n_images,), 1 in the mean."""
    kind = CLASS_WEIGHTS.get(prepared.competition.facts.metric, "none")
    return image_weights(labels, class_weights(labels, kind, len(prepared.classes)))


def _choose(losses: np.ndarray, values: list[Any], is_multilabel: bool) -> int:
    """Return which value is best, by losses (n_values, n_temperatures, n_images).

    First what is trusted is chosen, with all else as in the first value; then all else. Of several labels per image
    there is no evidence: neighbours, too, must prove themselves.
    """
    at_best = losses.sum(axis=2).argmin(axis=1)  # each value's temperature
    calibrated = losses[np.arange(len(losses)), at_best]  # (n_values, n_images)
    if is_multilabel:
        return _prove(calibrated, sorted(range(len(values)), key=lambda i: any(trusted_part(values[i]).values())))
    trusted = [trusted_part(value) for value in values]
    rest = [_without(value, trusted[0]) for value in values]
    alike = [i for i in range(len(values)) if rest[i] == rest[0]]
    first = min(alike, key=lambda i: expected_excess(trusted[i]))
    best = min(alike, key=lambda i: round(weigh_evidence(trusted[i], *_excess(calibrated, i, first)), 9))
    return _prove(calibrated, [i for i in range(len(values)) if trusted[i] == trusted[best]])


def _without(value: Any, trusted: dict[str, Any]) -> Any:
    """Return a setting without those that there is evidence of."""
    return {name: each for name, each in value.items() if name not in trusted} if isinstance(value, dict) else value


def _excess(losses: Weights, i: int, first: int) -> tuple[float, float]:
    """Return how much greater a value's losses, of (n_values, n_images), are than the first's, and that one's error."""
    more = losses[i] - losses[first]
    return float(more.mean()), float(more.std(ddof=1) / np.sqrt(len(more))) if len(more) > 1 else 0.0


def _prove(losses: Weights, among: list[int]) -> int:
    """Return the value of the least loss, of (n_values, n_images); the first of them unless one is surely better."""
    best = min(among, key=lambda i: losses[i].mean().round(9))
    more, error = _excess(losses, best, among[0])
    return best if -more > error else among[0]


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
