"""Chances: how far each of several members is behind the best, by the images and by their record together.

Arrays in, arrays out. How far members are behind each other on a few images is unsure, and unsure in common: they err
on the same images. What other data sets showed of members of their kind is a prior on it, whose standard deviation over
sets says how far a further set may differ. Both are normal, and so is what they say together: few images leave the
record standing, many overrule it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.core.shapes import Groups, Scores, Weights
from kit.scoring.metrics.uncertainty.spread import sum_groups

UNKNOWN = 10.0  # standard deviation, in errors and in nats, of a member without a record: the images alone speak
ROUNDING = 1e-12


@dataclass(frozen=True)
class Record:
    """Hold what members cost by the evidence of other data sets, beside the best known one of them.

    Parameters
    ----------
    error, error_sd
        (n_members,) share of images, -1..1, that a member gets wrong beyond the best known one, and its standard
        deviation over data sets; `UNKNOWN` where there is no evidence.
    loss, loss_sd
        The same of the log-loss, in nats, each at its best temperature.
    share
        (n_members,) above 0: how a mixture would weigh the members before any image speaks, in any unit. One without a
        record has the share of the best known one: nothing speaks against it.
    """

    error: Weights
    error_sd: Weights
    loss: Weights
    loss_sd: Weights
    share: Weights

    def take(self, members: NDArray[np.integer]) -> Record:
        """Return the record of some of the members, by position."""
        columns = (self.error, self.error_sd, self.loss, self.loss_sd, self.share)
        return Record(*(column[members] for column in columns))

    def worth(self, losses: Scores) -> float:
        """Return how many images tell as much as the record does, 0 or more.

        As many as leave the difference between a member and the best known one as unsure as its standard deviation
        over data sets; the median over the members that have a record.

        `losses` are (n_members, n_images) log-losses.
        """
        best, known = np.flatnonzero(self.loss_sd == 0), np.flatnonzero((self.loss_sd > 0) & (self.loss_sd < UNKNOWN))
        if not len(best) or not len(known):
            return 0.0
        return float(np.median((losses[known] - losses[best[0]]).var(axis=1) / self.loss_sd[known] ** 2))


def no_record(n_members: int) -> Record:
    """Return the record of members of which nothing is known."""
    nothing, unknown = np.zeros(n_members), np.full(n_members, UNKNOWN)
    return Record(nothing, unknown, nothing, unknown, np.ones(n_members))


def behind_best(values: Scores, excess: Weights, sd: Weights, groups: Groups | None = None) -> Weights:
    """Return how many standard deviations each member is expected to be above the lowest mean, (n_members,), 0 or more.

    Parameters
    ----------
    values
        (n_members, n_images) errors or log-losses; images of one group count together.
    excess, sd
        (n_members,) mean and standard deviation of a normal prior on how far each is behind the best known one.
    """
    means, covariance = values.mean(axis=1), _covariance(values, groups)
    prior = np.diag(sd**2) + UNKNOWN**2  # how good the best known one is here, nobody knows
    gain = np.linalg.solve(prior + covariance, prior).T
    expected = excess + gain @ (means - excess)
    unsure = prior - gain @ prior
    best = int(expected.argmin())
    variance = unsure.diagonal() + unsure[best, best] - 2 * unsure[best]
    apart = (expected - expected[best]) / np.sqrt(np.maximum(variance, ROUNDING))
    return np.where(np.arange(len(means)) == best, 0.0, apart)


def _covariance(values: Scores, groups: Groups | None) -> NDArray[np.floating]:
    """Return the covariance of the members' means, with the doubt of one image that each has for itself alone."""
    n_images = values.shape[1]
    apart = values - values.mean(axis=1, keepdims=True)
    doubt = np.eye(len(values)) * max(apart.var(axis=1).mean(), ROUNDING) / n_images**2
    if groups is not None:
        apart = np.stack([sum_groups(each, groups)[0] for each in apart])
    n_groups = apart.shape[1]
    return apart @ apart.T / n_images**2 * n_groups / max(n_groups - 1, 1) + doubt
