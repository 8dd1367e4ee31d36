"""The standard error of a mean and of a ratio, over images or over groups of them."""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Groups, Scores, Weights

Z_95 = 1.96


def error_of_mean(values: Scores, groups: Groups | None = None) -> float:
    """Return the standard error of a mean of images, or of groups, without bias (Bell and McCaffrey 2002)."""
    n_images = len(values)
    residuals = values - values.mean() if n_images else values
    if groups is None or n_images < 2 or len(np.unique(groups)) == 1:
        return _jackknife(residuals, np.ones(n_images), groups, 1)
    sums, share = sum_groups(residuals, groups)
    return float(np.sqrt((sums**2 / (1 - share)).sum()) / n_images)


def jackknife_deviations(values: np.ndarray, groups: Groups | None = None) -> np.ndarray:
    """Return how means of columns move with the images, every image or group left out in turn: (n_moves, n_columns).

    The products' sums are the covariance of the means: never too small, also where a group holds most images.
    """
    n_images = len(values)
    residuals = values - values.mean(axis=0) if n_images else values
    is_alone = groups is not None and len(np.unique(groups)) == 1
    if groups is None or is_alone:
        return residuals / np.sqrt(n_images * max(n_images - 1, 1)) * (np.sqrt(n_images) if is_alone else 1.0)
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, codes, residuals)
    return sums / (n_images - sizes)[:, None] * np.sqrt(1 - 1 / len(sizes))


def error_of_difference(values: Scores, groups: Groups | None = None) -> float:
    """Return the standard error of a mean of paired differences, as `jackknife_deviations` has it."""
    return _jackknife(values - values.mean() if len(values) else values, np.ones(len(values)), groups, 1)


def error_of_ratio(upper: Weights, lower: Weights, groups: Groups | None = None) -> float:
    """Return the standard error of a ratio of two sums over images, or groups, linearised (delta method)."""
    return _jackknife(upper - upper.sum() / lower.sum() * lower, lower, groups, 0)


def widen(freedom: float) -> float:
    """Return how much farther than the normal distribution's the 95 % quantile of Student's t is."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975)) / Z_95 if freedom > 0 else 1.0


def count_effective(n_images: int, groups: Groups | None) -> float:
    """Return how many groups of equal size would be as informative as these (Kish)."""
    if groups is None:
        return n_images
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / max((sizes**2).sum(), 1))


def sum_groups(values: Scores, groups: Groups) -> tuple[Weights, Weights]:
    """Return each group's sum of values, and its share of the images, (n_groups,) each."""
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.bincount(codes, weights=values).astype(np.float64), sizes / len(values)


def _jackknife(residuals: Scores, weights: Weights, groups: Groups | None, lost: int) -> float:
    """Return the standard error of a weighted mean, every group left out in turn; of equal ones the usual formula.

    Leaving out a group of the share h moves the mean by its residuals' sum over 1 - h of all weight.
    """
    total = max(weights.sum(), np.finfo(float).tiny)
    if groups is None:
        n = len(residuals)
        return float(np.sqrt((residuals**2).sum() * n / max(n - lost, 1)) / total)
    _, codes = np.unique(groups, return_inverse=True)
    sums, share = (np.bincount(codes, weights=values) for values in (residuals, weights / total))
    sums, share = sums[share > 0], share[share > 0]
    if len(sums) == 1:
        return _jackknife(residuals, weights, None, lost) * float(np.sqrt((weights > 0).sum()))
    n = max(len(sums), 1)
    moved = (sums / (1 - share)) ** 2 * (1 - 1 / n)
    return float(np.sqrt(moved.sum() * (1 if lost else 1 - 1 / n)) / total)
