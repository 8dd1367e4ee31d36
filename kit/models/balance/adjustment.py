"""Logit adjustment: predictions freed of how frequent the classes were in training, after the fit."""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Proba, Weights


def adjust(proba: Proba, shares: Weights, tau: float) -> Proba:
    """Divide probabilities by the classes' shares to the power tau, and normalise them.

    That subtracts tau times the log prior from the logits: at 1 the classes are as if all were equally frequent, which
    is best for the mean recall over classes; accuracy and F1 are best somewhere between 0 and 1.

    Parameters
    ----------
    proba
        (..., n_images, n_classes).
    shares
        (n_classes,) shares of the training labels; a class without any is treated as the rarest one.
    tau
        0 or more; 0 gives the very same probabilities, and so do classes of one size.

    References
    ----------
    Menon et al. 2021, Long-tail learning via logit adjustment, section 4.1.
    """
    seen = shares[shares > 0]
    if not tau or not len(seen):
        return proba
    relative = np.maximum(shares, seen.min()) / seen.max()
    if (relative == 1).all():
        return proba
    raised = proba / relative**tau
    return (raised / raised.sum(axis=-1, keepdims=True)).astype(proba.dtype)
