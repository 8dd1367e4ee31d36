"""Features of images of four known classes, and of out-of-distribution images."""

from __future__ import annotations

import numpy as np

CLASSES = ("ash", "birch", "cedar", "elm")
N_LABELED, N_KNOWN, N_STRANGE = 12, 20, 40  # per class, per class, in all


def unit(values: np.ndarray) -> np.ndarray:
    """Return rows of unit length."""
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def draw_features(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features of unit length and codes: labelled ones, known ones, then out-of-distribution ones (code 4)."""
    draws = np.random.default_rng(seed)
    centres = draws.normal(0, 1, (5, 16))
    codes = np.concatenate(
        [np.repeat(np.arange(4), N_LABELED), np.repeat(np.arange(4), N_KNOWN), np.full(N_STRANGE, 4)]
    )
    return unit(centres[codes] + draws.normal(0, 0.7, (len(codes), 16))), codes


VALUES, CODES = draw_features()
KNOWN = slice(0, 4 * N_LABELED)
