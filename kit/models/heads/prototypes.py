"""Prototypes: the nearest class mean of cached features, the simplest few-shot classifier."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from kit.core.shapes import Logits, Tensors, Vectors
from kit.data.images import Images
from kit.models.balance import NESTED
from kit.models.heads.head import Head, Setting
from kit.models.logistic import fit_plain, log_proba_of
from kit.models.search import Between

SCALES = [10.0, 20.0, 40.0]
CENTRINGS = [1.0, 0.0]
PROBES = [1.0, 0.0]


@dataclass
class Prototypes(Head):
    """Compare images with the mean features of each class by cosine similarity; beside a logistic regression or alone.

    Parameters
    ----------
    scale
        Factor on the cosine similarity, above 0, or ``"nested"``. It matters beside the words and the neighbours.
    centre
        Share of the labelled images' mean that is subtracted first, 0..1, or ``"nested"``: what all images have in
        common tells no classes apart.
    probe
        Weight of a logistic regression's log-probabilities, 0 or more, or ``"nested"``.

    References
    ----------
    Snell et al. 2017, Prototypical networks, section 2; Wang et al. 2019, SimpleShot, section 3.1 (centring).
    """

    scale: Annotated[float, Field(gt=0), Between(5, 80, log=True)] | Literal["nested"] = NESTED
    centre: Annotated[float, Field(ge=0, le=1), Between(0, 1)] | Literal["nested"] = NESTED
    probe: Annotated[float, Field(ge=0), Between(0, 2)] | Literal["nested"] = NESTED

    def head_settings(self) -> list[Setting]:
        """Return the centrings and scales to try; the probe alone where it may be chosen."""
        scales = SCALES if self.scale == NESTED else [self.scale]
        centres = CENTRINGS if self.centre == NESTED else [self.centre]
        probes = PROBES if self.probe == NESTED else [self.probe]
        alone = [{"centre": 1.0, "scale": 0.0, "probe": 1.0}] if self.probe == self.scale == NESTED else []
        each = product(probes, centres, scales)
        return alone + [{"centre": centre, "scale": scale, "probe": probe} for probe, centre, scale in each]

    def head_default(self) -> Setting:
        """Return a little of both."""
        return self.head_settings()[1 if self.probe == self.scale == NESTED else 0]

    def learn(self, features: Vectors, labeled: Images) -> Tensors:
        """Average the features of each class."""
        shares = np.zeros((len(labeled), labeled.n_classes))
        shares[np.arange(len(labeled)), labeled.labels] = labeled.weights
        counts = shares.sum(axis=0)
        means = shares.T @ features / np.maximum(counts, 1e-12)[:, None]
        learned = {"means": means, "is_seen": counts > 0}
        learned["mean"] = np.average(features, axis=0, weights=labeled.weights)
        if any(setting["probe"] for setting in self.head_settings()):
            learned["coefficients"], learned["intercepts"] = fit_plain(features, labeled, C=30.0)
        return learned

    def logits(self, features: Vectors, learned: Tensors, setting: Setting) -> Logits:
        """Return scaled cosine similarities, (n_images, n_classes); minus infinity for a class without an image."""
        origin = setting["centre"] * learned["mean"]
        cosines = _unit(features - origin) @ _unit(learned["means"] - origin).T
        logits = np.where(learned["is_seen"], setting["scale"] * cosines, -np.inf)
        if setting["probe"]:
            logits = logits + setting["probe"] * log_proba_of(features, learned)
        return logits


def _unit(values: Vectors) -> Vectors:
    """Bring rows to unit length; a zero row stays."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
