"""Mixing: how members' probabilities become one - copies, temperatures, weights with a prior, forward selection.

Arrays in, arrays out: nothing is read or written. `kit.runs.ensemble` decides which rows choose for which. Where an
image may have several labels each class is a choice between no and yes: labels are (n_images, n_classes) of 0 and 1,
probabilities end with an axis of those two, and the log-loss is the mean over the classes. A member alone, or members
of equal predictions, stay as they are: there is nothing to weigh, and a temperature would only change the predictions.

A few dozen images teach weights little, so `fit_weighed` begins with a prior on the best few members: those that the
images, and the record that members of their kind have on other data sets (`kit.scoring.chances`), cannot tell from the
best. Among these it gives what the best mixtures of other data sets gave, or all alike. The prior counts as many images
as the record is worth, or `PRIOR_IMAGES`; what the labelled images say moves the weights from there, the farther the
more of them there are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kit.core.shapes import Groups, Labels, Proba, Scores, Weights
from kit.scoring.chances import Record, behind_best, no_record
from kit.scoring.metrics import Metric, find_metric

PROBA_FLOOR = 1e-7  # probability: the logarithm of a member's certain error stays finite
TEMPERATURE_BOUNDS = (-3.0, 3.0)  # natural logarithm of the temperature
TEMPERATURE_SPREAD = 0.5  # of the logarithm, one standard deviation: what few images may not exceed without reason
PRIOR_IMAGES = 10  # images that the prior on the weights counts as at least: where members have no record
LEAST_EVIDENCE = 0.05  # of the best member's: one below is not among the best few
LEAST_WEIGHT = 0.02  # a member below adds nothing: it is dropped
WEIGHT_STEP = 1e-7  # the weights have settled when none moves farther
MOST_STEPS = 2000
SAME = 0.999  # correlation of log-probabilities from which on two members are one; runs of C = 29 and 31 reach 0.9998
SAME_FLOOR = 1e-3  # probability: what lies below is rounding
N_GREEDY_STEPS = 50


def fit_temperature(labels: Labels, log_proba: Proba, spread: float | None = None) -> float:
    """Return the temperature, above 0, that minimises one member's log-loss (Guo et al. 2017, section 4.2).

    Above 1 it makes the member less sure. `log_proba` ends with an axis of two where an image may have several labels.
    `spread` is the standard deviation, above 0, of a normal prior on the temperature's logarithm around 0.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    pull = 0.0 if spread is None else 0.5 / (spread**2 * max(len(labels), 1))

    def loss(log_temperature: float) -> float:
        scaled = log_proba / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=-1) - _of_label(scaled, labels)).mean() + pull * log_temperature**2)

    best = minimize_scalar(loss, bounds=TEMPERATURE_BOUNDS, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def apply_temperature(log_proba: Proba, temperature: float) -> np.ndarray:
    """Return softmax(log_proba / temperature) along the last axis, float64, of the same shape."""
    from scipy.special import softmax

    return softmax(log_proba / temperature, axis=-1)


def find_copies(probas: np.ndarray) -> dict[int, int]:
    """Return which members are copies of an earlier one, by position: equal up to rounding or a temperature.

    Needs no label. Members are taken for one whose log-probabilities, centred in every row, correlate to `SAME`.
    `probas` are (n_members, n_images, n_classes), as `of_choices` gives them.
    """
    kept: dict[int, np.ndarray] = {}
    copies = {}
    for position, proba in enumerate(probas):
        logits = np.log(np.maximum(proba, SAME_FLOOR))
        logits = (logits - logits.mean(axis=-1, keepdims=True)).ravel()
        logits /= max(float(np.linalg.norm(logits)), PROBA_FLOOR)
        alike = [
            other for other, theirs in kept.items()
            if float(logits @ theirs) >= SAME or np.array_equal(proba, probas[other])
        ]  # fmt: skip
        if alike:
            copies[position] = alike[0]
        else:
            kept[position] = logits
    return copies


def prior_weights(
    losses: Scores, errors: Scores, groups: Groups | None = None, record: Record | None = None
) -> Weights:
    """Return the prior on the members' weights, (n_members,): that of their record for the best few, 0 for the others.

    A member's distance to the best is counted in standard deviations, of the log-loss and of the errors, by the images
    and the record together; by both, its evidence is exp(-(z_loss^2 + z_error^2) / 4), 1 for the best.

    `losses` and `errors` are (n_members, n_images); images of one group count together. Without a `record` the images
    alone speak.
    """
    known = record or no_record(len(losses))
    by_loss = behind_best(losses, known.loss, known.loss_sd, groups)
    by_errors = behind_best(errors, known.error, known.error_sd, groups)
    evidence = np.exp(-(by_loss**2 + by_errors**2) / 4)
    few = known.share * np.where(evidence < LEAST_EVIDENCE * evidence.max(), 0, evidence)
    return few / few.sum()


def fit_weights(of_truth: np.ndarray, prior: Weights, n_prior: float = PRIOR_IMAGES) -> Weights:
    """Return the most probable convex weights, (n_members,), of a mixture under a Dirichlet prior.

    They minimise the log-loss less ``n_prior * prior @ log(weights)``, which is convex. Found by expectation
    maximisation: every step shares each image among the members that foretold its class.

    Parameters
    ----------
    of_truth
        (n_members, n_images, n_choices) float64: the probability that each member gives the true class, above 0; an
        image of several labels has a choice for each class, together they count as one image.
    prior
        (n_members,) weights that sum to 1.
    n_prior
        Images that the prior counts as; 0 leaves the weights to the images alone.
    """
    of_truth = np.asarray(of_truth, dtype=np.float64)
    n_members, n_images = of_truth.shape[:2]
    weights = np.full(n_members, 1 / n_members)
    for _ in range(MOST_STEPS):
        part = weights[:, None, None] * of_truth
        part /= part.sum(axis=0)
        moved = (part.mean(axis=2).sum(axis=1) + n_prior * prior) / (n_images + n_prior)
        settled = np.abs(moved - weights).max() < WEIGHT_STEP
        weights = moved
        if settled:
            break
    return weights / weights.sum()


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
    """Mix members: each at its temperature, then by weight; `prior` is what the weights began with, where they did."""

    def __init__(self, temperatures: Weights, weights: Weights, prior: Weights | None = None) -> None:
        self.temperatures, self.weights, self.prior = temperatures, weights, prior

    def __call__(self, proba: Proba) -> np.ndarray:
        """Return the mixture of (n_members, ...) probabilities, of the shape of one member's."""
        return np.tensordot(self.weights, _scale(proba, self.temperatures), axes=1)


def fit_weighed(labels: Labels, proba: Proba, groups: Groups | None = None, record: Record | None = None) -> Mixture:
    """Fit temperatures and weights with a prior on both; drop members that add nothing."""
    if _is_one(proba):
        return take_uniform(labels, proba, groups)
    temperatures = _calibrate(labels, proba)
    scaled = _scale(proba, temperatures)
    of_truth = np.maximum(np.stack([_of_label(member, labels) for member in scaled]), PROBA_FLOOR)
    of_truth = of_truth.reshape(len(proba), len(labels), -1)
    wrong = (proba.argmax(axis=-1) != labels).reshape(of_truth.shape)
    losses = -np.log(of_truth).mean(axis=2)
    prior = prior_weights(losses, wrong.mean(axis=2), groups, record)
    weights = fit_weights(of_truth, prior, max(PRIOR_IMAGES, 0 if record is None else record.worth(losses)))
    weights = np.where(weights < min(LEAST_WEIGHT, weights.max()), 0, weights)
    return Mixture(temperatures, weights / weights.sum(), prior)


def take_uniform(labels: Labels, proba: Proba, groups: Groups | None = None, record: Record | None = None) -> Mixture:
    """Mix evenly, learning nothing."""
    return Mixture(np.ones(len(proba)), np.full(len(proba), 1 / len(proba)))


def _calibrate(labels: Labels, proba: Proba) -> Weights:
    """Return every member's temperature, (n_members,)."""
    return np.array([fit_temperature(labels, _log(member), TEMPERATURE_SPREAD) for member in proba])


def fit_greedy(metric: str | Metric) -> Callable[[Labels, Proba, Groups | None, Record | None], Mixture]:
    """Return a fit by forward selection on the metric."""

    def fit(labels: Labels, proba: Proba, groups: Groups | None = None, record: Record | None = None) -> Mixture:
        if _is_one(proba):
            return take_uniform(labels, proba, groups)
        temperatures = _calibrate(labels, proba)
        scaled = _scale(proba, temperatures)
        yes = scaled[..., 1] if labels.ndim == 2 else scaled
        return Mixture(temperatures, select_greedily(labels, yes, metric))

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
