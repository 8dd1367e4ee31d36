"""The margins of a support vector machine over many classes, a few images at a time.

libsvm compares the classes in pairs: of 1,000 classes there are 499,500, and scikit-learn holds a number of each for
every image, 80 GB of 20,000. Here the pairs of a block of images are summed up before the next block is looked at. What
comes out is scikit-learn's ``decision_function``. Nothing is read or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kit.core.shapes import Logits, Vectors

if TYPE_CHECKING:
    from sklearn.svm import SVC

BLOCK_BYTES = 2**28  # of the pairs that are held at a time


def one_vs_rest_margins(machine: SVC, features: Vectors) -> Logits:
    """Return the margin of each class against the rest, (n_images, n_classes) float64; of two classes -margin, margin.

    The number of pairs that a class wins, and below it, between -1/3 and 1/3, the sum of their margins. A machine with
    the kernel ``"rbf"`` has been given its gamma as a number, see `scale_gamma`.
    """
    n_classes = len(machine.classes_)
    if n_classes == 2:
        margins = machine.decision_function(features)
        return np.column_stack([-margins, margins])
    margins = np.empty((len(features), n_classes))
    block = max(1, BLOCK_BYTES // (8 * (n_classes**2 + len(machine.support_vectors_))))
    for start in range(0, len(features), block):
        margins[start : start + block] = _margins_of_block(machine, features[start : start + block])
    return margins


def _margins_of_block(machine: SVC, features: Vectors) -> Logits:
    """Return the margins of a few images: what the pairs say of them is held at once."""
    shares, n_classes = _shares_of_pairs(machine, features), len(machine.classes_)
    offset = np.zeros((n_classes, n_classes))
    offset[np.triu_indices(n_classes, 1)] = machine.intercept_
    votes, sums = np.empty((2, len(features), n_classes))
    for i in range(n_classes):
        pairs = shares[:, i] + shares[:, :, i] + offset[i] + offset[:, i]  # of the first class of each pair
        pairs[:, :i] *= -1
        pairs[:, i] = 0
        votes[:, i] = (pairs > 0).sum(axis=1) + (pairs[:, i + 1 :] == 0).sum(axis=1)  # a tie is the first one's
        sums[:, i] = pairs.sum(axis=1)
    return votes + sums / (3 * (np.abs(sums) + 1))


def _shares_of_pairs(machine: SVC, features: Vectors) -> Logits:
    """Return what the support vectors of class i say in its pair with j, (n_images, n_classes, n_classes) at i, j."""
    kernel, n_classes = _kernel(machine, features), len(machine.classes_)
    shares = np.zeros((len(features), n_classes, n_classes))
    stops = np.cumsum(machine.n_support_)
    for i, (start, stop) in enumerate(zip(stops - machine.n_support_, stops, strict=True)):
        said = kernel[:, start:stop] @ machine.dual_coef_[:, start:stop].T  # (n_images, n_classes - 1)
        shares[:, i, :i], shares[:, i, i + 1 :] = said[:, :i], said[:, i:]
    return shares


def _kernel(machine: SVC, features: Vectors) -> Logits:
    """Return how near images are to the support vectors, (n_images, n_vectors)."""
    from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

    features, vectors = np.asarray(features, dtype=np.float64), machine.support_vectors_
    if machine.kernel == "linear":
        return linear_kernel(features, vectors)
    return rbf_kernel(features, vectors, machine.gamma)


def scale_gamma(features: Vectors) -> float:
    """Return scikit-learn's ``gamma = "scale"`` of the features that a machine is fitted on, as a number."""
    variance = float(np.asarray(features, dtype=np.float64).var())
    return 1 / (features.shape[1] * variance) if variance else 1.0
