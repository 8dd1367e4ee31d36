"""Prototypes: the nearest class mean of cached features, the simplest few-shot classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from kit.images import Images
from kit.models.head import NESTED, Head, Setting

SCALES = [20.0, 5.0, 10.0, 40.0]
CENTRINGS = [1.0, 0.0]


@dataclass
class Prototypes(Head):
    """Compare images with the mean features of each class by cosine similarity.

    Parameters
    ----------
    scale
        Factor on the cosine similarity, above 0, or ``"nested"``. It matters beside the words and the neighbours.
    centre
        Share of the labelled images' mean that is subtracted first, 0..1, or ``"nested"``: what all images have in
        common tells no classes apart.

    References
    ----------
    Snell et al. 2017, Prototypical networks, section 2; Wang et al. 2019, SimpleShot, section 3.1 (centring).
    """

    scale: Annotated[float, Field(gt=0)] | Literal["nested"] = NESTED
    centre: Annotated[float, Field(ge=0, le=1)] | Literal["nested"] = NESTED

    def own_settings(self) -> list[Setting]:
        """Return the centrings and scales to try."""
        scales = SCALES if self.scale == NESTED else [self.scale]
        centres = CENTRINGS if self.centre == NESTED else [self.centre]
        return [{"centre": centre, "scale": scale} for centre in centres for scale in scales]

    def learn(self, features: np.ndarray, labeled: Images) -> dict[str, np.ndarray]:
        """Average the features of each class."""
        shares = np.zeros((len(labeled), labeled.n_classes))
        shares[np.arange(len(labeled)), labeled.labels] = labeled.weights
        counts = shares.sum(axis=0)
        means = shares.T @ features / np.maximum(counts, 1e-12)[:, None]
        return {"means": means, "is_seen": counts > 0, "mean": np.average(features, axis=0, weights=labeled.weights)}

    def logits(self, features: np.ndarray, learned: dict[str, np.ndarray], own: Setting) -> np.ndarray:
        """Return scaled cosine similarities, (n_images, n_classes); minus infinity for a class without an image."""
        origin = own["centre"] * learned["mean"]
        cosines = _unit(features - origin) @ _unit(learned["means"] - origin).T
        return np.where(learned["is_seen"], own["scale"] * cosines, -np.inf)


def _unit(values: np.ndarray) -> np.ndarray:
    """Bring rows to unit length; a zero row stays."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
