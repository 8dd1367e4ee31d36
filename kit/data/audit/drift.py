"""The probe: can a simple model tell test from train? Where it can, CV and the leaderboard will differ.

Reads the facts of the files and their thumbnails, never the files; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.core.shapes import Pixels, Vectors
from kit.data.audit.facts import read_thumbnails
from kit.data.audit.image_file import SMALL_SIDE
from kit.scoring.metrics.uncertainty import Z_95

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

MIN_IMAGES = 20  # per side
MAX_IMAGES = 5000  # per side
N_FOLDS = 5  # of the probe alone
INVERSE_PENALTY = 0.01
SLIGHT_AUC = 0.6


@dataclass(frozen=True)
class Probe:
    """Hold how well a logistic regression on thumbnails and sizes tells train from test.

    Parameters
    ----------
    auc, error
        Cross-validated area under the ROC curve, 0..1, 0.5 for "not at all", and its standard error; None if skipped.
    n_labeled, n_test
        Number of images that it was tried on.
    verdict
        The answer in one sentence.
    """

    auc: float | None
    error: float | None
    n_labeled: int
    n_test: int
    verdict: str


def tell_apart(table: pd.DataFrame, facts: pd.DataFrame, cache: Path) -> Probe:
    """Let a logistic regression tell labelled from test images by thumbnail and size.

    The images are usable ones; `kit.data.audit.facts.audit_files` returned their facts, and keeps the thumbnails in
    `cache`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(0)
    sides = [draw.permutation(np.flatnonzero(table["split"] == split))[:MAX_IMAGES] for split in ("labeled", "test")]
    n_labeled, n_test = map(len, sides)
    if min(n_labeled, n_test) < MIN_IMAGES:
        cause = f"it takes {MIN_IMAGES} images on either side, there are {n_labeled} and {n_test}"
        return Probe(None, None, n_labeled, n_test, f"train against test: not asked, {cause}")
    rows = draw.permutation(np.concatenate(sides))
    is_test = np.isin(rows, sides[1])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, solver="newton-cholesky"))
    seen = _describe(facts.iloc[rows], read_thumbnails(cache, table["path"].iloc[rows].tolist()))
    aucs = cross_val_score(probe, seen, is_test, cv=N_FOLDS, scoring="roc_auc")
    auc, error = float(aucs.mean()), _auc_error(float(aucs.mean()), n_labeled, n_test)
    return Probe(auc, error, n_labeled, n_test, _name_verdict(auc, error))


def _describe(facts: pd.DataFrame, thumbnails: Pixels) -> Vectors:
    """Return what the probe sees: 8 x 8 RGB, sides and bytes per pixel; (n_images, 195)."""
    pixels = thumbnails.astype(np.float32)
    coarse = pixels.reshape(len(pixels), SMALL_SIDE // 2, 2, SMALL_SIDE // 2, 2, 3).mean(axis=(2, 4))
    coarse = coarse.reshape(len(pixels), -1)
    n_pixels = facts["width"] * facts["height"]
    sizes = np.log(np.stack([facts["width"], facts["height"], facts["n_bytes"] / n_pixels], axis=1))
    return np.hstack([coarse, sizes])


def _auc_error(auc: float, n_first: int, n_second: int) -> float:
    """Return the standard error of an AUC (Hanley and McNeil, Radiology 143, 1982, equation 1)."""
    q_first, q_second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_second - 1) * (q_first - auc**2) + (n_first - 1) * (q_second - auc**2)
    return float(np.sqrt(max(spread, 0.0) / (n_first * n_second)))


def _name_verdict(auc: float, error: float) -> str:
    """Return what an AUC means for whoever trusts CV."""
    number = f"told apart with AUC {auc:.3f} ± {error:.3f}; 0.5 is chance"
    if auc - 0.5 <= Z_95 * error:
        return f"the test images look like the labelled ones: CV should carry over ({number})"
    if auc < SLIGHT_AUC:
        return f"the test images differ a little from the labelled ones in colour, light or size ({number})"
    cause = "the test images differ from the labelled ones in colour, light or size"
    return f"{cause}: expect the leaderboard to differ from CV ({number})"
