"""Fit one model on the training images of one fold, and predict everything else with it.

Writes ``runs/NAME/RUN/KEY/fold_K/``: what the model was fitted on and how its pseudo labels were chosen
(provenance.json), how its training went where it tells (training.json), its weights, and its predictions or, where a
setting is chosen later, its sweep. fitted.json comes last: with it the fold is done. It holds the SHA-256 of weights,
sweep and predictions as they were written, so that `verify` can name what was edited since.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.config.runs import PseudoPlan
from kit.core.errors import DamagedFile, InputError
from kit.core.files import hash_file, read_object, remedy_for, write_atomic, write_json
from kit.core.process import count_threads
from kit.core.rounding import list_kernels
from kit.core.shapes import Proba
from kit.core.tensors import write_tensors
from kit.data.images import Images, ids_of, names_of
from kit.data.prepared import Prepared
from kit.models.copies import Averaged, Bagged
from kit.models.model import Model
from kit.runs.pseudo.record import Record
from kit.runs.pseudo.rounds import choose_for_fold
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import leave_out
from kit.runs.store.find import run_key, teachers_of
from kit.runs.store.result import EVERYTHING, fold_folder
from kit.scoring.predictions import Predictions, write_predictions

CHUNK = 4096  # images predicted at a time: memory stays flat in the size of the pool
TRAINING = "training.json"
CHECKPOINT = "checkpoint.pt"
FITTED = "fitted.json"
WEIGHTS_FILE = "model.safetensors"
SETTLED_FILE = "settled.json"
HASHED_SUFFIXES = (".parquet", ".npy", ".safetensors")
KEPT_SUFFIXES = (*HASHED_SUFFIXES, ".json")


def fit_fold(prepared: Prepared, run: Run, fold: int, folder: Path) -> None:
    """Fit one fold's model on the other folds and write its predictions; nothing to do where that was done."""
    if read_fitted(folder, fold) is not None:
        return
    home, started = fold_folder(folder, fold), time.perf_counter()
    model, labeled, choice = fit_model(prepared, run, fold, home)
    teachers = [{"name": each.name, "key": each.record.key, "fold": fold} for each in teachers_of(prepared, run)]
    sources = {"fold": fold, "teachers": teachers, "diary": choice}
    write_json(home / "provenance.json", provenance(labeled) | sources, indent=None)
    _write_training(home, model)
    if model.keeps_weights:
        write_tensors(home / WEIGHTS_FILE, model.tensors())
    if model.is_swept:
        sweep = model.predict_sweep(prepared.held_out(fold)).astype(np.float32)
        with write_atomic(home / "sweep.npy") as file:
            np.save(file, sweep)  # (n_values, n_images, n_classes)
        if len(values := model.sweep_values()) == 1:  # nothing to choose: the graph that is at hand is used once more
            settle_fold(prepared, model, fold, home, values[0])
    else:
        write_fold_predictions(prepared, model, fold, home)
    files = sorted(path.name for path in home.iterdir() if path.suffix in KEPT_SUFFIXES)
    finish(prepared, run, home, folder.name, files, started)


def refit(prepared: Prepared, run: Run, folder: Path, values: list[Any]) -> None:
    """Fit one model on every label and write its predictions of the test images and of the pool.

    `values` are those that were chosen of a swept setting for the folds; the most frequent one is taken.
    """
    if read_fitted(folder, EVERYTHING) is not None:
        return
    home, started = fold_folder(folder, EVERYTHING), time.perf_counter()
    model, labeled, _ = fit_model(prepared, run, EVERYTHING, home)
    if model.is_swept:
        model.settle(max(values, key=values.count))
    for split in ("test", "unlabeled"):
        write_predictions(home / f"{split}.parquet", predict(model, prepared.pool.select(prepared.split(split))))
    write_json(home / "provenance.json", provenance(labeled))
    files = ["provenance.json", *_write_training(home, model), "test.parquet", "unlabeled.parquet"]
    finish(prepared, run, home, folder.name, files, started)


def fit_model(prepared: Prepared, run: Run, fold: int, home: Path) -> tuple[Model, Images, Record | None]:
    """Return a fitted model, the labelled images that it learned from and the record of its pseudo labels.

    Checkpoints are written below `home`, the fold's folder.
    """
    labeled, choice = _training_of(prepared, run, fold)
    model = build_fold_model(prepared, run, fold, is_renewed=True)
    if model.resumes:
        model.checkpoint_at(home / CHECKPOINT)
    model.fit(labeled, prepared.unlabeled(fold, run.use_test_images))
    return model, labeled, choice


def fit_copy(prepared: Prepared, run: Run, fold: int, home: Path, number: int) -> None:
    """Fit one of a fold's several copies, of a model that leaves checkpoints; the fold then reads its checkpoint."""
    labeled, _ = _training_of(prepared, run, fold)
    model = build_fold_model(prepared, run, fold, is_renewed=True)
    assert isinstance(model, Averaged)
    model.checkpoint_at(home / CHECKPOINT)
    copy = model.copies[number]
    copy.fit(model.training_of(copy, labeled), prepared.unlabeled(fold, run.use_test_images))


def _training_of(prepared: Prepared, run: Run, fold: int) -> tuple[Images, Record | None]:
    """Return the labelled images that a fold's model learns from, and the record of its pseudo labels."""
    labeled = leave_out(prepared, run, prepared.training(fold))
    return (labeled, None) if run.pseudo is None else _add_pseudo_labels(prepared, run, run.pseudo, fold, labeled)


def _write_training(home: Path, model: Model) -> list[str]:
    """Write training.json, what each copy of a model tells of its fit, and name it; nothing where none tells."""
    records = [copy.record_ for copy in model.copies if copy.record_ is not None]
    if not records:
        return []
    write_json(home / TRAINING, {"copies": records})
    return [TRAINING]


def finish(prepared: Prepared, run: Run, home: Path, key: str, files: list[str], started: float) -> None:
    """Write fitted.json in `home`, if the run is still of this key, and drop the checkpoints."""
    if (today := run_key(prepared, run)) != key:
        raise InputError(
            f"run {run.name}: its prompt list, weights or model file changed while {home.name} was trained, which is "
            f"thrown away ({key} is now {today}); call again"
        )
    seconds = round(time.perf_counter() - started, 2)
    write_json(home / FITTED, {"files": files, "sha256": _hash_files(home, files), "seconds": seconds})
    for checkpoint in home.glob("checkpoint*.pt"):
        checkpoint.unlink()


def read_fitted(folder: Path, fold: int) -> dict[str, Any] | None:
    """Return a fold's fitted.json, or None where the fold or one of its files is missing."""
    return read_fitted_in(fold_folder(folder, fold))


def read_fitted_in(home: Path) -> dict[str, Any] | None:
    """Return the fitted.json of a folder, of a fold or of a pair of folds, or None as `read_fitted` does."""
    fitted = read_object(home / FITTED, "files", "seconds")
    return fitted if fitted and all((home / name).exists() for name in fitted["files"]) else None


def seconds_of(folder: Path, fold: int) -> float:
    """Return how long a finished fold was fitted."""
    return (read_fitted(folder, fold) or {"seconds": 0.0})["seconds"]


def find_changed(folder: Path, fold: int) -> list[str]:
    """Return the files of a fold that are not as they were written; an earlier kit did not note how they were."""
    return find_changed_in(fold_folder(folder, fold))


def find_changed_in(home: Path) -> list[str]:
    """Return the files of a folder, of a fold or of a pair of folds, that are not as they were written."""
    noted = (read_object(home / FITTED) or {}).get("sha256", {})
    return [name for name, sha256 in noted.items() if not (home / name).exists() or hash_file(home / name) != sha256]


def _hash_files(home: Path, files: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the files that hold what a model learned or predicts."""
    return {name: hash_file(home / name) for name in files if name.endswith(HASHED_SUFFIXES)}


def read_sweep(folder: Path, fold: int) -> Proba:
    """Return a fold's probabilities at every value of its swept setting, (n_values, n_images, n_classes).

    A file that is not there or is damaged raises DamagedFile.
    """
    file = fold_folder(folder, fold) / "sweep.npy"
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DamagedFile(f"{file}: cannot be read as a sweep ({error}); {remedy_for(file)}") from error


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of one fold of a run, 0..2^32 - 1, unlike that of any other seed and fold."""
    return int(np.random.SeedSequence((seed, fold)).generate_state(1)[0])


def build_fold_model(prepared: Prepared, run: Run, fold: int, is_renewed: bool = False) -> Model:
    """Build the model of one fold, with its own seed; several copies where the run asks for bags or seeds.

    One that is to be fitted `is_renewed`: it remembers nothing of the folds before it.
    """
    seeds = [fold_seed(run.seed + i, fold) for i in range(run.seeds)]

    def build(seed: int) -> Model:
        return build_model(prepared.competition, run, seed, is_renewed)

    if run.n_copies == 1:
        return build(seeds[0])

    return Bagged(build, run.bags, seeds[0]) if run.bags > 1 else Averaged(build, seeds)


def _add_pseudo_labels(
    prepared: Prepared, run: Run, plan: PseudoPlan, fold: int, labeled: Images
) -> tuple[Images, Record]:
    """Join the labels that the teachers' models of this same fold give; return the record of the choice too."""
    teachers = teachers_of(prepared, run)
    chosen = choose_for_fold(prepared, run.name, plan, run.use_test_images, teachers, fold)
    pool = prepared.unlabeled(fold, run.use_test_images)
    position = {name: row for row, name in zip(pool.rows, names_of(pool), strict=True)}
    rows = np.array([position[name] for name in chosen.ids], dtype=np.int64)
    taught = dataclasses.replace(
        prepared.pool.select(rows, chosen.codes),
        weights=chosen.weights,
        is_pseudo=np.ones(len(rows), dtype=bool),
    )
    return labeled.join(taught), chosen.record


def provenance(labeled: Images) -> dict[str, Any]:
    """Return what a model was fitted on, by ``split/id``: the leak ledger; and what decided the last digits."""
    real, pseudo = labeled.take(np.flatnonzero(~labeled.is_pseudo)), labeled.take(np.flatnonzero(labeled.is_pseudo))
    taught = {"ids": list(names_of(pseudo)), "codes": pseudo.labels.tolist()}
    return {"labeled": list(names_of(real)), "pseudo": taught, "threads": count_threads(), "kernels": list_kernels()}


def settle_fold(prepared: Prepared, model: Model, fold: int, home: Path, value: Any) -> None:
    """Write the predictions of a fold's model at a swept setting and note their SHA-256, then settled.json."""
    model.settle(value)
    written = write_fold_predictions(prepared, model, fold, home)
    if fitted := read_object(home / FITTED, "sha256"):
        write_json(home / FITTED, fitted | {"sha256": fitted["sha256"] | _hash_files(home, written)})
    write_json(home / SETTLED_FILE, value)


def write_fold_predictions(prepared: Prepared, model: Model, fold: int, home: Path) -> list[str]:
    """Write a fold's predictions of its own, the test and the unlabelled images; return the files' names."""
    selections = {
        "oof": prepared.held_out(fold),
        "test": prepared.pool.select(prepared.split("test")),
        "unlabeled": prepared.pool.select(prepared.split("unlabeled")),
    }
    for split, images in selections.items():
        write_predictions(home / f"{split}.parquet", predict(model, images))
    return [f"{split}.parquet" for split in selections]


def predict(model: Model, images: Images) -> Predictions:
    """Return a fitted model's predictions, computed in chunks."""
    starts = range(0, len(images), CHUNK)
    parts = [model.predict_proba(images.take(np.arange(start, min(start + CHUNK, len(images))))) for start in starts]
    proba = np.concatenate(parts) if parts else np.zeros((0, images.n_classes))
    if images.pool.hierarchy is not None:
        proba = images.pool.hierarchy.make_consistent(proba)
    return Predictions(ids_of(images), images.classes, proba, images.pool.task)
