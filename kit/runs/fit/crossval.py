"""Cross-validation: every run x every fold -> oof, test and unlabeled Predictions.

Writes ``runs/NAME/RUN/KEY/``: a folder per fold (fold.py), of heads one per pair of folds (pairs.py), then oof.parquet,
test.parquet, unlabeled.parquet and run.json. KEY is the hash of all that decides the result, so another setting is
another folder and nothing is ever overwritten. A killed run goes on at the last fold, networks at the last epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.activity import tell
from kit.core.engine import Task, begin_tasks, is_remote, run_tasks
from kit.core.errors import InputError, TeacherMissing
from kit.core.terminal import Progress, stage, warn
from kit.data.prepared import Prepared
from kit.data.store import read_store
from kit.features.cache import GIVEN, encode_images
from kit.features.device import list_devices
from kit.features.prompts import prompts_of, warm_text_weights
from kit.features.weights import find_weights, spec_of
from kit.runs.fit.decoding import decode_tasks, find_geometry
from kit.runs.fit.fold import read_fitted, read_sweep, seconds_of
from kit.runs.fit.pairs import list_waiting, seconds_of_pairs
from kit.runs.fit.restore import read_settled
from kit.runs.fit.rounds import settle_rounds
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.fit.tasks import copy_tasks, encode_tasks, fold_tasks, pair_tasks, refit_task, settle_tasks
from kit.runs.pseudo.rounds import average_choice, remarks_on_choice
from kit.runs.seen import are_prompts_spoiled, note_prompts, readable_prompts
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import describe_exclusion
from kit.runs.store.find import PREDICTED_SPLITS, find_run, find_settled, run_key, teachers_of
from kit.runs.store.pairs import BY_FOLDS, BY_PAIRS, Pairs, apart_in, wants_pairs
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
    _fit_folds(prepared, run, key)
    has_pairs = wants_pairs(prepared, run, build_model(prepared.competition, run))
    if has_pairs:
        _have_done(
            prepared, f"pairs of folds, {run.name}", pair_tasks(prepared, run, key, list_waiting(prepared, folder))
        )
    chosen = _settle_folds(prepared, run, folder, Pairs(prepared, folder) if has_pairs else None)
    parts = {
        split: [read_predictions(fold_folder(folder, fold) / f"{split}.parquet") for fold in prepared.scored]
        for split in PREDICTED_SPLITS
    }
    oof = concatenate(parts["oof"])
    write_predictions(folder / "oof.parquet", oof)
    if run.refit and read_fitted(folder, EVERYTHING) is None:
        _have_done(prepared, f"refit {run.name}", [refit_task(prepared, run, key, chosen)])
    whole = {}
    for split in ("test", "unlabeled"):
        refitted = fold_folder(folder, EVERYTHING) / f"{split}.parquet"
        whole[split] = read_predictions(refitted) if run.refit else mean_predictions(parts[split])
        write_predictions(folder / f"{split}.parquet", whole[split])
    apart = apart_in(prepared, folder, chosen) if has_pairs else None
    document = describe_run(prepared, run.name, oof, apart) | {
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


def begin_runs(prepared: Prepared, names: Sequence[str]) -> None:
    """Have the folds of runs begun that no run teaches, before they are asked for one after the other.

    Of a cluster's nodes none waits then while this process settles a run. The local engine begins nothing.
    """
    runs = [prepared.competition.run(name) for name in names if not is_finished(prepared, name)]
    make_apart(prepared, runs)
    for run in runs:
        if run.pseudo is not None:
            continue
        key = run_key(prepared, run)
        folder = run_folder(prepared, run, key)
        waiting = [fold for fold in prepared.scored if read_fitted(folder, fold) is None]
        if copies := copy_tasks(prepared, run, key, waiting):
            begin_tasks(copies, prepared)
            continue
        begin_tasks(fold_tasks(prepared, run, key, waiting), prepared)
        if wants_pairs(prepared, run, build_model(prepared.competition, run)):
            begin_tasks(pair_tasks(prepared, run, key, list_waiting(prepared, folder)), prepared)


def make_apart(prepared: Prepared, runs: Sequence[Run]) -> None:
    """Have a large pool encoded and decoded in ranges by the nodes of a cluster, before runs ask for what comes out."""
    models = [build_model(prepared.competition, run) for run in runs]
    used = [each for model in models if not model.resumes for each in model.encoders_used if each[0] != GIVEN]
    for encoder, args in {repr(each): each for each in used}.values():
        if ranges := encode_tasks(prepared, encoder, args):
            _have_done(prepared, "features", ranges)
            encode_images(prepared.pool.select(np.arange(1)), encoder, args)
    for geometry in dict.fromkeys(find_geometry(model, prepared.pool) for model in models):
        if geometry is not None and (ranges := decode_tasks(prepared, geometry)):
            _have_done(prepared, "store", ranges)
            read_store(prepared.pool, geometry)


def _fit_folds(prepared: Prepared, run: Run, key: str) -> None:
    """Fit the folds, before them their copies where those can be fitted apart."""
    folder = run_folder(prepared, run, key)
    waiting = [fold for fold in prepared.scored if read_fitted(folder, fold) is None]
    tell(run=run.name)
    if is_remote() and waiting:  # with a time limit nothing was begun ahead
        make_apart(prepared, [run])
    if is_remote() or len(list_devices()) > 1:
        _have_done(prepared, f"copies of {run.name}", copy_tasks(prepared, run, key, waiting))
    _have_done(prepared, f"train {run.name}", fold_tasks(prepared, run, key, waiting))
    tell(run=None, fold=None)


def _have_done(prepared: Prepared, label: str, tasks: Sequence[Task]) -> None:
    """Have tasks done under a bar: here one after the other, those of networks side by side on several devices."""
    if not tasks:
        return
    with Progress(label, len(tasks)) as progress:
        for _ in run_tasks(tasks, prepared, list_devices()):
            progress.advance()


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
    unsettled = {fold: value for fold, value in chosen.items() if not _is_settled(folder, fold, value)}
    _have_done(prepared, f"settle {run.name}", settle_tasks(prepared, run, folder.name, unsettled))
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


def _is_settled(folder: Path, fold: int, value: Any) -> bool:
    """Return whether a fold has its predictions at the value that was chosen for it."""
    home = fold_folder(folder, fold)
    has_all = all((home / f"{split}.parquet").exists() for split in PREDICTED_SPLITS)
    return has_all and read_settled(folder, fold) == value
