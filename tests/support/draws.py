"""Labels and probabilities drawn at random, without images."""

from __future__ import annotations

import numpy as np

N_IMAGES, N_CLASSES = 240, 5


def draw_single(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw one label per image, and probabilities that know it well."""
    draws = np.random.default_rng(seed)
    labels = draws.choice(N_CLASSES, N_IMAGES, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    logits = draws.normal(size=(N_IMAGES, N_CLASSES)) + 1.5 * np.eye(N_CLASSES)[labels]
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, proba.round(1) if ties else proba


def draw_several(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw several labels per image, and probabilities that know them well."""
    draws = np.random.default_rng(seed)
    labels = (draws.random((N_IMAGES, N_CLASSES)) < [0.6, 0.4, 0.3, 0.2, 0.1]).astype(np.int8)
    proba = 1 / (1 + np.exp(-draws.normal(size=labels.shape) - 2 * labels + 1))
    return labels, proba.round(1) if ties else proba


def draw_unsure(
    n_images: int = 600, shares: tuple[float, ...] = (0.1, 0.3, 0.6), seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Draw several labels, calibrated but unsure probabilities of them, and folds."""
    draws = np.random.default_rng(seed)
    log_odds = np.log(np.array(shares) / (1 - np.array(shares))) + draws.normal(0, 1.2, (n_images, len(shares)))
    proba = 1 / (1 + np.exp(-log_odds))
    return (draws.random(proba.shape) < proba).astype(np.int8), proba, np.arange(n_images) % 5


def draw_label_sets(n_images: int = 200, seed: int = 0) -> np.ndarray:
    """Draw labels of four classes, each rarer than the one before."""
    return (np.random.default_rng(seed).random((n_images, 4)) < [0.6, 0.3, 0.1, 0.05]).astype(np.int8)
