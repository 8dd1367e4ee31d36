"""A run's folds as tasks: what each needs and leaves, and the functions that do them wherever they are sent.

The files that they write are those of fold.py and pairs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.config.competition import Run
from kit.core.activity import tell
from kit.core.engine import Task
from kit.data.prepared import Prepared
from kit.features.cache import GIVEN, encode_range, features_files, has_features, range_file
from kit.features.device import minds_amx
from kit.features.weights import spec_of
from kit.models.copies import checkpoint_of
from kit.models.model import Model
from kit.runs.fit.decoding import RANGE
from kit.runs.fit.fold import CHECKPOINT, fit_copy, fit_fold, fit_model, read_fitted, refit, settle_fold
from kit.runs.fit.pairs import fit_pair
from kit.runs.fit.restore import restore_fold
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import find_excluded
from kit.runs.store.find import teachers_of
from kit.runs.store.pairs import pair_folder
from kit.runs.store.result import EVERYTHING, fold_folder, run_folder

HERE = f"{__name__}:"
GIBIBYTES = 1.0  # that Python, torch and scikit-learn take
COPIES_OF_FEATURES = 6  # float32 beside float16, the pool's and the fold's, and what a solver holds
SLIVER = 0.05  # of a GPU: of what reads features in the precision of this machine's GPU


def fold_tasks(prepared: Prepared, run: Run, key: str, folds: Sequence[int]) -> list[Task]:
    """Return a task for each fold."""
    folder, needs = run_folder(prepared, run, key), describe_needs(prepared, run)
    return [
        _make_task(needs, run, key, "do_fold", f"fold {fold}", fold_folder(folder, fold), {"fold": fold})
        for fold in folds
    ]


def copy_tasks(prepared: Prepared, run: Run, key: str, folds: Sequence[int]) -> list[Task]:
    """Return a task for each copy of each fold, where a fold has several that leave checkpoints."""
    folder = run_folder(prepared, run, key)
    if run.n_copies == 1 or not build_model(prepared.competition, run).resumes:
        return []
    needs = describe_needs(prepared, run)
    return [
        _make_task(
            needs, run, key, "do_copy", f"fold {fold}, copy {copy}",
            checkpoint_of(fold_folder(folder, fold) / CHECKPOINT, copy),
            {"fold": fold, "copy": copy},
        )
        for fold in folds
        for copy in range(run.n_copies)
    ]  # fmt: skip


def pair_tasks(prepared: Prepared, run: Run, key: str, pairs: Sequence[tuple[int, int]]) -> list[Task]:
    """Return a task for each pair of folds."""
    folder, needs = run_folder(prepared, run, key), describe_needs(prepared, run)
    return [
        _make_task(
            needs, run, key, "do_pair", f"folds {first} and {second}", pair_folder(folder, first, second),
            {"first": first, "second": second},
        )
        for first, second in pairs
    ]  # fmt: skip


def settle_tasks(prepared: Prepared, run: Run, key: str, chosen: dict[int, Any]) -> list[Task]:
    """Return a task for each fold whose swept setting is chosen."""
    folder, needs = run_folder(prepared, run, key), describe_needs(prepared, run)
    return [
        _make_task(
            needs, run, key, "do_settle", f"fold {fold}, settled", fold_folder(folder, fold),
            {"fold": fold, "value": value},
        )
        for fold, value in chosen.items()
    ]  # fmt: skip


def refit_task(prepared: Prepared, run: Run, key: str, chosen: dict[str, Any]) -> Task:
    """Return the task of the model that is fitted on every label."""
    home = fold_folder(run_folder(prepared, run, key), EVERYTHING)
    values = list(chosen.get("per_fold", {}).values())
    return _make_task(describe_needs(prepared, run), run, key, "do_refit", "refit", home, {"values": values})


@dataclass(frozen=True)
class Needs:
    """Hold what a task of a run needs: see `kit.core.engine.Task`."""

    gpus: float
    gibibytes: float
    minds_amx: bool
    reads: tuple[Path, ...]


def describe_needs(prepared: Prepared, run: Run) -> Needs:
    """Return what one fit of a run needs: the same for all of its tasks, so that it is asked once for them."""
    model = build_model(prepared.competition, run)
    used = [*model.encoders_used, *run.encoders_of_cores]
    features = [features_files(prepared.pool, *each) for each in model.encoders_used if each[0] != GIVEN]
    n_bytes = COPIES_OF_FEATURES * sum(file.stat().st_size for files in features for file in files)
    return Needs(
        1.0 if model.resumes else SLIVER if features and _has_gpu() else 0.0,
        GIBIBYTES + n_bytes / 2**30,
        model.resumes or any(minds_amx(spec_of(prepared.pool, *each)) for each in used if each[0] != GIVEN),
        tuple(_list_reads(prepared, run, features, model)),
    )


def _make_task(
    needs: Needs, run: Run, key: str, function: str, label: str, home: Path, arguments: dict[str, Any]
) -> Task:
    """Return a task of one run that leaves its files in `home`, or that file."""
    return Task(
        HERE + function,
        {"settings": run.model_dump(), "key": key, **arguments},
        f"{run.name}, {label}",
        gpus=needs.gpus,
        gibibytes=needs.gibibytes,
        minds_amx=needs.minds_amx,
        reads=needs.reads,
        writes=(home,),
    )


def encode_tasks(prepared: Prepared, encoder: str, args: dict[str, Any]) -> list[Task]:
    """Return tasks that encode a large pool in ranges, for `encode_images` to put together; none of a small pool."""
    pool = prepared.pool
    if len(pool) <= RANGE or has_features(pool, encoder, args):
        return []
    weights = spec_of(pool, encoder, args).file
    named = () if weights is None else (weights,)
    tasks = []
    for start in range(0, len(pool), RANGE):
        stop = min(start + RANGE, len(pool))
        piece = range_file(pool, start, stop, encoder, args)
        tasks.append(
            Task(
                f"{HERE}do_encode",
                {"encoder": encoder, "args": args, "start": start, "stop": stop},
                f"encode {start:,} to {stop:,}",
                gpus=1.0 if _has_gpu() else 0.0,
                minds_amx=minds_amx(spec_of(pool, encoder, args)),
                reads=(prepared.competition.folder, *named, *(Path(path) for path in pool.paths[start:stop])),
                writes=(piece, piece.with_name(f"{piece.name.partition('.')[0]}.json")),
            )
        )
    return tasks


def do_encode(prepared: Prepared, encoder: str, args: dict[str, Any], start: int, stop: int) -> None:
    """Encode a range of the images."""
    encode_range(prepared.pool, start, stop, encoder, args)


def _has_gpu() -> bool:
    """Return whether features were encoded on a GPU, whose precision decides where they lie."""
    from kit.features.device import device_name

    return device_name().startswith("cuda")


def _list_reads(prepared: Prepared, run: Run, features: list[list[Path]], model: Model) -> list[Path]:
    """Return the files and folders that a node without the workspace needs for a run's folds."""
    competition, cache = prepared.competition, prepared.pool.cache
    is_decoding = model.resumes or not features or not all(features) or bool(run.encoders_of_cores)
    left = ("features",) if is_decoding else ("features", "store")  # pixels are read by no head on known features
    places = [competition.folder, *(path for path in cache.glob("*") if path.name not in left)]
    places += [file for files in features for file in files]
    places += (cache / "features").glob("*.json")
    if is_decoding:
        places.append(competition.root)
    return [*places, *_list_named(prepared, run, model), *(teacher.folder for teacher in teachers_of(prepared, run))]


def _list_named(prepared: Prepared, run: Run, model: Model) -> list[Path]:
    """Return the files that a run names: weights, and its list of excluded images."""
    used = model.encoders_used if model.needs_weights else []
    specs = [spec_of(prepared.pool, *each) for each in [*used, *run.encoders_of_cores] if each[0] != GIVEN]
    excluded = [] if run.exclude is None else [find_excluded(prepared, run, run.exclude)]
    return [spec.file for spec in specs if spec.file is not None] + excluded


def _read_run(settings: dict[str, Any]) -> Run:
    return Run.model_validate(settings)


def do_fold(prepared: Prepared, settings: dict[str, Any], key: str, fold: int) -> None:
    """Fit one fold's model on the other folds."""
    run = _read_run(settings)
    tell(fold=fold)
    fit_fold(prepared, run, fold, run_folder(prepared, run, key))


def do_copy(prepared: Prepared, settings: dict[str, Any], key: str, fold: int, copy: int) -> None:
    """Fit one of several copies of a fold's model; its checkpoint is what the fold goes on from."""
    run = _read_run(settings)
    folder = run_folder(prepared, run, key)
    if read_fitted(folder, fold) is None:
        fit_copy(prepared, run, fold, fold_folder(folder, fold), copy)


def do_pair(prepared: Prepared, settings: dict[str, Any], key: str, first: int, second: int) -> None:
    """Fit the model that saw neither of two folds."""
    run = _read_run(settings)
    fit_pair(prepared, run, run_folder(prepared, run, key), first, second)


def do_settle(prepared: Prepared, settings: dict[str, Any], key: str, fold: int, value: Any) -> None:
    """Write a fold's predictions at the value that was chosen for it."""
    run = _read_run(settings)
    folder = run_folder(prepared, run, key)
    home = fold_folder(folder, fold)
    model = restore_fold(prepared, run, folder, fold) or fit_model(prepared, run, fold, home)[0]
    settle_fold(prepared, model, fold, home, value)


def do_refit(prepared: Prepared, settings: dict[str, Any], key: str, values: list[Any]) -> None:
    """Fit one model on every label."""
    run = _read_run(settings)
    refit(prepared, run, run_folder(prepared, run, key), values)
