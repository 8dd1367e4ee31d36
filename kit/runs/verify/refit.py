"""Fit folds once more, where nothing of them can be known: the oof must come out the same.

Each fold is fitted in a process of its own, which remembers no other fold. In it the labels of the fold are exchanged
for wrong ones and the labelled images lie under numbers, so that a model which finds its way to a label or to a class
folder finds a wrong one or none. Writes nothing but a temporary folder.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.config.competition import Run
from kit.core.errors import LeakFound
from kit.core.shapes import Labels, Proba
from kit.core.terminal import Progress
from kit.data.prepared import Prepared
from kit.models import MODELS
from kit.models.model import Model
from kit.runs.fit.fold import fit_model, predict
from kit.runs.fit.restore import read_settled
from kit.runs.store.build import build_model
from kit.runs.store.result import Result
from kit.runs.verify.sources import REFIT_TOLERANCE, ReadRun, is_fitted, with_sources
from kit.scoring.predictions import Predictions

NETWORK_TOLERANCE = 0.02  # of a probability in the mean: devices and threads round a training otherwise


@dataclass(frozen=True)
class Blinded(Prepared):
    """A competition that tells wrong labels of one fold, and is known by the key of the true ones."""

    true_key: str = ""

    @property
    def fold_key(self) -> str:
        return self.true_key


def refit_folds(prepared: Prepared, results: Sequence[Result], n_folds: int) -> list[str]:
    """Fit the first folds of every run again, and of all that they were made from; one sentence for every run.

    Raises
    ------
    LeakFound
        Where a fold's model predicts otherwise when it cannot know the fold's labels.
    """
    runs = [run for run in with_sources(prepared, results).values() if is_fitted(run)]
    planned = [(run, settings) for run in runs if (settings := run.settings) is not None]
    folds, sentences = prepared.scored[:n_folds], []
    with Progress("refit", len(planned) * len(folds)) as progress:
        for run, settings in planned:
            for fold in folds:
                _compare(prepared, run, settings, fold)
                progress.advance()
            fitted = "1 fold" if len(folds) == 1 else f"{len(folds)} folds"
            sentences.append(f"{run.name}: {fitted} fitted again with the fold's labels hidden; the oof is the same")
    return sentences


def _compare(prepared: Prepared, run: ReadRun, settings: Run, fold: int) -> None:
    """Refuse a fold whose model, fitted where the fold's labels cannot be known, predicts otherwise."""
    again = _fit_apart(prepared, run, settings, fold)
    kept = run.fold_predictions(fold, "oof").at(again.ids).proba
    is_network = build_model(prepared.competition, settings).resumes
    if _is_same(kept, again.proba, is_network):
        return
    if not _is_same(again.proba, _fit_apart(prepared, run, settings, fold).proba, is_network):
        raise LeakFound(
            f"{run.name} fold {fold}: fitted twice, it predicts twice otherwise: its oof cannot be repeated"
        )
    worst = int(np.abs(kept - again.proba).max(axis=1).argmax())
    raise LeakFound(
        f"{run.name} fold {fold}: fitted again in a process of its own, with the fold's labels hidden, it predicts "
        f"otherwise (image {again.ids[worst]}: {kept[worst].max():.2f} became {again.proba[worst].max():.2f}): the "
        "model remembered other folds or found its way to labels it was not given"
    )


def _is_same(ours: Proba, theirs: Proba, is_network: bool) -> bool:
    difference = np.abs(ours - theirs)
    return bool(difference.mean() <= NETWORK_TOLERANCE if is_network else (difference <= REFIT_TOLERANCE).all())


def _fit_apart(prepared: Prepared, run: Result, settings: Run, fold: int) -> Predictions:
    """Return what a fold's model predicts of the fold, fitted in a new process."""
    with (
        tempfile.TemporaryDirectory(prefix="kit-refit-") as home,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
    ):
        blinded, model_type = _blind(prepared, fold, Path(home)), MODELS[settings.model]
        return process.submit(_fit, blinded, model_type, run.folder, settings, fold, Path(home)).result()


def _fit(blinded: Blinded, model_type: type[Model], folder: Path, settings: Run, fold: int, home: Path) -> Predictions:
    """Fit one fold's model and return its predictions of the fold; its class may be one that the caller added."""
    MODELS.setdefault(settings.model, model_type)
    model, *_ = fit_model(blinded, settings, fold, home / "fit")
    if model.is_swept:
        model.settle(read_settled(folder, fold))
    return predict(model, blinded.held_out(fold))


def _blind(prepared: Prepared, fold: int, home: Path) -> Blinded:
    """Return a competition with wrong labels of a fold, whose labelled images lie under numbers."""
    labels, is_held_out = prepared.labels.copy(), prepared.folds == fold
    labels[is_held_out] = _exchange(labels[is_held_out], len(prepared.classes))
    paths = prepared.pool.paths.copy()
    for number, row in enumerate(prepared.labeled):
        file = Path(str(paths[row]))
        link = home / f"{number:06d}{file.suffix}"
        link.symlink_to(file.resolve())
        paths[row] = str(link)
    fields = {field.name: getattr(prepared, field.name) for field in dataclasses.fields(prepared)}
    fields |= {"labels": labels, "pool": dataclasses.replace(prepared.pool, paths=paths)}
    return Blinded(**fields, true_key=prepared.fold_key)


def _exchange(labels: Labels, n_classes: int) -> Labels:
    """Return labels of which every one is wrong; of several per image those of the classes' complement."""
    return 1 - labels if labels.ndim == 2 else (labels + 1) % n_classes
