"""What a search is worth: measured on folds that it did not use, with settings that the scored rows did not choose.

The best value of a search is optimistic, and the best setting can be so on another split of the same images too:
whoever was chosen for doing well on an image may do well on it again. So the folds are of another seed, and for each of
them the setting is chosen by the search's predictions of the rows outside it. Reads and writes the study's fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.config.competition import Run
from kit.core.errors import InputError
from kit.core.shapes import Groups
from kit.core.terminal import Progress
from kit.data.folds import assign_folds, assign_label_set_folds, scored_folds
from kit.data.prepared import Prepared
from kit.runs.store.score import decide_anew
from kit.runs.tuning.setting import begin_setting, predict_folds, read_oof
from kit.scoring.metrics import distinguishable, paired_difference, score_with_error
from kit.scoring.predictions import concatenate

SEEDS_APART = 1000  # between the seed of the competition's folds and the fresh ones': no split is tried twice
MAX_SEEDS_TRIED = 5


@dataclass(frozen=True)
class Comparison:
    """Hold what the search's choice and the run's own values score on the same folds.

    Parameters
    ----------
    seed
        Of the fresh folds; None where the competition's own were used, since the teachers of the run know no others.
    tuned, untuned
        Score and standard error, in the competition's metric.
    difference, error
        How much better the tuned one is on the same images, and one standard error.
    chosen
        Position of the setting, among the candidates, that each fold was predicted with.
    """

    seed: int | None
    tuned: tuple[float, float]
    untuned: tuple[float, float]
    difference: float
    error: float
    chosen: dict[int, int]

    @property
    def is_distinguishable(self) -> bool:
        """Return whether tuning changed more than chance does, at 95 %."""
        return distinguishable(self.difference, self.error)


def compare_on_fresh_folds(prepared: Prepared, candidates: list[Run], home: Path) -> Comparison:
    """Score the search's choice and the run's own values on fresh folds.

    The candidates are the run with its own values, then the complete trials' settings, all scored on the competition's
    folds; their fits lie in `home`. When the time limit is reached, TimeIsUp is raised; the next call goes on.
    """
    has_teachers = candidates[0].pseudo is not None
    seed, fresh = (None, prepared) if has_teachers else fresh_folds(prepared)
    chosen = choose_apart(prepared, fresh, candidates, home)
    folds_of = {i: [fold for fold in fresh.scored if i in (0, chosen[fold])] for i in (0, *chosen.values())}
    for i, folds in folds_of.items():
        begin_setting(fresh, candidates[i], home, folds)
    predictions = {}  # by candidate and fold
    with Progress("fresh folds", len(folds_of)) as progress:
        for i, folds in folds_of.items():
            predictions[i] = predict_folds(fresh, candidates[i], home, folds)
            progress.advance()
    untuned = concatenate([predictions[0][fold] for fold in fresh.scored])
    tuned = concatenate([predictions[chosen[fold]][fold] for fold in fresh.scored])
    metric, groups = prepared.metric, fresh.scored_groups
    labels, ours = decide_anew(fresh, tuned)
    _, theirs = decide_anew(fresh, untuned)
    return Comparison(
        seed,
        score_with_error(metric, labels, ours, groups),
        score_with_error(metric, labels, theirs, groups),
        *paired_difference(metric, labels, ours, theirs, groups),
        chosen,
    )


def fresh_folds(prepared: Prepared) -> tuple[int, Prepared]:
    """Return another seed and the competition split by it, groups and near-duplicates kept whole as ever.

    Where the images are so few, or so grouped, that there is no other split, InputError is raised.
    """
    plan, rows = prepared.competition.folds, prepared.labeled
    ids, groups = prepared.pool.ids[rows], prepared.pool.groups[rows]
    for attempt in range(1, MAX_SEEDS_TRIED + 1):
        seed = plan.seed + attempt * SEEDS_APART
        if prepared.pool.is_multilabel:
            folds = assign_label_set_folds(ids, prepared.labels, groups, plan.n, seed)
        else:
            names = np.array(prepared.classes, dtype=object)[prepared.labels]
            folds = assign_folds(ids, names, groups, plan.n, seed)
        if not _is_same_split(prepared.folds, folds):
            return seed, replace(prepared, folds=folds, scored=scored_folds(prepared.competition, folds))
    raise InputError("there is no other way to split the labelled images, so no folds to score a search on; add images")


def choose_apart(prepared: Prepared, fresh: Prepared, candidates: list[Run], home: Path) -> dict[int, int]:
    """Choose a candidate for each fresh fold on the search's oof rows outside it; of equals the first.

    Where no row is outside, those of the fold itself choose.
    """
    metric = prepared.metric
    opinions = [decide_anew(prepared, read_oof(prepared, run, home)) for run in candidates]
    folds, chosen = fresh.folds[prepared.scored_rows], {}
    for fold in fresh.scored:
        outside = folds != fold
        rows = outside if outside.any() else ~outside
        scores = [metric.sign * metric.score(labels[rows], proba[rows]) for labels, proba in opinions]
        chosen[fold] = int(np.argmax(scores))
    return chosen


def _is_same_split(ours: Groups, theirs: Groups) -> bool:
    """Return whether two assignments group the images alike, whatever the folds' numbers."""
    pairs = {*zip(ours.tolist(), theirs.tolist(), strict=True)}
    return len(pairs) == len(np.unique(ours)) == len(np.unique(theirs))
