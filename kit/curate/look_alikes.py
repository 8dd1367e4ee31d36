"""Keep labelled images that look alike in one fold: for photos in bursts, or of each class from a few places.

Reads features; writes ``folds/NAME.groups.csv`` once, before the folds are assigned. Where the test images come from
other places than the labelled ones, ordinary folds score the recognition of places. Where the test images come from the
same places, these groups make CV too low.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Competition
from kit.core import terminal
from kit.core.errors import InputError
from kit.core.names import MULTILABEL
from kit.core.shapes import Groups, Labels, Vectors
from kit.data.folds.file import refuse_to_regroup, write_groups
from kit.data.prepared import Prepared, committed_folds, prepare
from kit.features.cache import encode_images
from kit.features.joint import Joined, encoders_of
from kit.scoring.metrics import score_with_error

MAX_CLASS_IMAGES = 10_000  # of a class: the distances of all pairs take 800 MB
LOGISTIC_C = 30.0  # of the logistic regression that shows what the groups change


@dataclass(frozen=True)
class LookAlikes:
    """Hold the groups of look-alikes, and how much of a plain model's CV is due to look-alikes.

    Parameters
    ----------
    plain, grouped
        Score and standard error of a logistic regression on the features: in folds that tear look-alikes apart, and in
        folds that do not.
    prepared
        The competition with the new folds.
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
    encoder, args = _find_encoder(competition, run)
    plain = prepare(competition, keep_folds=False)
    images = plain.pool.select(plain.labeled)
    values = encode_images(images, encoder, args).values
    groups = group_alike(values, plain.labels, n_groups, plain.classes)
    names = np.array([f"{plain.classes[code]} {group}" for code, group in zip(plain.labels, groups, strict=True)])
    ids = plain.pool.ids[plain.labeled]
    tried = prepare(competition, keep_folds=False, groups=dict(zip(ids, names, strict=True)))  # refused before a write
    plain_score, grouped_score = _score(plain, values), _score(tried, values)
    file = write_groups(competition, ids, names)
    return LookAlikes(file, len(np.unique(names)), plain_score, grouped_score, prepare(competition))


def group_alike(values: Vectors, labels: Labels, n_groups: int, classes: tuple[str, ...]) -> Groups:
    """Return the group of each image within its class, from 0 on.

    Agglomerative clustering with complete linkage: no two images of a group are far from each other. A class has at
    most `n_groups` groups, at most half as many as images, and at least two.

    Raises
    ------
    InputError
        When a class has too many images for the distances of all pairs.
    """
    from sklearn.cluster import AgglomerativeClustering

    groups = np.zeros(len(labels), dtype=np.int64)
    for code in np.unique(labels):
        rows = np.flatnonzero(labels == code)
        if len(rows) > MAX_CLASS_IMAGES:
            cause = f"class {classes[code]!r} has {len(rows):,} labelled images, of which at most {MAX_CLASS_IMAGES:,}"
            raise InputError(f'{cause} can be compared; give groups yourself: group = "COLUMN"')
        n_clusters = max(2, min(n_groups, len(rows) // 2))
        clusters = AgglomerativeClustering(n_clusters, metric="cosine", linkage="complete").fit_predict(values[rows])
        _, first, clusters = np.unique(clusters, return_index=True, return_inverse=True)
        groups[rows] = np.argsort(np.argsort(first))[clusters]  # numbered as they appear
    return groups


def _find_encoder(competition: Competition, name: str | None) -> Joined:
    """Return the encoder that compares images: the first of a run's."""
    runs = [competition.run(name)] if name else competition.runs.values()
    for run in runs:
        if encoders := encoders_of(run.options):
            return encoders[0]
    who = f"run {name} has no" if name else "no run has an"
    raise InputError(f"{who} encoder to compare images by; give one, or name another run: --encoder-of RUN")


def _score(prepared: Prepared, values: Vectors) -> tuple[float, float]:
    """Return the CV of a logistic regression on features, and its standard error by groups."""
    from sklearn.linear_model import LogisticRegression

    proba = np.zeros((len(prepared.labels), len(prepared.classes)))
    for fold in terminal.track(prepared.scored, "folds"):
        held_out = prepared.folds == fold
        model = LogisticRegression(C=LOGISTIC_C, max_iter=1000).fit(values[~held_out], prepared.labels[~held_out])
        proba[np.ix_(held_out, model.classes_)] = model.predict_proba(values[held_out])
    rows = prepared.scored_rows
    return score_with_error(prepared.metric, prepared.labels[rows], proba[rows], prepared.scored_groups)


def describe_look_alikes(groups: LookAlikes, metric: str) -> dict[str, Any]:
    """Return the groups' file, their number and both scores as JSON-like values."""
    scores = {"plain": groups.plain, "grouped": groups.grouped}
    scores = {kind: {"score": score, "se": error} for kind, (score, error) in scores.items()}
    return {"groups": str(groups.file), "n_groups": groups.n_groups, "metric": metric, **scores}
