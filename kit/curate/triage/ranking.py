"""Rank the labels of the scored images by how likely they are wrong.

Reads a finished run's oof predictions and its encoder's features; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.core.errors import InputError
from kit.core.names import ENSEMBLE, PROGRAM
from kit.core.shapes import Labels, Mask, Rows, Scores
from kit.core.terminal import note
from kit.curate.triage.quality import label_quality, neighbour_shares, outlier_scores, spot_issues, suggest_labels
from kit.data.audit import audit
from kit.data.prepared import Prepared
from kit.data.table import read_table
from kit.features.cache import GIVEN, Features, encode_images, has_features
from kit.features.joint import encoders_of
from kit.runs.store import Result, decided_rows, oof_rows, result_at


@dataclass(frozen=True)
class Triage:
    """Hold what is suspicious about the labelled images that are scored; all arrays are in their order.

    Parameters
    ----------
    run, key
        The run whose oof judges, and its key.
    labels, suggested
        The given labels, and the run's predictions.
    probability
        The run's confidence in its prediction, 0..1.
    quality
        How believable the given label is, 0..1; lowest first is the order of suspicion.
    issue
        Whether confident learning takes the label for wrong.
    outlier
        How typical an image is in feature space, 0 (like no other) to 1; None without features.
    contradictions
        Clusters of near-duplicates that hold different labels: lists of ``id, split, label``.
    """

    run: str
    key: str
    rows: Rows
    labels: Labels
    suggested: Labels
    probability: Scores
    quality: Scores
    issue: Mask
    outlier: Scores | None
    contradictions: list[list[dict[str, str]]]

    @property
    def order(self) -> Rows:
        """Return the positions of all images, the most suspicious first."""
        return np.argsort(self.quality, kind="stable")

    @property
    def error(self) -> float:
        """Return the share of the images, 0..1, whose prediction is not the given label."""
        differs = self.suggested != self.labels
        return float((differs.any(axis=1) if differs.ndim == 2 else differs).mean())

    @property
    def suspicious(self) -> Rows:
        """Return, in that order, those whose label confident learning or the run takes for wrong."""
        differs = self.suggested != self.labels
        doubted = self.issue | (differs.any(axis=1) if differs.ndim == 2 else differs)
        return self.order[doubted[self.order]]


def rank_labels(prepared: Prepared, result: Result) -> Triage:
    """Rank the labels of the scored images, by a finished run: the better it predicts, the better it judges."""
    competition = prepared.competition
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    _, decided = decided_rows(prepared, result)  # by a class's own threshold, where an image has several labels
    rows = prepared.labeled[prepared.scored_rows]
    features = _find_features(prepared, result, rows)
    blended = proba
    if features is not None:
        blended = (proba + neighbour_shares(features.values, labels, proba.shape[1])) / 2
    suggested, probability = suggest_labels(decided, labels)
    return Triage(
        result.name,
        result.record.key,
        rows,
        labels,
        suggested,
        probability,
        label_quality(labels, blended),
        spot_issues(labels, proba),
        None if features is None else outlier_scores(features.values),
        (prepared.findings or audit(competition, read_table(competition))).contradictions,
    )


def choose_run(prepared: Prepared, results: list[Result], name: str | None) -> Result:
    """Return the run that judges: the one that is named, or the ensemble, or that of the best CV.

    InputError where nothing has been trained, or the named run has not.
    """
    command = f"{PROGRAM} train {prepared.competition.name}"
    if not results:
        raise InputError(f"triage judges labels by oof predictions, and no run has made any yet; {command}")
    by_name = {result.name: result for result in results}
    if name is None:
        sign = prepared.metric.sign
        return by_name.get(ENSEMBLE) or max(results, key=lambda result: sign * result.record.cv)
    if name != ENSEMBLE:
        prepared.competition.run(name)  # names the nearest of those there are
    for result in results:
        if name in (result.name, result.base):
            return result
    raise InputError(f"run {name} has no oof predictions yet; {command} {name}")


def _find_features(prepared: Prepared, result: Result, rows: Rows) -> Features | None:
    """Return features of the images, by an encoder that the run or its heaviest member has used already."""
    members = result.record.members
    weights = result.record.weights
    sources = [result_at(prepared, name, members[name]) for name in sorted(members, key=lambda name: -weights[name])]
    for source in [result, *sources]:
        for encoder, args in encoders_of(source.record.options):
            if encoder == GIVEN or has_features(prepared.pool, encoder, args):
                return encode_images(prepared.pool.select(rows), encoder, args)
    note(f"no encoder's features are there for {result.name}: neighbours are not asked, outliers not looked for")
    return None
