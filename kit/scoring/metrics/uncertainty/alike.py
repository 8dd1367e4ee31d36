"""The 95 % interval of a mean over images that come in groups, of which there may be few.

The images of a group are alike by an unknown correlation. Few groups tell little of it, and groups that are all right
nothing: an effective number of images by the estimated design effect covers too seldom where the correlation is large.
Here it is an unknown of its own: images are right by the beta-binomial distribution, share and correlation have a
prior, and the interval is that of the share, whatever the correlation. The share has Jeffreys' prior. Of the
correlation, a fifth of the prior says that groups do not matter, the rest falls from 0 to 1.

References
----------
D. A. Williams, "The Analysis of Binary Responses from Toxicological Experiments Involving Reproduction and
Teratogenicity", Biometrics 1975: beta-binomial groups.
J. N. K. Rao, A. J. Scott, "A Simple Method for the Analysis of Clustered Binary Data", Biometrics 1992: images are
counted by their design effect, as values between 0 and 1 are here.
L. D. Brown, T. T. Cai, A. DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science 2001.
"""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Groups, Scores

N_SHARES = 120  # nodes of the share
N_CORRELATIONS = 12  # nodes of the correlation above 0
UNRELATED = 0.2  # of the prior: images of a group are as different as any others
FALL = 1.5  # the rest of the prior falls as (1 - correlation) to the power FALL - 1
LEAST_SPREAD = 0.02  # of that of images which are right or wrong: values that are hardly ever apart count as 50 images
NEGLIGIBLE = 1e-7  # of the posterior, left out at either end when the nodes are moved together


def interval_of_groups(values: Scores, groups: Groups, tail: float) -> tuple[float, float]:
    """Return the ends of the interval of a mean of images' values, each 0..1, of two groups or more.

    Parameters
    ----------
    values, groups
        (n_images,) each.
    tail
        Probability below, and above, the interval, 0..1.
    """
    _, codes = np.unique(groups, return_inverse=True)
    mean = float(values.mean())
    most = max(mean * (1 - mean), np.finfo(float).tiny)
    unit = float(np.clip(values.var() / most, LEAST_SPREAD, 1)) if 0 < mean < 1 else 1.0
    sizes, right = np.bincount(codes) / unit, np.bincount(codes, weights=values) / unit
    (sizes, right), n_alike = _count_alike(sizes, right)
    edges = np.linspace(0, np.pi / 2, N_SHARES + 1)
    below = _cumulate(edges, sizes, right, n_alike)
    for _ in range(2):  # the nodes move to where the posterior is
        first, last = np.searchsorted(below, [NEGLIGIBLE, 1 - NEGLIGIBLE])
        edges = np.linspace(edges[max(first - 1, 0)], edges[last], N_SHARES + 1)
        below = _cumulate(edges, sizes, right, n_alike)
    low, high = np.sin(np.interp([tail, 1 - tail], below, edges)) ** 2
    return float(low), float(high)


def _count_alike(sizes: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different groups, (2, n_different), and how often each is there."""
    different, counts = np.unique(np.stack([sizes, right]).round(6), axis=1, return_counts=True)
    return different, counts


def _cumulate(edges: np.ndarray, sizes: np.ndarray, right: np.ndarray, n_alike: np.ndarray) -> np.ndarray:
    """Return how probable it is, whatever the correlation, that the share is below each edge, (n_shares + 1,).

    Edges are evenly spaced in the angle whose squared sine is the share: so is Jeffreys' prior even.
    """
    from scipy.special import gammaln

    shares = np.sin((edges[1:] + edges[:-1]) / 2) ** 2
    correlations = (np.arange(N_CORRELATIONS) + 0.5) / N_CORRELATIONS
    weights = (1 - correlations) ** (FALL - 1)
    weights *= (1 - UNRELATED) / weights.sum()
    count = (1 - correlations) / correlations  # (n_correlations,)
    yes, no = shares[:, None] * count, (1 - shares[:, None]) * count  # (n_shares, n_correlations)
    log = -n_alike.sum() * (gammaln(yes) + gammaln(no) - gammaln(count))
    for size, hit, often in zip(sizes, right, n_alike, strict=True):
        log += often * (gammaln(yes + hit) + gammaln(no + size - hit) - gammaln(count + size))
    hits, misses = (n_alike * right).sum(), (n_alike * (sizes - right)).sum()
    alone = hits * np.log(shares) + misses * np.log1p(-shares)
    log = np.column_stack([alone + np.log(UNRELATED), log + np.log(weights)])
    below = np.cumsum(np.exp(log - log.max()).sum(axis=1))
    return np.append(0, below / below[-1])
