"""Cross-validation: every run x every fold -> oof, test and unlabeled Predictions.

Writes ``runs/NAME/RUN/KEY/``: a folder per fold with its predictions, what it was fitted on (provenance.json), its
pseudo labels and its weights; then oof.parquet, test.parquet, unlabeled.parquet and run.json. KEY is the hash of all
that decides the result, so another setting is another folder and nothing is ever overwritten. A killed run goes on at
the last fold, networks at the last epoch.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np

from kit.bagging import Bagged
from kit.competition import Run
from kit.deadline import check_deadline, seconds_left, set_deadline
from kit.device import list_devices
from kit.errors import InputError
from kit.features import GIVEN
from kit.files import read_json, write_atomic, write_json
from kit.images import Images
from kit.metrics import METRICS
from kit.models import Kept, Model, Resumable, Swept, build_model
from kit.predictions import Predictions, concatenate, mean_predictions, read_predictions, write_predictions
from kit.prepare import Prepared
from kit.prompts import is_optimistic, note_looked, prompts_of, warm_text_weights
from kit.rounds import choose_for_fold, picks_nothing, read_diary, remarks_on
from kit.runs import (
    EVERYTHING,
    SPLITS,
    Result,
    describe_run,
    find_run,
    fold_folder,
    is_worse,
    prompt_lists,
    rounds_of,
    run_folder,
    run_key,
    teachers_of,
    write_result,
)
from kit.sweep import choose_per_fold
from kit.terminal import Progress, note, stage, warn
from kit.weights import find_weights, parse_encoder

CHUNK = 4096  # images predicted at a time: memory stays flat in the size of the pool
KEPT_SUFFIXES = (".parquet", ".npy", ".safetensors", ".json")


def crossval(prepared: Prepared, name: str) -> Result:
    """Fit a run on every fold, or re-use what is there; with rounds of pseudo labels, all rounds.

    Parameters
    ----------
    prepared
        The competition made ready.
    name
        The run.

    Returns
    -------
    Result
        The finished run; with rounds, the last round that was kept.

    Raises
    ------
    InputError
        When an option is refused or a teacher has not been trained.
    MissingWeights
        When the run's weights cannot be had.
    TimeIsUp
        When the time limit is reached; the next call goes on.
    """
    kept = None
    for run in rounds_of(prepared.competition.run(name)):
        result = find_run(prepared, run)
        if result is None and kept is not None and picks_nothing(prepared, run):
            note(f"{run.name}: no pseudo label passes in any fold: skipped, rounds end")
            break
        result = result or _crossval_once(prepared, run)
        if kept is not None and is_worse(prepared, result, kept):
            note(f"{run.name} is worse than {kept.name} by more than one paired standard error: dropped, rounds end")
            break
        kept = result
    return kept


def check_run(prepared: Prepared, name: str) -> None:
    """Check a run's options, weights and prompt lists, before any work; the lists are encoded here, once.

    Raises
    ------
    InputError
        When an option or a prompt list is refused, the words are too long, or the encoder cannot read.
    MissingWeights
        When its weights cannot be had.
    """
    model = build_model(prepared.competition, prepared.competition.run(name))
    encoder, args = getattr(model, "encoder", None), getattr(model, "encoder_args", {})
    lists, pool = [prompts_of(prepared.pool, prompts) for prompts in prompt_lists(model)], prepared.pool
    if encoder == GIVEN and lists:
        raise InputError(f'run {name}: encoder = "given" has no text tower; prompts need an open_clip encoder')
    if encoder not in (None, GIVEN) and getattr(model, "pretrained", True):
        find_weights(parse_encoder(encoder, args, pool.lookup))
        if lists:
            warm_text_weights(pool, encoder, args, lists)


def _crossval_once(prepared: Prepared, run: Run) -> Result:
    """Fit all folds of one run and gather their predictions."""
    key = run_key(prepared, run)
    folder = run_folder(prepared, run, key)
    _fit_folds(prepared, run, folder)
    chosen = _settle_folds(prepared, run, folder)
    parts = {
        split: [read_predictions(fold_folder(folder, fold) / f"{split}.parquet") for fold in prepared.scored]
        for split in SPLITS
    }
    oof = concatenate(parts["oof"])
    write_predictions(folder / "oof.parquet", oof)
    if run.refit:
        _refit(prepared, run, folder, chosen)
    for split in ("test", "unlabeled"):
        refitted = fold_folder(folder, EVERYTHING) / f"{split}.parquet"
        said = read_predictions(refitted) if run.refit else mean_predictions(parts[split])
        write_predictions(folder / f"{split}.parquet", said)
    facts = describe_run(prepared, run.name, oof) | {
        "key": key,
        "model": run.model,
        "options": dataclasses.asdict(build_model(prepared.competition, run)),
        "pseudo": run.pseudo.model_dump() if run.pseudo else None,
        "diary": read_diary(prepared, folder),
        "teachers": {teacher.name: teacher.facts["key"] for teacher in teachers_of(prepared, run)},
        "use_test_images": run.use_test_images,
        "refit": run.refit,
        "chosen": chosen,
        "optimistic": _look_at_prompts(prepared, run),
        "seconds": round(sum(_fitted(folder, fold)["seconds"] for fold in prepared.scored), 1),
    }
    stage("train", f"{run.name}: CV {facts['cv']:.4f} +- {facts['se']:.4f}, {facts['seconds']:.0f} s")
    result = write_result(run.name, folder, facts)
    for remark in remarks_on(result):
        warn(remark)
    return result


def _look_at_prompts(prepared: Prepared, run: Run) -> list[str]:
    """Remember that the score of the run's prompt lists is now seen; return those edited after an earlier look."""
    runs = prepared.competition.workspace.runs(prepared.competition.name)
    lists = [prompts_of(prepared.pool, name) for name in prompt_lists(build_model(prepared.competition, run))]
    for prompts in lists:
        note_looked(runs, prompts)
    return [prompts.name for prompts in lists if is_optimistic(runs, prompts)]


def _fit_folds(prepared: Prepared, run: Run, folder: Path) -> None:
    """Fit the folds one after the other; networks on as many devices as there are side by side."""
    waiting = [fold for fold in prepared.scored if _fitted(folder, fold) is None]
    is_network = isinstance(build_model(prepared.competition, run), Resumable)
    with Progress(f"train {run.name}", len(waiting)) as progress:
        spread = is_network and len(waiting) > 1 and len(list_devices()) > 1
        for _ in (_spread_folds if spread else _fit_in_turn)(prepared, run, folder, waiting):
            progress.advance()


def _fit_in_turn(prepared: Prepared, run: Run, folder: Path, folds: list[int]) -> Iterator[int]:
    """Fit folds in this process; give their numbers as they finish."""
    for fold in folds:
        check_deadline()
        fit_fold(prepared, run, fold, folder)
        yield fold


def _fitted(folder: Path, fold: int) -> dict[str, Any] | None:
    """Return a fold's fitted.json, or None where the fold or one of its files is missing."""
    mine = fold_folder(folder, fold)
    facts = read_json(mine / "fitted.json")
    return facts if facts and all((mine / name).exists() for name in facts["files"]) else None


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of one fold of a run, 0..2^32 - 1, unlike that of any other seed and fold."""
    return int(np.random.SeedSequence((seed, fold)).generate_state(1)[0])


def build_fold_model(prepared: Prepared, run: Run, fold: int) -> Model:
    """Build the model of one fold, with its own seed; several copies where the run asks for bags."""
    seed = fold_seed(run.seed, fold)
    if run.bags == 1:
        return build_model(prepared.competition, run, seed)
    return Bagged(lambda own: build_model(prepared.competition, run, own), run.bags, seed)


def _spread_folds(prepared: Prepared, run: Run, folder: Path, folds: list[int]) -> Iterator[int]:
    """Fit folds in one process per device; give their numbers as they finish."""
    devices = list_devices()
    context = multiprocessing.get_context("spawn")
    free = context.SimpleQueue()
    for device in devices:
        free.put(device)
    with ProcessPoolExecutor(len(devices), context, _take_device, (free, seconds_left())) as processes:
        jobs = {processes.submit(fit_fold, prepared, run, fold, folder): fold for fold in folds}
        for job in as_completed(jobs):
            job.result()
            yield jobs[job]


def _take_device(free: SimpleQueue, seconds: float | None) -> None:
    """Give a worker process its own device and the time that is left."""
    os.environ["KIT_DEVICE"] = free.get()
    set_deadline(seconds)


def fit_fold(prepared: Prepared, run: Run, fold: int, folder: Path) -> None:
    """Fit one fold's model on the other folds and write what it says; nothing to do where that was done."""
    if _fitted(folder, fold) is not None:
        return
    mine, started = fold_folder(folder, fold), time.perf_counter()
    labeled, diary = prepared.training(fold), None
    if run.pseudo is not None:
        labeled, diary = _add_pseudo_labels(prepared, run, fold, labeled)
    unlabeled = prepared.unlabeled(fold, run.use_test_images)
    model, kind = build_fold_model(prepared, run, fold), build_model(prepared.competition, run)
    if isinstance(kind, Resumable):
        model.checkpoint_at(mine / "checkpoint.pt")
    model.fit(labeled, unlabeled)
    teachers = [{"name": own.name, "key": own.facts["key"], "fold": fold} for own in teachers_of(prepared, run)]
    write_json(mine / "provenance.json", provenance(labeled) | {"fold": fold, "teachers": teachers, "diary": diary})
    if isinstance(kind, Kept):
        _write_tensors(mine / "model.safetensors", model.tensors())
    if isinstance(kind, Swept):
        sweep = model.predict_sweep(prepared.held_out(fold)).astype(np.float32)
        with write_atomic(mine / "sweep.npy") as file:
            np.save(file, sweep)  # (n_values, n_images, n_classes)
    else:
        _write_fold_predictions(prepared, model, fold, mine)
    if (key := run_key(prepared, run)) != folder.name:
        raise InputError(
            f"run {run.name}: its prompt list, weights or model file changed while fold {fold} was trained, which is "
            f"thrown away ({folder.name} is now {key}); call again"
        )
    files = sorted(path.name for path in mine.iterdir() if path.suffix in KEPT_SUFFIXES)
    write_json(mine / "fitted.json", {"files": files, "seconds": round(time.perf_counter() - started, 2)})
    for checkpoint in mine.glob("checkpoint*.pt"):
        checkpoint.unlink()


def _refit(prepared: Prepared, run: Run, folder: Path, chosen: dict[str, Any]) -> None:
    """Fit one model on every label and write what it says of the test images and of the pool."""
    if _fitted(folder, EVERYTHING) is not None:
        return
    mine, started = fold_folder(folder, EVERYTHING), time.perf_counter()
    labeled = prepared.training(EVERYTHING)
    if run.pseudo is not None:
        labeled, _ = _add_pseudo_labels(prepared, run, EVERYTHING, labeled)
    model, kind = build_fold_model(prepared, run, EVERYTHING), build_model(prepared.competition, run)
    if isinstance(kind, Resumable):
        model.checkpoint_at(mine / "checkpoint.pt")
    model.fit(labeled, prepared.unlabeled(EVERYTHING, run.use_test_images))
    if isinstance(kind, Swept):
        values = list(chosen["per_fold"].values())
        model.settle(max(values, key=values.count))
    for split in ("test", "unlabeled"):
        said = predict(model, prepared.pool.select(prepared.split(split)))
        write_predictions(mine / f"{split}.parquet", said)
    write_json(mine / "provenance.json", provenance(labeled))
    files = ["provenance.json", "test.parquet", "unlabeled.parquet"]
    write_json(mine / "fitted.json", {"files": files, "seconds": round(time.perf_counter() - started, 2)})
    for checkpoint in mine.glob("checkpoint*.pt"):
        checkpoint.unlink()


def _add_pseudo_labels(prepared: Prepared, run: Run, fold: int, labeled: Images) -> tuple[Images, dict[str, Any]]:
    """Join the labels that the teachers' models of this same fold give; return the diary too."""
    teachers = teachers_of(prepared, run)
    chosen = choose_for_fold(prepared, run.name, run.pseudo, run.use_test_images, teachers, fold)
    pool = prepared.unlabeled(fold, run.use_test_images)
    position = {name: row for row, name in zip(pool.rows, pool.names, strict=True)}
    rows = np.array([position[name] for name in chosen.ids], dtype=np.int64)
    taught = dataclasses.replace(
        prepared.pool.select(rows, chosen.codes),
        weights=chosen.weights,
        is_pseudo=np.ones(len(rows), dtype=bool),
    )
    return labeled.join(taught), chosen.diary


def provenance(labeled: Images) -> dict[str, Any]:
    """Return what a model was fitted on, by ``split/id``: the leak ledger."""
    real, pseudo = labeled.take(np.flatnonzero(~labeled.is_pseudo)), labeled.take(np.flatnonzero(labeled.is_pseudo))
    return {"labeled": list(real.names), "pseudo": {"ids": list(pseudo.names), "codes": pseudo.labels.tolist()}}


def _write_fold_predictions(prepared: Prepared, model: Model, fold: int, mine: Path) -> None:
    """Write what a fold's model says of the fold, the test images and the unlabelled ones."""
    selections = {
        "oof": prepared.held_out(fold),
        "test": prepared.pool.select(prepared.split("test")),
        "unlabeled": prepared.pool.select(prepared.split("unlabeled")),
    }
    for split, images in selections.items():
        write_predictions(mine / f"{split}.parquet", predict(model, images))


def predict(model: Model, images: Images) -> Predictions:
    """Return a fitted model's predictions, computed in chunks."""
    starts = range(0, len(images), CHUNK)
    parts = [model.predict_proba(images.take(np.arange(start, min(start + CHUNK, len(images))))) for start in starts]
    proba = np.concatenate(parts) if parts else np.zeros((0, images.n_classes))
    return Predictions(images.ids, images.classes, proba)


def _settle_folds(prepared: Prepared, run: Run, folder: Path) -> dict[str, Any]:
    """Choose a swept setting for each fold on the other folds' oof rows; write the folds' predictions with it."""
    model = build_model(prepared.competition, run)
    if not isinstance(model, Swept):
        return {}
    values = model.sweep_values()
    sweeps = {fold: np.load(fold_folder(folder, fold) / "sweep.npy") for fold in prepared.scored}
    chosen = choose_per_fold(prepared, values, sweeps, model.sweep_default)
    for fold, value in chosen.items():
        mine = fold_folder(folder, fold)
        if read_json(mine / "settled.json") == value and all((mine / f"{own}.parquet").exists() for own in SPLITS):
            continue
        settled = build_fold_model(prepared, run, fold)
        settled.restore(_read_tensors(mine / "model.safetensors"), prepared.classes)
        settled.settle(value)
        _write_fold_predictions(prepared, settled, fold, mine)
        write_json(mine / "settled.json", value)
    score = METRICS[prepared.competition.facts.metric].score
    labels = {fold: prepared.fold_labels(fold) for fold in sweeps}
    together, every = np.concatenate(list(sweeps.values()), axis=1), np.concatenate(list(labels.values()))
    return {
        "name": model.sweep_name,
        "per_fold": chosen,
        "values": values,
        "default": model.sweep_default,
        "curve": [score(every, proba) for proba in together],
        "curve_per_fold": {fold: [score(labels[fold], proba) for proba in sweep] for fold, sweep in sweeps.items()},
    }


def _write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write learned weights as safetensors, atomically."""
    from safetensors.numpy import save

    with write_atomic(path) as file:
        file.write(save({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}))


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)
