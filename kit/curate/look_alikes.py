"""Labelled images that look alike, kept in one fold: for photos that come in bursts, or each class from a few places.

Reads features; writes ``folds/NAME.groups.csv`` once, before the folds are assigned. Where the test images come from
other places than the labelled ones, ordinary folds score the recognition of places; where they are drawn as the
labelled ones are, these groups make CV too low.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Competition, Run
from kit.core import terminal
from kit.core.errors import InputError
from kit.core.names import MULTILABEL
from kit.data.folds.file import refuse_to_regroup, write_groups
from kit.data.prepared import Prepared, committed_folds, prepare
from kit.features.cache import encode_images
from kit.scoring.metrics import score_with_error

MAX_CLASS_IMAGES = 10_000  # of a class: the distances of all pairs take 800 MB
LOGISTIC_C = 30.0  # of the logistic regression that shows what the groups change


@dataclass(frozen=True)
class LookAlikes:
    """Hold what was grouped, and how much of a plain model's CV hangs on look-alikes.

    Parameters
    ----------
    file
        The groups, written.
    n_groups
        Their number, all classes together.
    plain, grouped
        Score and standard error of a logistic regression on the features: in folds that tear look-alikes apart, and in
        folds that do not.
    prepared
        The competition made ready, with the new folds.
    """

    file: Path
    n_groups: int
    plain: tuple[float, float]
    grouped: tuple[float, float]
    prepared: Prepared


def keep_together(competition: Competition, n_groups: int, run: str | None = None) -> LookAlikes:
    """Group the labelled images of each class by their looks, and assign folds that keep the groups whole.

    Parameters
    ----------
    competition
        The competition; it has no fold file yet.
    n_groups
        Groups of each class, at most; a little more than folds. Of a small class one per two images.
    run
        The run whose encoder compares them; by default the first that has one.

    Raises
    ------
    InputError
        When there are folds already, an image may have several labels, a class is too large, or no run has an encoder.
    MissingWeights
        When the encoder's weights cannot be had.
    """
    refuse_to_regroup(competition, committed_folds(competition))
    if competition.facts.task == MULTILABEL:
        raise InputError('images of several labels are not grouped by class; give groups yourself: group = "COLUMN"')
    own = _find_encoder(competition, run)
    plain = prepare(competition, keep_folds=False)
    values = encode_images(
        plain.pool.select(plain.labeled), own.options["encoder"], own.options.get("encoder_args")
    ).values
    groups = group_alike(values, plain.labels, n_groups, plain.classes)
    names = np.array([f"{plain.classes[code]} {group}" for code, group in zip(plain.labels, groups, strict=True)])
    ids = plain.pool.ids[plain.labeled]
    tried = prepare(competition, keep_folds=False, groups=dict(zip(ids, names, strict=True)))  # refused before a write
    scores = [_score(own, values) for own in (plain, tried)]
    file = write_groups(competition, ids, names)
    return LookAlikes(file, len(np.unique(names)), *scores, prepare(competition))


def group_alike(values: np.ndarray, labels: np.ndarray, n_groups: int, classes: tuple[str, ...]) -> np.ndarray:
    """Return the group of each image within its class, (n_images,) from 0 on.

    Agglomerative clustering with complete linkage: no two images of a group are far from each other.

    Parameters
    ----------
    values
        (n_images, n_dims) features of unit length.
    labels
        (n_images,) class codes.
    n_groups
        Groups of each class, at most; half as many as the class has images at most, and two at least.
    classes
        Class names, for messages.

    Raises
    ------
    InputError
        When a class has too many images for the distances of all pairs.
    """
    from sklearn.cluster import AgglomerativeClustering

    groups = np.zeros(len(labels), dtype=np.int64)
    for code in np.unique(labels):
        mine = np.flatnonzero(labels == code)
        if len(mine) > MAX_CLASS_IMAGES:
            cause = f"class {classes[code]!r} has {len(mine):,} labelled images, of which at most {MAX_CLASS_IMAGES:,}"
            raise InputError(f'{cause} can be compared; give groups yourself: group = "COLUMN"')
        n_own = max(2, min(n_groups, len(mine) // 2))
        found = AgglomerativeClustering(n_own, metric="cosine", linkage="complete").fit_predict(values[mine])
        _, first, found = np.unique(found, return_index=True, return_inverse=True)
        groups[mine] = np.argsort(np.argsort(first))[found]  # numbered as they appear
    return groups


def _find_encoder(competition: Competition, name: str | None) -> Run:
    """Return the run whose encoder compares images."""
    runs = [competition.run(name)] if name else competition.runs.values()
    for run in runs:
        if run.options.get("encoder"):
            return run
    who = f"run {name} has no" if name else "no run has an"
    raise InputError(f"{who} encoder to compare images by; give one, or name another run: --encoder-of RUN")


def _score(prepared: Prepared, values: np.ndarray) -> tuple[float, float]:
    """Return the CV of a logistic regression on features, and its standard error by groups."""
    from sklearn.linear_model import LogisticRegression

    said = np.zeros((len(prepared.labels), len(prepared.classes)))
    for fold in terminal.track(prepared.scored, "folds"):
        mine = prepared.folds == fold
        model = LogisticRegression(C=LOGISTIC_C, max_iter=1000).fit(values[~mine], prepared.labels[~mine])
        said[np.ix_(mine, model.classes_)] = model.predict_proba(values[mine])
    rows = prepared.scored_rows
    return score_with_error(prepared.competition.metric, prepared.labels[rows], said[rows], prepared.scored_groups)


def describe_look_alikes(found: LookAlikes, metric: str) -> dict[str, Any]:
    """Return what was found as JSON-like values."""
    names = ("score", "se")
    scores = {kind: dict(zip(names, getattr(found, kind), strict=True)) for kind in ("plain", "grouped")}
    return {"groups": str(found.file), "n_groups": found.n_groups, "metric": metric, **scores}
