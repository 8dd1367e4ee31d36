"""What a head predicts, derived again from the weights that its folds have kept and the features in the cache.

A head is restored in seconds; networks and models that keep no weights are left to `refit`.
"""

from __future__ import annotations

from kit.config.competition import Run
from kit.core.errors import LeakFound
from kit.core.terminal import track
from kit.data.prepared import Prepared
from kit.models.model import Model
from kit.runs.fit.fold import predict, read_sweep
from kit.runs.fit.restore import read_settled, restore_fold
from kit.runs.store.build import build_model
from kit.runs.verify.sources import REFIT_TOLERANCE, ReadRun, can_derive, differ


def is_derived(prepared: Prepared, run: ReadRun) -> bool:
    """Return whether a run's predictions follow from weights that were kept, at the price of a head."""
    settings = run.settings
    return settings is not None and is_head(prepared, settings) and can_derive(prepared, settings, run)


def verify_predictions(prepared: Prepared, run: ReadRun) -> None:
    """A head's predictions of the folds, the test images and the pool must follow from the weights it has kept."""
    settings = run.settings
    if settings is None or not is_derived(prepared, run):
        return
    for fold in track(prepared.scored, f"verify {run.name}"):
        if (model := restore_fold(prepared, settings, run.folder, fold)) is not None:
            _verify_sweep(prepared, run, model, fold)
            _verify_fold(prepared, run, model, fold)


def _verify_fold(prepared: Prepared, run: ReadRun, model: Model, fold: int) -> None:
    """One fold's predictions must be what its restored model predicts."""
    selections = {"oof": prepared.held_out(fold)} | {
        split: prepared.pool.select(prepared.split(split)) for split in ("test", "unlabeled")
    }
    for split, images in selections.items():
        again = predict(model, images)
        if differ(run.fold_predictions(fold, split).at(again.ids).proba, again.proba, REFIT_TOLERANCE):
            raise LeakFound(
                f"{run.name} fold {fold}: {split}.parquet is not what its kept weights predict on today's features; "
                f"delete {run.folder} and train again"
            )


def _verify_sweep(prepared: Prepared, run: ReadRun, model: Model, fold: int) -> None:
    """The sweep that the other folds choose on must be what the weights predict; the chosen value is settled."""
    if not model.is_swept:
        return
    if len(model.sweep_values()) > 1 and differ(
        read_sweep(run.folder, fold), model.predict_sweep(prepared.held_out(fold)), REFIT_TOLERANCE
    ):
        raise LeakFound(f"{run.name} fold {fold}: sweep.npy is not what its kept weights predict")
    model.settle(read_settled(run.folder, fold))


def is_head(prepared: Prepared, settings: Run | None) -> bool:
    """Return whether settings are known and of a model that is restored in seconds."""
    if settings is None:
        return False
    model = build_model(prepared.competition, settings)
    return model.keeps_weights and not model.resumes
