"""What a setting says of the folds: fitted fold by fold, scored on the folds so far.

Writes ``fits/KEY/``, KEY being the run's: fold_K.npy while folds are missing, then oof.parquet and scored.json.
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
from kit.core.engine import Task, begin_tasks, cancel_tasks, run_tasks
from kit.core.errors import DamagedFile, InputError
from kit.core.files import read_json, write_atomic, write_json
from kit.core.shapes import Proba
from kit.data.images import ids_of
from kit.data.prepared import Prepared
from kit.runs.fit.fold import fit_model, predict
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.fit.tasks import describe_needs
from kit.runs.seen import SCORED
from kit.runs.store.build import build_model
from kit.runs.store.find import rounds_of, run_key
from kit.runs.store.score import decide_anew
from kit.scoring.predictions import Predictions, concatenate, read_predictions, write_predictions


def change(run: Run, options: dict[str, Any]) -> Run:
    """Return a run with other values of some options; of a run with rounds of pseudo labels the first round."""
    rounds = list(rounds_of(run.model_copy(update={"options": run.options | options})))
    return rounds[0] if run.pseudo is None else rounds[1]


def score_folds(prepared: Prepared, run: Run, home: Path) -> Iterator[float | None]:
    """Fit a setting, from `change`, on one scored fold after another; give the score on the folds so far after each.

    The last is the CV that `train` prints; before it, None where the metric is not defined on so few folds. What was
    fitted before is read from `home`, the folder of the fits.

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
    begin_setting(prepared, run, home)
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
        (folder / f"fold_{fold}.npy").unlink(missing_ok=True)
    yield so_far[-1]


def begin_setting(prepared: Prepared, run: Run, home: Path, folds: Iterable[int] | None = None) -> None:
    """Have the folds of a setting begun that are not fitted, all that are scored by default: a cluster fits them then.

    InputError where the setting is refused.
    """
    folder = home / run_key(prepared, run)
    if not (folder / SCORED).exists():
        waiting = [fold for fold in folds or prepared.scored if not (folder / f"fold_{fold}.npy").exists()]
        begin_tasks(_make_tasks(prepared, run, waiting, folder), prepared)


def cancel_setting(prepared: Prepared, run: Run, home: Path) -> None:
    """Take back what was begun of a setting and is not waited for."""
    cancel_tasks(_make_tasks(prepared, run, prepared.scored, home / run_key(prepared, run)))


def _are_scores(scored: Any, n_folds: int) -> bool:
    """Return whether this is what was noted of a setting: a score after each fold, the last of them not missing."""
    if not isinstance(scored, list) or len(scored) != n_folds or scored[-1] is None:
        return False
    return all(score is None or isinstance(score, int | float) for score in scored)


def _score(prepared: Prepared, oof: Predictions) -> float:
    return prepared.metric.score(*decide_anew(prepared, oof))


def _score_so_far(prepared: Prepared, run: Run, sweeps: dict[int, Proba]) -> float | None:
    """Return the score on the folds that are there, or None where a metric that needs every class lacks one yet."""
    try:
        return _score(prepared, concatenate(list(_settle(prepared, run, sweeps).values())))
    except InputError:
        return None


def read_oof(prepared: Prepared, run: Run, home: Path) -> Predictions:
    """Return a setting's predictions of every scored image; it is fitted where that was not done, or was deleted."""
    for _ in score_folds(prepared, run, home):
        pass
    return read_predictions(home / run_key(prepared, run) / "oof.parquet")


def predict_folds(prepared: Prepared, run: Run, home: Path, folds: Iterable[int]) -> dict[int, Predictions]:
    """Return a setting's predictions of some folds; a swept model is fitted on all of them, since the others choose.

    Its errors are those of `score_folds`.
    """
    swept = build_model(prepared.competition, run).is_swept
    folder, folds = home / run_key(prepared, run), list(folds)
    if (folder / SCORED).exists():
        oof = read_predictions(folder / "oof.parquet")
        return {fold: oof.at(ids_of(prepared.held_out(fold))) for fold in folds}
    needed = prepared.scored if swept else folds
    begin_setting(prepared, run, home, needed)
    settled = _settle(
        replace(prepared, scored=tuple(needed)), run, {fold: _fit_fold(prepared, run, fold, folder) for fold in needed}
    )
    return {fold: settled[fold] for fold in folds}


def discard(prepared: Prepared, run: Run, home: Path) -> None:
    """Delete the fits of a setting that was given up."""
    folder = home / run_key(prepared, run)
    cancel_setting(prepared, run, home)
    if folder.is_dir() and not (folder / SCORED).exists():
        shutil.rmtree(folder)


def _fit_fold(prepared: Prepared, run: Run, fold: int, folder: Path) -> Proba:
    """Return a fold's probabilities by its model at every swept value, (n_values, n_images, n_classes)."""
    if (sweep := _read_fold(prepared, fold, folder)) is None:
        for _ in run_tasks(_make_tasks(prepared, run, [fold], folder), prepared):
            pass
        if (sweep := _read_fold(prepared, fold, folder)) is None:
            raise DamagedFile(f"{folder / f'fold_{fold}.npy'}: was written, and cannot be read; call again")
    if (checkpoints := folder / f"fold_{fold}").is_dir():
        shutil.rmtree(checkpoints)
    return sweep


def _read_fold(prepared: Prepared, fold: int, folder: Path) -> Proba | None:
    """Return what a fold's model said, or None where it is not fitted."""
    images = prepared.held_out(fold)
    return read_array(folder / f"fold_{fold}.npy", (None, len(images), images.n_classes), "float32")


def _make_tasks(prepared: Prepared, run: Run, folds: Iterable[int], folder: Path) -> list[Task]:
    """Return a task for each fold."""
    needs = describe_needs(prepared, run)
    where = str(folder.relative_to(_runs(prepared)))
    return [
        Task(
            f"{__name__}:do_fold",
            {"settings": run.model_dump(), "fold": fold, "where": where},
            f"tune {run.name}, fold {fold}",
            gpus=needs.gpus,
            gibibytes=needs.gibibytes,
            minds_amx=needs.minds_amx,
            reads=needs.reads,
            writes=(folder / f"fold_{fold}.npy", folder / f"fold_{fold}"),
        )
        for fold in folds
    ]


def _runs(prepared: Prepared) -> Path:
    """Return the folder of everything computed, below which a search's fits lie, be it thrown away or kept."""
    return prepared.competition.workspace.runs(prepared.competition.name)


def do_fold(prepared: Prepared, settings: dict[str, Any], fold: int, where: str) -> None:
    """Fit one fold of a setting and write what its model says of the fold's images."""
    run, folder, images = Run.model_validate(settings), _runs(prepared) / where, prepared.held_out(fold)
    if _read_fold(prepared, fold, folder) is not None:
        return
    model, _, _ = fit_model(prepared, run, fold, folder / f"fold_{fold}")
    sweep = model.predict_sweep(images) if model.is_swept else predict(model, images).proba[None]
    with write_atomic(folder / f"fold_{fold}.npy") as opened:
        np.save(opened, sweep.astype(np.float32))


def _settle(prepared: Prepared, run: Run, sweeps: dict[int, Proba]) -> dict[int, Predictions]:
    """Choose a swept value for each scored fold on the others, as `train` does; return the predictions then."""
    model, chosen = build_model(prepared.competition, run), dict.fromkeys(sweeps, 0)
    if model.is_swept:
        values = model.sweep_values()
        values_of = choose_per_fold(prepared, values, sweeps, model.sweep_default)
        chosen = {fold: values.index(value) for fold, value in values_of.items()}
    pool, predictions = prepared.pool, {}
    for fold, position in chosen.items():
        proba = sweeps[fold][position]
        if pool.hierarchy is not None:
            proba = pool.hierarchy.make_consistent(proba)
        predictions[fold] = Predictions(ids_of(prepared.held_out(fold)), pool.classes, proba, pool.task)
    return predictions
