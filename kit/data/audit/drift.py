"""The probe: can a simple model tell test from train? Where it can, CV and the leaderboard will differ.

Reads the facts of the files and their thumbnails, never the files; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.core.shapes import Groups, Mask, Pixels, Vectors
from kit.data.audit.facts import read_thumbnails
from kit.data.audit.image_file import SMALL_SIDE
from kit.data.folds import split_rows
from kit.scoring.metrics.uncertainty import Z_95

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

MIN_IMAGES = 20  # per side, or groups of them
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


def tell_apart(table: pd.DataFrame, facts: pd.DataFrame, cache: Path, groups: Groups | None = None) -> Probe:
    """Let a logistic regression tell labelled from test images by thumbnail and size.

    Parameters
    ----------
    table, facts
        Of usable images; `kit.data.audit.facts.audit_files` returned the facts, and keeps the thumbnails in `cache`.
    groups
        (n_images,): images of one group are known together or not at all, and count as one in the standard error; each
        is one by itself by default.
    """
    groups = np.arange(len(table)) if groups is None else groups
    draw = np.random.default_rng(0)
    sides = [draw.permutation(np.flatnonzero(table["split"] == split))[:MAX_IMAGES] for split in ("labeled", "test")]
    n_labeled, n_test = map(len, sides)
    n_groups = [len(np.unique(groups[side])) for side in sides]
    if min(n_groups) < MIN_IMAGES:
        what = "images" if n_groups == [n_labeled, n_test] else "groups of images"
        cause = f"it takes {MIN_IMAGES} {what} on either side, there are {n_groups[0]} and {n_groups[1]}"
        return Probe(None, None, n_labeled, n_test, f"train against test: not asked, {cause}")
    rows = draw.permutation(np.concatenate(sides))
    is_test = np.isin(rows, sides[1])
    seen = _describe(facts.iloc[rows], read_thumbnails(cache, table["path"].iloc[rows].tolist()))
    auc = _cross_validate(seen, is_test, groups[rows])
    error = _auc_error(auc, *n_groups)
    return Probe(auc, error, n_labeled, n_test, _name_verdict(auc, error))


def _cross_validate(seen: Vectors, is_test: Mask, groups: Groups) -> float:
    """Return the mean area under the ROC curve of probes that saw no image of the groups they judge."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = split_rows(is_test.astype(np.int64), groups, N_FOLDS, seed=0)
    aucs = []
    for here in (folds == fold for fold in np.unique(folds)):
        if len(np.unique(is_test[here])) == len(np.unique(is_test[~here])) == 2:
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, solver="newton-cholesky"))
            aucs.append(
                roc_auc_score(is_test[here], probe.fit(seen[~here], is_test[~here]).decision_function(seen[here]))
            )
    return float(np.mean(aucs)) if aucs else 0.5  # where one group fills a side, nothing can be told


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
