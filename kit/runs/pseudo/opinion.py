"""Opinion: what several teachers together predict for the pool, aligned with a class prior where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Labels, Mask, Proba, Weights
from kit.scoring.predictions import Predictions, check_class_order

TINY_PROBA = 1e-12


@dataclass(frozen=True)
class Opinion:
    """Hold the teachers' predictions together.

    Parameters
    ----------
    proba
        (n_images, n_classes) float32 mean probabilities.
    codes
        (n_images,) the most probable class.
    agreed
        (n_images,) whether every teacher names that class.
    lifted
        (n_lifted,) codes of the classes that no teacher named and the prior lifted.
    """

    proba: Proba
    codes: Labels
    agreed: Mask
    lifted: Labels


def form_opinion(
    teachers: Sequence[Predictions], prior: Weights, strength: float, weights: Sequence[float] | None = None
) -> Opinion:
    """Average the teachers.

    Parameters
    ----------
    teachers
        Predictions of the same images, in any order of rows; the first gives the order.
    prior
        (n_classes,) class probabilities, summing to 1.
    strength
        How far every class is scaled towards the prior, 0..1. At 0 only the classes that the teachers never name are
        scaled, and wholly: else they would starve for good.
    weights
        The teachers', above 0; equal ones by default.

    References
    ----------
    Berthelot et al. 2020, ReMixMatch, section 3.1: distribution alignment.
    """
    probas = list(zip(_in_one_order(teachers), weights or [1.0] * len(teachers), strict=True))
    if strength:
        return _average(probas, prior, np.arange(len(prior)), strength)
    plain = _average(probas, prior, np.array([], dtype=np.int64))
    never = np.flatnonzero(np.bincount(plain.codes, minlength=len(prior)) == 0)
    return _average(probas, prior, never) if len(never) and len(plain.codes) else plain


def scale_to_prior(proba: Proba, prior: Weights, classes: Labels, strength: float = 1.0) -> Proba:
    """Scale some classes' probabilities by prior over mean, and let the rows sum to 1 again.

    Parameters
    ----------
    proba
        (n_images, n_classes) probabilities.
    prior
        (n_classes,) what the mean over the images shall be near.
    classes
        (n_scaled,) codes of the classes to scale; a class that has no probability anywhere keeps none.
    strength
        Power of the scale, 0..1.
    """
    if not len(classes) or not len(proba):
        return proba
    scale = np.ones(proba.shape[1], dtype=np.float32)
    mean = proba.mean(axis=0, dtype=np.float64)[classes]
    scale[classes] = (prior[classes] / np.maximum(mean, TINY_PROBA)) ** strength
    scaled = proba * scale
    scaled /= np.maximum(scaled.sum(axis=1, keepdims=True), TINY_PROBA)
    return scaled


def _in_one_order(teachers: Sequence[Predictions]) -> list[Proba]:
    """Return every teacher's probabilities in the order of the first one's rows."""
    first = teachers[0]
    for teacher in teachers[1:]:
        check_class_order(teacher, first.classes)
    return [each.proba if np.array_equal(each.ids, first.ids) else each.at(first.ids).proba for each in teachers]


def _average(probas: list[tuple[Proba, float]], prior: Weights, scaled: Labels, strength: float = 1.0) -> Opinion:
    """Return the weighted mean of the predictions, some classes scaled to the prior in each teacher's."""
    total, votes = np.zeros(probas[0][0].shape, dtype=np.float64), []
    for proba, weight in probas:
        aligned = scale_to_prior(proba, prior, scaled, strength)
        total += weight * aligned
        votes.append(aligned.argmax(axis=1))
    mean = (total / sum(weight for _, weight in probas)).astype(np.float32)
    codes = mean.argmax(axis=1)
    return Opinion(mean, codes, (np.stack(votes) == codes).all(axis=0), scaled)
