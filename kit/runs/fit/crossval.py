"""Cross-validation: every run x every fold -> oof, test and unlabeled Predictions.

Writes ``runs/NAME/RUN/KEY/``: a folder per fold (fold.py), of heads one per pair of folds (pairs.py), then oof.parquet,
test.parquet, unlabeled.parquet and run.json. KEY is the hash of all that decides the result, so another setting is
another folder and nothing is ever overwritten. A killed run goes on at the last fold, networks at the last epoch.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.activity import tell
from kit.core.deadline import check_deadline, seconds_left, set_deadline
from kit.core.errors import InputError, TeacherMissing
from kit.core.terminal import Progress, stage, warn
from kit.data.prepared import Prepared
from kit.features.cache import GIVEN
from kit.features.device import list_devices
from kit.features.prompts import prompts_of, warm_text_weights
from kit.features.weights import find_weights, spec_of
from kit.runs.fit.fold import fit_fold, fit_model, read_fitted, read_sweep, refit, seconds_of, settle_fold
from kit.runs.fit.pairs import fit_pairs, seconds_of_pairs
from kit.runs.fit.restore import read_settled, restore_fold
from kit.runs.fit.rounds import settle_rounds
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.pseudo.rounds import average_choice, remarks_on_choice
from kit.runs.seen import are_prompts_spoiled, note_prompts, readable_prompts
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import describe_exclusion
from kit.runs.store.find import PREDICTED_SPLITS, find_run, find_settled, run_key, teachers_of
from kit.runs.store.pairs import BY_FOLDS, BY_PAIRS, Pairs, wants_pairs
from kit.runs.store.result import EVERYTHING, Result, fold_folder, run_folder, write_result
from kit.runs.store.score import describe_run, remark_on_zeros
from kit.runs.store.seals import read_seals
from kit.runs.store.sent import sent_of_run
from kit.runs.store.thresholds import check_decision
from kit.scoring.predictions import concatenate, mean_predictions, read_predictions, write_predictions


def crossval(prepared: Prepared, name: str) -> Result:
    """Fit a run on every fold, or re-use what is there; a run with rounds is put together of those that are kept.

    Raises
    ------
    InputError
        When an option is refused or a teacher has not been trained.
    MissingWeights
        When the run's weights cannot be had.
    TimeIsUp
        When the time limit is reached; the next call goes on.
    """
    run = prepared.competition.run(name)
    if run.pseudo is not None:
        return settle_rounds(prepared, run, crossval_run)
    return find_run(prepared, run) or crossval_run(prepared, run)


def is_finished(prepared: Prepared, name: str) -> bool:
    """Return whether `crossval` would find all of a run made; with rounds, up to the one that ends them."""
    try:
        run = prepared.competition.run(name)
        if run.pseudo is None:
            return find_run(prepared, run) is not None
        found = find_settled(prepared, run)
        return found is not None and found.record.rounds["end"] is not None
    except TeacherMissing:
        return False


def check_run(prepared: Prepared, name: str) -> None:
    """Check a run's options, weights and prompt lists, before any work; the lists are encoded here, once.

    Raises
    ------
    InputError
        When an option or a prompt list is refused, the words are too long, or the encoder cannot read.
    MissingWeights
        When its weights cannot be had.
    """
    check_decision(prepared)
    model = build_model(prepared.competition, prepared.competition.run(name))
    encoder, args = model.encoder_used
    lists, pool = [prompts_of(prepared.pool, prompts) for prompts in model.prompt_lists], prepared.pool
    if encoder == GIVEN and lists:
        raise InputError(f'run {name}: encoder = "given" has no text tower; prompts need an open_clip encoder')
    for each, its_args in model.encoders_used:
        if each != GIVEN and model.needs_weights:
            find_weights(spec_of(pool, each, its_args))
    if encoder and model.needs_weights and lists:
        warm_text_weights(pool, encoder, args, lists)


def crossval_run(prepared: Prepared, run: Run) -> Result:
    """Fit all folds of one run, or of one of its rounds, and gather their predictions."""
    key = run_key(prepared, run)
    folder = run_folder(prepared, run, key)
    _fit_folds(prepared, run, folder)
    has_pairs = wants_pairs(prepared, run, build_model(prepared.competition, run))
    chosen = _settle_folds(prepared, run, folder, fit_pairs(prepared, run, folder) if has_pairs else None)
    parts = {
        split: [read_predictions(fold_folder(folder, fold) / f"{split}.parquet") for fold in prepared.scored]
        for split in PREDICTED_SPLITS
    }
    oof = concatenate(parts["oof"])
    write_predictions(folder / "oof.parquet", oof)
    if run.refit:
        refit(prepared, run, folder, chosen)
    whole = {}
    for split in ("test", "unlabeled"):
        refitted = fold_folder(folder, EVERYTHING) / f"{split}.parquet"
        whole[split] = read_predictions(refitted) if run.refit else mean_predictions(parts[split])
        write_predictions(folder / f"{split}.parquet", whole[split])
    document = describe_run(prepared, run.name, oof) | {
        "key": key,
        "model": run.model,
        "options": build_model(prepared.competition, run).options(),
        "settings": run.table,
        "pseudo": run.pseudo.model_dump() if run.pseudo else None,
        "diary": average_choice(prepared, folder),
        "teachers": {teacher.name: teacher.record.key for teacher in teachers_of(prepared, run)},
        "use_test_images": run.use_test_images,
        "refit": run.refit,
        "exclude": describe_exclusion(prepared, run),
        "chosen": chosen,
        "pairs": has_pairs,
        "nested": None if len(chosen.get("values", ())) < 2 else BY_PAIRS if has_pairs else BY_FOLDS,
        "sent": sent_of_run(prepared, folder, chosen, has_pairs, run.refit, oof, whole["test"]),
        "optimistic": _look_at_prompts(prepared, run),
        "features": read_seals(prepared, run),
        "seconds": round(_count_seconds(prepared, folder), 1),
    }
    score = f"{prepared.competition.data.score_name} {document['cv']:.4f} +- {document['se']:.4f}"
    stage("train", f"{run.name}: {score}, {document['seconds']:.0f} s")
    result = write_result(run.name, folder, document)
    for remark in remarks_on_choice(result):
        warn(remark)
    if zeros := remark_on_zeros(prepared, oof):
        warn(f"{run.name}: {zeros}")
    return result


def _look_at_prompts(prepared: Prepared, run: Run) -> list[str]:
    """Remember that the score of the run's prompt lists is now seen; return those written after an earlier look."""
    runs = prepared.competition.workspace.runs(prepared.competition.name)
    lists = [prompts_of(prepared.pool, name) for name in build_model(prepared.competition, run).prompt_lists]
    beside = readable_prompts(prepared.pool) if lists else []
    for prompts in lists:
        note_prompts(runs, prompts, beside)
    return [prompts.name for prompts in lists if are_prompts_spoiled(runs, prompts)]


def _fit_folds(prepared: Prepared, run: Run, folder: Path) -> None:
    """Fit the folds one after the other; networks on as many devices as there are side by side."""
    waiting = [fold for fold in prepared.scored if read_fitted(folder, fold) is None]
    is_network = build_model(prepared.competition, run).resumes
    tell(run=run.name)
    with Progress(f"train {run.name}", len(waiting)) as progress:
        spread = is_network and len(waiting) > 1 and len(list_devices()) > 1
        for _ in (_spread_folds if spread else _fit_in_turn)(prepared, run, folder, waiting):
            progress.advance()
    tell(run=None, fold=None)


def _fit_in_turn(prepared: Prepared, run: Run, folder: Path, folds: list[int]) -> Iterator[int]:
    """Fit folds in this process; give their numbers as they finish."""
    for fold in folds:
        check_deadline()
        tell(fold=fold)
        fit_fold(prepared, run, fold, folder)
        yield fold


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


def _count_seconds(prepared: Prepared, folder: Path) -> float:
    """Return how long a run's folds, and the pairs of them, were fitted."""
    return sum(seconds_of(folder, fold) for fold in prepared.scored) + seconds_of_pairs(prepared, folder)


def _settle_folds(prepared: Prepared, run: Run, folder: Path, pairs: Pairs | None) -> dict[str, Any]:
    """Choose a swept setting for each fold on the other folds' rows; write the folds' predictions with it."""
    model = build_model(prepared.competition, run)
    if not model.is_swept:
        return {}
    values = model.sweep_values()
    sweeps = {fold: read_sweep(folder, fold) for fold in prepared.scored}
    chosen = choose_per_fold(prepared, values, sweeps, model.sweep_default, pairs and pairs.sweep)
    for fold, value in chosen.items():
        home = fold_folder(folder, fold)
        if read_settled(folder, fold) == value and all(
            (home / f"{split}.parquet").exists() for split in PREDICTED_SPLITS
        ):
            continue
        fitted = restore_fold(prepared, run, folder, fold) or fit_model(prepared, run, fold, home)[0]
        settle_fold(prepared, fitted, fold, home, value)
    score = prepared.metric.score
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
