"""What a run claims of itself: that its files are as written, cover their images and give its CV."""

from __future__ import annotations

from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.errors import InputError, LeakFound, some
from kit.data.prepared import Prepared, describe_classes
from kit.runs.fit.fold import find_changed
from kit.runs.store.pairs import Apart
from kit.runs.store.result import EVERYTHING, IMPORTED, Result, fold_folder
from kit.runs.store.score import oof_rows
from kit.runs.store.seals import changed_features
from kit.runs.store.thresholds import decide_oof, decision_key, thresholds_of
from kit.runs.verify.sources import ReadRun, can_derive, describe_settings, differ, fitted_folds
from kit.scoring.metrics import Metric, find_metric, score_with_error
from kit.scoring.predictions import mean_predictions


def verify_identity(prepared: Prepared, run: Result, settings: Run | None) -> None:
    """A run's folder must hold what its name and key say, and run.json the settings that competition.toml has."""
    record, named = run.record, f"{run.name}: {run.folder / 'run.json'}"
    if run.folder.name not in (record.key, IMPORTED):
        raise LeakFound(f"{named} is of key {record.key}, not of {run.folder.name}: another run's folder was put there")
    if record.name not in ("", run.name):
        raise LeakFound(f"{named} is of the run {record.name}: another run's folder was put there")
    if record.classes and tuple(record.classes) != prepared.classes:
        raise LeakFound(f"{named} names other classes, or in another order: {some(record.classes)}")
    if settings is not None:
        for name, today in describe_settings(prepared, settings).items():
            noted = getattr(record, name)
            if _without_file(noted) != _without_file(today):
                raise LeakFound(f"{named} says {name} = {noted}, but a run of this key has {today}")


def _without_file(value: Any) -> Any:
    """Return what run.json says of images that were left out, without their file's name: it decides nothing."""
    return {key: each for key, each in value.items() if key != "file"} if isinstance(value, dict) else value


def verify_features(prepared: Prepared, run: ReadRun) -> None:
    """The cached features that a run read must be as they were when it read them; another machine makes others."""
    settings = run.settings
    if settings is None or not can_derive(prepared, settings, run):
        return
    if changed := changed_features(prepared, settings, run.record.features):
        raise LeakFound(
            f"{run.name}: the cached features of {some(changed)} are not those that it read (their SHA-256 differs): "
            f"{prepared.pool.cache / 'features'} was edited; delete that folder and {run.folder}, and train again"
        )


def verify_files(prepared: Prepared, run: ReadRun) -> None:
    """Weights, sweeps and predictions of the folds must be as they were written."""
    for fold in fitted_folds(prepared, run):
        if changed := find_changed(run.folder, fold):
            home = fold_folder(run.folder, fold)
            raise LeakFound(
                f"{run.name} {home.name}: {some(changed)} edited since the model was fitted (SHA-256 is not that of "
                f"{home / 'fitted.json'}); delete {run.folder} and train again"
            )


def verify_coverage(prepared: Prepared, run: ReadRun) -> None:
    """Oof and test must cover their images once, on these folds and with the competition's classes."""
    if run.record.fold_key != prepared.fold_key:
        raise LeakFound(f"{run.name}: {run.folder} was made on other folds or labels; make it again")
    scored = prepared.pool.ids[prepared.labeled[prepared.scored_rows]]
    wanted_of = {"oof": scored} | ({"test": prepared.pool.ids[prepared.split("test")]} if run.predicts_test else {})
    for split, wanted in wanted_of.items():
        predictions = run.predictions(split)
        if predictions.classes != prepared.classes:
            raise LeakFound(f"{run.name}: class order of {split} is {some(predictions.classes)}, not the competition's")
        if apart := sorted(set(predictions.ids) ^ set(wanted)):
            images = "scored" if split == "oof" else "test"
            raise LeakFound(f"{run.name}: {split} does not cover the {images} images: {some(apart)} differ")


def verify_score(prepared: Prepared, run: ReadRun, apart: Apart | None) -> None:
    """CV and standard error must be those of the oof, thresholds those that the other folds choose.

    `apart` is what they choose by where a run's models of pairs of folds did: see `thresholds_of`.
    """
    metric = _metric_of(prepared, run)
    if metric is None:
        return
    labels, proba = oof_rows(prepared, run.predictions("oof"))
    thresholds = thresholds_of(prepared, labels, proba, apart)
    noted = run.record.thresholds if run.record.decision == decision_key(prepared) else thresholds
    if thresholds and (not noted or (noted.values, noted.per_fold) != (thresholds.values, thresholds.per_fold)):
        raise LeakFound(f"{run.name}: run.json says other thresholds than those that the other folds' rows choose")
    proba = decide_oof(prepared, proba, thresholds)
    cv, error = score_with_error(metric, labels, proba, prepared.scored_groups)
    if differ(np.array([cv, error]), np.array([run.record.cv, run.record.se])):
        raise LeakFound(
            f"{run.name}: run.json says CV {run.record.cv:.6f} ± {run.record.se:.6f} ({run.record.metric}), "
            f"its oof gives {cv:.6f} ± {error:.6f} ({metric.name})"
        )


def _metric_of(prepared: Prepared, run: ReadRun) -> Metric | None:
    """Return the metric that a run was scored in; None for one that gives other numbers today."""
    today = prepared.metric
    if run.folder.name == IMPORTED or run.record.metric_key == today.key:
        return today
    try:
        metric = find_metric(run.record.metric).for_classes(describe_classes(prepared.competition, prepared.classes))
    except InputError:  # what a user's file held then is not known any more
        return None
    return metric if metric.key == run.record.metric_key else None


def verify_test_mean(prepared: Prepared, run: ReadRun) -> None:
    """The test predictions must be the mean of all the folds' models, not one fold's; a refit's, its predictions."""
    if run.record.refit:
        again, origin = run.fold_predictions(EVERYTHING, "test"), "what the model that was fitted on everything says"
    else:
        again = mean_predictions([run.fold_predictions(fold, "test") for fold in prepared.scored])
        origin = f"the mean of what the {len(prepared.scored)} folds' models say"
    if differ(run.predictions("test").at(again.ids).proba, again.proba):
        raise LeakFound(f"{run.name}: test.parquet is not {origin}")
