"""What a setting says of the folds: fitted fold by fold, scored on the folds so far.

Writes ``fits/KEY/``, KEY being the run's own: fold_K.npy while folds are missing, then oof.parquet and scored.json.
Nothing is predicted but the held-out images: the pool and the test images are for `train`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.arrays import read_array
from kit.core.deadline import check_deadline
from kit.core.errors import InputError
from kit.core.files import read_json, write_atomic, write_json
from kit.data.prepared import Prepared
from kit.runs.fit.fold import fit_model, predict
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.seen import SCORED
from kit.runs.store import oof_rows, rounds_of, run_key
from kit.runs.store.build import build_model
from kit.runs.store.thresholds import decide_oof, thresholds_of
from kit.scoring.predictions import Predictions, concatenate, read_predictions, write_predictions


def change(run: Run, options: dict[str, Any]) -> Run:
    """Return a run with other values of some options; of a run with rounds of pseudo labels the first round."""
    return next(rounds_of(run.model_copy(update={"options": run.options | options})))


def score_folds(prepared: Prepared, run: Run, home: Path) -> Iterator[float | None]:
    """Fit a setting on one scored fold after another; give the score on the folds so far after each.

    The last is the CV that `train` prints; before it, None where the metric is not defined on so few folds. What was
    fitted before is read.

    Parameters
    ----------
    prepared
        The competition made ready.
    run
        The run with the setting's values, from `change`.
    home
        Folder of the fits.

    Raises
    ------
    InputError
        When the setting is refused, or training diverges.
    TimeIsUp
        When the time limit is reached; the next call goes on.
    """
    folder = home / run_key(prepared, run)
    scored = read_json(folder / SCORED)
    if _are_scores(scored, len(prepared.scored)) and (folder / "oof.parquet").exists():
        yield from scored
        return
    sweeps, so_far = {}, []
    for fold in prepared.scored[:-1]:
        sweeps[fold] = _fit_fold(prepared, run, fold, folder)
        so_far.append(_score_so_far(replace(prepared, scored=tuple(sweeps)), run, sweeps))
        yield so_far[-1]
    sweeps[prepared.scored[-1]] = _fit_fold(prepared, run, prepared.scored[-1], folder)
    oof = concatenate(list(_settle(prepared, run, sweeps).values()))
    so_far.append(_score(prepared, oof))
    write_predictions(folder / "oof.parquet", oof)
    write_json(folder / SCORED, so_far)
    for fold in sweeps:
        _fold_file(folder, fold).unlink(missing_ok=True)
    yield so_far[-1]


def _are_scores(scored: Any, n_folds: int) -> bool:
    """Return whether this is what was noted of a setting: a score after each fold, the last of them not missing."""
    if not isinstance(scored, list) or len(scored) != n_folds or scored[-1] is None:
        return False
    return all(score is None or isinstance(score, int | float) for score in scored)


def decided(prepared: Prepared, oof: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities of the scored images; thresholds of several labels are chosen nested.

    Returns
    -------
    tuple
        (n_images,) class codes or (n_images, n_classes) of 0 and 1, and (n_images, n_classes) probabilities for which
        one half is the threshold.
    """
    labels, proba = oof_rows(prepared, oof)
    return labels, decide_oof(prepared, proba, thresholds_of(prepared, labels, proba))


def _score(prepared: Prepared, oof: Predictions) -> float:
    return prepared.competition.metric.score(*decided(prepared, oof))


def _score_so_far(prepared: Prepared, run: Run, sweeps: dict[int, np.ndarray]) -> float | None:
    """Return the score on the folds that are there, or None where a metric that needs every class lacks one yet."""
    try:
        return _score(prepared, concatenate(list(_settle(prepared, run, sweeps).values())))
    except InputError:
        return None


def read_oof(prepared: Prepared, run: Run, home: Path) -> Predictions:
    """Return what a setting says of every scored image; it is fitted where that was not done, or was deleted."""
    for _ in score_folds(prepared, run, home):
        pass
    return read_predictions(home / run_key(prepared, run) / "oof.parquet")


def predict_folds(prepared: Prepared, run: Run, home: Path, folds: Iterable[int]) -> dict[int, Predictions]:
    """Return what a setting says of some folds; a swept model is fitted on all of them, since the others choose.

    Raises
    ------
    InputError
        When the setting is refused, or training diverges.
    TimeIsUp
        When the time limit is reached; the next call goes on.
    """
    swept = build_model(prepared.competition, run).is_swept
    folder, folds = home / run_key(prepared, run), list(folds)
    if (folder / SCORED).exists():
        oof = read_predictions(folder / "oof.parquet")
        return {fold: oof.at(prepared.held_out(fold).ids) for fold in folds}
    needed = prepared.scored if swept else folds
    there = replace(prepared, scored=tuple(needed))
    said = _settle(there, run, {fold: _fit_fold(prepared, run, fold, folder) for fold in needed})
    return {fold: said[fold] for fold in folds}


def discard(prepared: Prepared, run: Run, home: Path) -> None:
    """Delete the fits of a setting that was given up."""
    folder = home / run_key(prepared, run)
    if folder.is_dir() and not (folder / SCORED).exists():
        shutil.rmtree(folder)


def _fold_file(folder: Path, fold: int) -> Path:
    return folder / f"fold_{fold}.npy"


def _fit_fold(prepared: Prepared, run: Run, fold: int, folder: Path) -> np.ndarray:
    """Return what one fold's model says of the fold at every swept value, (n_values, n_images, n_classes)."""
    file, mine, images = _fold_file(folder, fold), folder / f"fold_{fold}", prepared.held_out(fold)
    shape = (None, len(images), images.n_classes)
    if (said := read_array(file, shape, "float32")) is None:
        check_deadline()
        model, _, _ = fit_model(prepared, run, fold, mine)
        said = model.predict_sweep(images) if model.is_swept else predict(model, images).proba[None]
        with write_atomic(file) as opened:
            np.save(opened, said := said.astype(np.float32))
    if mine.is_dir():  # the checkpoints of a network
        shutil.rmtree(mine)
    return said


def _settle(prepared: Prepared, run: Run, sweeps: dict[int, np.ndarray]) -> dict[int, Predictions]:
    """Choose a swept value for each scored fold on the others, as `train` does; return what is said then."""
    model, chosen = build_model(prepared.competition, run), dict.fromkeys(sweeps, 0)
    if model.is_swept:
        values = model.sweep_values()
        values_of = choose_per_fold(prepared, values, sweeps, model.sweep_default)
        chosen = {fold: values.index(value) for fold, value in values_of.items()}
    pool, said = prepared.pool, {}
    for fold, position in chosen.items():
        proba = sweeps[fold][position]
        if pool.hierarchy is not None:
            proba = pool.hierarchy.make_consistent(proba)
        said[fold] = Predictions(prepared.held_out(fold).ids, pool.classes, proba, pool.task)
    return said
