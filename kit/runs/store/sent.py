"""What is sent, against what the CV is of: the mean of all folds' models, and the test's mix of classes.

The CV is that of one fold's model, which learned from n - 1 of n parts of the labels. Sent is the mean of n such
models, which together learned from all: it is better, at a few images per class by many points. An image of fold k has
n - 1 models of pairs of folds that did not see it, of n - 2 parts each, which together learned from what one fold's
model did. Their mean is to one of them what is sent is to one fold's model, with fewer labels: by how much it is
better, times `shrink`, is what is sent above the CV. What labels add falls as their logarithm does.

Arrays of finished predictions in, numbers out; reads the pairs' sweeps, writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import InputError
from kit.core.shapes import Labels, Proba, Rows
from kit.data.prepared import Prepared
from kit.runs.store.pairs import settle_pair
from kit.runs.store.score import oof_rows
from kit.scoring.predictions import Predictions
from kit.scoring.shares import Shares, estimate_shares, score_at

N_BLOCKS = 40  # of groups of images, left out in turn for the standard error
FEWEST_TEST = 50  # test images whose class shares are estimated
PairProba = Callable[[int, int], Proba]  # of a fold and another: the first's images, by the model that saw neither


def shrink(n_folds: int) -> float:
    """Return which part of the gain by averaging pairs' models is to be had by averaging the folds', 3 folds or more.

    Those take (n - 2) / n of the labels to (n - 1) / n, these (n - 1) / n to all.
    """
    return float(np.log(n_folds / (n_folds - 1)) / np.log((n_folds - 1) / (n_folds - 2)))


@dataclass(frozen=True)
class _Rows:
    """Hold what is scored: labels, oof, and what the pairs' models say of every image, one after the other."""

    labels: Labels
    oof: Proba
    apart: np.ndarray | None  # (n_folds - 1, n_images, n_classes)
    test: Proba

    def keep(self, rows: Rows) -> _Rows:
        apart = None if self.apart is None else self.apart[:, rows]
        return _Rows(self.labels[rows], self.oof[rows], apart, self.test)


def sent_of_run(
    prepared: Prepared, folder: Path, chosen: dict[str, Any], has_pairs: bool, is_refit: bool,
    oof: Predictions, test: Predictions,
) -> dict[str, Any]:  # fmt: skip
    """Return `describe_sent` of a run that lies in `folder`, at the settings that were `chosen`."""

    def apart(of: int, other: int) -> Proba:
        return settle_pair(prepared, folder, chosen, of, other, is_own=True)

    return describe_sent(prepared, oof, test, apart if has_pairs else None, is_refit)


def describe_sent(
    prepared: Prepared, oof: Predictions, test: Predictions, apart: PairProba | None, is_refit: bool = False
) -> dict[str, Any]:
    """Return what the CV lacks to be that of what is sent, for run.json; nothing where images have several labels.

    ``gain``, ``gain_se`` are what is sent above the CV, None where no models of pairs tell; ``shares`` the test's class
    shares by the class where they surely differ from the labelled images', else None; ``score``, ``se`` the estimate.
    """
    if prepared.pool.is_multilabel:
        return {}
    labels, proba = oof_rows(prepared, oof)
    rows = _Rows(labels, proba, _stack(prepared, apart), test.proba)
    n_folds = len(np.unique(prepared.folds))
    part = shrink(n_folds) if n_folds > 2 else 0.0
    is_shifted = (
        len(test.ids) >= FEWEST_TEST and estimate_shares(labels, proba, test.proba, prepared.scored_groups).is_shifted
    )

    def values(kept: _Rows) -> tuple[float, float, float]:
        shares = estimate_shares(kept.labels, kept.oof, kept.test) if is_shifted else None
        return _score(prepared, kept, shares, part, is_refit)

    try:
        whole = np.array(values(rows))
        blocks = _blocks(prepared)
        left_out = np.array([values(rows.keep(blocks != block)) for block in np.unique(blocks)])
    except InputError:  # a metric that is not defined on fewer images
        return {}
    n_blocks = len(left_out)
    errors = np.sqrt((n_blocks - 1) / n_blocks * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    gains = {} if rows.apart is None else {"gain": whole[1], "gain_se": errors[1]}
    shares = estimate_shares(labels, proba, test.proba).new.round(4).tolist() if is_shifted else None
    return {
        "metric_key": prepared.metric.key,
        "cv": whole[0],
        "cv_se": errors[0],
        "score": None if rows.apart is None else whole[2],
        "se": None if rows.apart is None else errors[2],
        "shares": shares and dict(zip(prepared.classes, shares, strict=True)),
        **gains,
    }


def _score(
    prepared: Prepared, rows: _Rows, shares: Shares | None, part: float, is_refit: bool
) -> tuple[float, float, float]:
    """Return the CV at the class shares, what is sent above it, and both together."""
    metric = prepared.metric
    cv = score_at(metric, rows.labels, rows.oof, shares)
    if rows.apart is None:
        return cv, 0.0, cv
    alone = float(np.mean([score_at(metric, rows.labels, each, shares) for each in rows.apart]))
    together = cv if is_refit else score_at(metric, rows.labels, rows.apart.mean(axis=0), shares)
    gain = part * (together - alone)
    return cv, gain, cv + gain


def _stack(prepared: Prepared, apart: PairProba | None) -> np.ndarray | None:
    """Return what the pairs' models say, (n_folds - 1, n_images, n_classes): of each image all that did not see it.

    None where there are none, or the sent mean is not of all folds.
    """
    folds = prepared.folds[prepared.scored_rows]
    if apart is None or len(np.unique(prepared.folds)) != len(prepared.scored):
        return None
    stacked = np.empty((len(prepared.scored) - 1, len(folds), len(prepared.classes)), dtype=np.float32)
    for fold in prepared.scored:
        for i, other in enumerate(each for each in prepared.scored if each != fold):
            stacked[i, folds == fold] = apart(fold, other)
    return stacked


def _blocks(prepared: Prepared) -> np.ndarray:
    """Return blocks of groups, drawn by chance, (n_images,)."""
    _, groups = np.unique(prepared.scored_groups, return_inverse=True)
    order = np.random.default_rng(0).permutation(groups.max() + 1)
    return order[groups] % N_BLOCKS
