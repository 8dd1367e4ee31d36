"""Class shares: how frequent each class is among new images, and what labelled images score at those shares.

Arrays in, numbers out. The shares are those that make what the model says of the new images most probable, found by
expectation maximisation (Saerens, Latinne and Decaestecker 2002) on probabilities that a temperature and a bias of each
class have calibrated on labelled images which the model did not see (Alexandari, Kundaje and Shrikumar 2020, section 3;
with a prior on the biases, since labels are few). It holds where the classes look as they did, and only their shares
are others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Groups, Labels, Proba, Weights
from kit.scoring.metrics import Metric, find_metric
from kit.scoring.metrics.uncertainty.spread import sum_groups
from kit.scoring.mixing import PROBA_FLOOR, apply_temperature, fit_temperature

UNSURE = 0.05  # chance that the detector sees other shares where there are none
BIAS_SPREAD = 0.58  # of a class's log-odds: the deviation of a normal prior around no bias
PULL = 0.1  # images of the labelled shares for each new one: what holds the shares of rare classes
MOST_STEPS = 200
SETTLED = 1e-4  # of a share
MOST_NEW = 2000  # new images that are enough
N_COPIES = 20_000  # rows, or ten for each image, that a score at other shares is taken from


@dataclass(frozen=True)
class Shares:
    """Hold how frequent the classes are, (n_classes,) each, summing to 1, and whether new images have other shares."""

    labeled: Weights
    new: Weights
    is_shifted: bool


def estimate_shares(labels: Labels, oof: Proba, new: Proba, groups: Groups | None = None) -> Shares:
    """Estimate the class shares of new images.

    Parameters
    ----------
    labels, oof
        (n_images,) codes of labelled images, and (n_images, n_classes) what models that did not see them say.
    new
        (n_new, n_classes): what the same models, or their mean, say of the new images.
    groups
        Of the labelled images: those of one count together where it is asked whether the shares are others.
    """
    labeled = np.bincount(labels, minlength=oof.shape[1]) / len(labels)
    if len(new) > MOST_NEW:
        new = new[np.random.default_rng(0).choice(len(new), MOST_NEW, replace=False)]
    temperature = fit_temperature(labels, _log(oof))
    calibrated = apply_temperature(_log(new), temperature)
    is_shifted = _differ(labels, apply_temperature(_log(oof), temperature), calibrated, groups)
    return Shares(labeled, _maximise(_unbias(labels, _log(oof), _log(new), temperature), labeled), is_shifted)


def _unbias(labels: Labels, log_oof: np.ndarray, log_new: np.ndarray, temperature: float) -> Proba:
    """Return new images' probabilities by the temperature and biases of the classes that fit labelled images best.

    A model of few labels predicts some classes too often, and is right of these the more often: what it then takes for
    their shares would tell too well of it. The search begins at a `temperature` and no bias.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    wanted = np.eye(log_oof.shape[1])[labels]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        sharper, biases = np.exp(values[0]), values[1:]
        log_proba = log_softmax(sharper * log_oof + biases, axis=1)
        wrong = np.exp(log_proba) - wanted
        value = biases @ biases / (2 * BIAS_SPREAD**2) - (wanted * log_proba).sum()
        return value, np.r_[sharper * (wrong * log_oof).sum(), wrong.sum(axis=0) + biases / BIAS_SPREAD**2]

    start = np.r_[-np.log(temperature), np.zeros(log_oof.shape[1])]
    best = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return softmax(np.exp(best[0]) * log_new + best[1:], axis=1)


def _differ(labels: Labels, oof: Proba, new: Proba, groups: Groups | None) -> bool:
    """Return whether the mean probability of any class is other than of the labelled images, surely (Bonferroni).

    Labelled images are drawn within their classes, group by group: how they spread within those counts.
    """
    from scipy.stats import norm

    groups = np.arange(len(labels)) if groups is None else groups
    counts = np.bincount(labels, minlength=oof.shape[1])
    n_groups = np.bincount(np.unique(np.stack([labels, groups]), axis=1)[0], minlength=oof.shape[1])
    means = np.zeros((oof.shape[1], oof.shape[1]))
    np.add.at(means, labels, oof)
    means /= np.maximum(counts, 1)[:, None]
    freedom = np.maximum(n_groups - 1, 1) / np.maximum(n_groups, 1)
    apart = (oof - means[labels]) / np.sqrt(freedom)[labels][:, None]
    of_labeled = np.array([(sum_groups(each, groups)[0] ** 2).sum() for each in apart.T]) / len(labels) ** 2
    errors = np.sqrt(of_labeled + new.var(axis=0) / max(len(new), 1))
    shift = np.abs(new.mean(axis=0) - oof.mean(axis=0))
    return bool((shift > norm.ppf(1 - UNSURE / (2 * oof.shape[1])) * np.maximum(errors, PROBA_FLOOR)).any())


def _maximise(proba: Proba, labeled: Weights) -> Weights:
    """Return the most probable class shares of new images, of calibrated (n_new, n_classes) probabilities."""
    shares, n_prior = labeled.copy(), PULL * len(proba)
    for _ in range(MOST_STEPS):
        part = proba * (shares / np.maximum(labeled, PROBA_FLOOR))
        part /= np.maximum(part.sum(axis=1, keepdims=True), PROBA_FLOOR)
        moved = (part.sum(axis=0) + n_prior * labeled) / (len(proba) + n_prior)
        is_settled = np.abs(moved - shares).max() < SETTLED
        shares = moved
        if is_settled:
            break
    return shares / shares.sum()


def _log(proba: Proba) -> np.ndarray:
    return np.log(np.maximum(proba, PROBA_FLOOR), dtype=np.float64)


def score_at(metric: str | Metric, labels: Labels, proba: Proba, shares: Shares | None) -> float:
    """Return a score as if the classes were as frequent as among the new images; as they are, where None.

    Every row is repeated as often as its class is more frequent, so that any metric can be asked.
    """
    chosen = find_metric(metric)
    if shares is None:
        return chosen.score(labels, proba)
    weights = (shares.new / np.maximum(shares.labeled, PROBA_FLOOR))[labels]
    times = max(N_COPIES, 10 * len(labels)) * weights / weights.sum()
    rows = np.repeat(np.arange(len(labels)), np.rint(times).astype(np.int64))
    return chosen.score(labels[rows], proba[rows])
