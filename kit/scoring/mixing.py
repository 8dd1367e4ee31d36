"""Mixing: how members' probabilities become one - temperatures, simplex weights, shrinkage, forward selection.

Arrays in, arrays out: nothing is read or written. `kit.runs.ensemble` decides which rows choose for which. Where an
image may have several labels each class is a choice between no and yes: labels are (n_images, n_classes) of 0 and 1,
probabilities end with an axis of those two, and the log-loss is the mean over the classes. A member alone, or members
of equal predictions, stay as they are: there is nothing to weigh, and a temperature would only change the predictions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kit.core.shapes import Groups, Labels, Proba, Weights
from kit.scoring.metrics import Metric, find_metric

SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the learned weights; 0 is uniform
PROBA_FLOOR = 1e-7  # probability: the logarithm of a member's certain error stays finite
TEMPERATURE_BOUNDS = (-3.0, 3.0)  # natural logarithm of the temperature
N_GREEDY_STEPS = 50
FLAT_GRADIENT = 1e-4  # of a convex loss's gradient: no weights on the simplex gain more than this, in nats per image


def fit_temperature(labels: Labels, log_proba: Proba) -> float:
    """Return the temperature, above 0, that minimises one member's log-loss (Guo et al. 2017, section 4.2).

    Above 1 it makes the member less sure. `log_proba` ends with an axis of two where an image may have several labels.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    def loss(log_temperature: float) -> float:
        scaled = log_proba / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=-1) - _of_label(scaled, labels)).mean())

    best = minimize_scalar(loss, bounds=TEMPERATURE_BOUNDS, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def apply_temperature(log_proba: Proba, temperature: float) -> np.ndarray:
    """Return softmax(log_proba / temperature) along the last axis, float64, of the same shape."""
    from scipy.special import softmax

    return softmax(log_proba / temperature, axis=-1)


def fit_simplex_weights(of_truth: np.ndarray) -> Weights:
    """Return the convex weights, (n_members,), that minimise the log-loss of a mixture.

    The loss needs the members' probabilities of the true class alone, and is convex. Float64 and the exact gradient:
    with numeric gradients on float32 the optimiser returns its start without a warning.

    `of_truth` is (n_members, n_images) float64: the probability that each member gives the true class, above 0.

    Raises
    ------
    RuntimeError
        When the optimiser fails, or stops at its start though the gradient there is not flat.
    """
    from scipy.optimize import minimize

    of_truth = np.asarray(of_truth, dtype=np.float64)
    n_members, n_images = of_truth.shape
    start = np.full(n_members, 1 / n_members)
    if n_members == 1:
        return start

    def loss(weights: Weights) -> tuple[float, np.ndarray]:
        mixture = np.maximum(weights @ of_truth, PROBA_FLOOR)
        return float(-np.log(mixture).mean()), -(of_truth / mixture).sum(axis=1) / n_images

    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    best = minimize(
        loss, start, jac=True, method="SLSQP", bounds=[(0, 1)] * n_members, constraints=constraint,
        options={"maxiter": 500, "ftol": 1e-10},
    )  # fmt: skip
    weights = np.maximum(best.x, 0)
    weights /= weights.sum()
    gradient = loss(start)[1]
    flat = np.ptp(gradient) < FLAT_GRADIENT
    if not np.isfinite(weights).all() or (not flat and np.abs(weights - start).max() < 1e-9):
        raise RuntimeError(f"ensemble weights: the optimiser did not move ({best.message})")
    return weights


def select_greedily(labels: Labels, proba: Proba, metric: str | Metric) -> Weights:
    """Return the weights of forward selection with replacement (Caruana et al. 2004), for any metric.

    `proba` is (n_members, n_images, n_classes).
    """
    chosen = find_metric(metric)
    counts, total, best = np.zeros(len(proba)), np.zeros(proba.shape[1:]), (-np.inf, np.zeros(len(proba)))
    for step in range(1, N_GREEDY_STEPS + 1):
        scores = [chosen.sign * chosen.score(labels, (total + member) / step) for member in proba]
        winner = int(np.argmax(scores))
        counts[winner] += 1
        total = total + proba[winner]
        if scores[winner] > best[0] + 1e-12:
            best = (scores[winner], counts / step)
    return best[1]


class Mixture:
    """Mix members: each at its temperature, then by weight."""

    def __init__(self, temperatures: Weights, weights: Weights, shrinkage: float) -> None:
        self.temperatures, self.weights, self.shrinkage = temperatures, weights, shrinkage

    def __call__(self, proba: Proba) -> np.ndarray:
        """Return the mixture of (n_members, ...) probabilities, of the shape of one member's."""
        return np.tensordot(self.weights, _scale(proba, self.temperatures), axes=1)


def fit_shrunk(labels: Labels, proba: Proba, blocks: Groups) -> Mixture:
    """Fit temperatures and weights; choose the shrinkage by cross-validation over `blocks`."""
    if _is_one(proba):
        return take_uniform(labels, proba, blocks)
    temperatures = np.array([fit_temperature(labels, _log(member)) for member in proba])
    scaled = _scale(proba, temperatures)
    # (n_members, n_images), or (n_members, n_images, n_classes)
    of_truth = np.maximum(np.stack([_of_label(member, labels) for member in scaled]), PROBA_FLOOR)
    uniform = np.full(len(proba), 1 / len(proba))
    losses = np.zeros((len(SHRINKAGES), len(labels)))
    for block in np.unique(blocks) if len(np.unique(blocks)) > 1 else []:
        rest, held_out = blocks != block, blocks == block
        learned = fit_simplex_weights(of_truth[:, rest].reshape(len(proba), -1))
        for row, share in enumerate(SHRINKAGES):
            weights = share * learned + (1 - share) * uniform
            mixed = np.tensordot(weights, of_truth[:, held_out], axes=1)
            losses[row, held_out] = -np.log(np.maximum(mixed, PROBA_FLOOR)).reshape(len(mixed), -1).mean(axis=1)
    share = SHRINKAGES[_simplest_good(losses)]
    learned = fit_simplex_weights(of_truth.reshape(len(proba), -1))
    return Mixture(temperatures, share * learned + (1 - share) * uniform, share)


def _simplest_good(losses: np.ndarray) -> int:
    """Return the first row (the most uniform) that is within one paired standard error of the best."""
    best = int(losses.mean(axis=1).argmin())
    apart = losses - losses[best]
    error = apart.std(axis=1) / np.sqrt(max(losses.shape[1], 1))
    return int(np.flatnonzero(apart.mean(axis=1) <= error)[0])


def take_uniform(labels: Labels, proba: Proba, blocks: Groups) -> Mixture:
    """Mix evenly, learning nothing."""
    return Mixture(np.ones(len(proba)), np.full(len(proba), 1 / len(proba)), 0.0)


def fit_greedy(metric: str | Metric) -> Callable[[Labels, Proba, Groups], Mixture]:
    """Return a fit by forward selection on the metric."""

    def fit(labels: Labels, proba: Proba, blocks: Groups) -> Mixture:
        if _is_one(proba):
            return take_uniform(labels, proba, blocks)
        temperatures = np.array([fit_temperature(labels, _log(member)) for member in proba])
        scaled = _scale(proba, temperatures)
        yes = scaled[..., 1] if labels.ndim == 2 else scaled
        return Mixture(temperatures, select_greedily(labels, yes, metric), 1.0)

    return fit


def of_choices(proba: Proba, of_several: bool) -> Proba:
    """Return float64 probabilities as they are mixed: of no and yes in a last axis with several labels per image."""
    proba = np.asarray(proba, dtype=np.float64)
    return np.stack([1 - proba, proba], axis=-1) if of_several else proba


def _is_one(proba: Proba) -> bool:
    """Return whether there is nothing to weigh: a single member, or several of equal predictions."""
    return bool((proba == proba[0]).all())


def _scale(proba: Proba, temperatures: Weights) -> Proba:
    """Return every member at its temperature; at 1 its very predictions, without a rounding."""
    pairs = zip(proba, temperatures, strict=True)
    return np.stack([member if value == 1 else apply_temperature(_log(member), value) for member, value in pairs])


def _log(proba: Proba) -> np.ndarray:
    """Return finite log-probabilities."""
    return np.log(np.maximum(proba, PROBA_FLOOR))


def _of_label(values: np.ndarray, labels: Labels) -> np.ndarray:
    """Return along the last axis what stands at the label, of the labels' shape."""
    return np.take_along_axis(values, labels[..., None].astype(np.int64), axis=-1)[..., 0]
