"""Which run answers to a name: what decides its key, its rounds of pseudo labels, its teachers.

Reads the disk; writes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from kit import __version__
from kit.config.competition import Competition, Run
from kit.core.errors import InputError, MissingWeights, TeacherMissing
from kit.core.files import key_of
from kit.core.names import ENSEMBLE, base_of, round_of
from kit.core.terminal import warn
from kit.data.images import name_images
from kit.data.prepared import Prepared
from kit.features.cache import GIVEN
from kit.features.prompts import prompts_of
from kit.features.weights import spec_of
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import read_exclusion
from kit.runs.store.imported import read_import, what_is_gone
from kit.runs.store.pairs import wants_pairs
from kit.runs.store.result import EVERYTHING, Result, read_record, read_result, run_folder
from kit.runs.store.rounds import describe_rule
from kit.runs.store.score import score_anew
from kit.runs.store.source import source_key
from kit.scoring.predictions import Predictions, concatenate

PREDICTED_SPLITS = ("oof", "test", "unlabeled")


def find_result(prepared: Prepared, name: str) -> Result | None:
    """Return a finished run, or None; imported predictions are found by their name, if made on these folds."""
    if name not in prepared.competition.runs:
        result = read_import(prepared, name)
        return score_anew(prepared, result) if result and what_is_gone(prepared, result) is None else None
    run = prepared.competition.run(name)
    with contextlib.suppress(TeacherMissing, MissingWeights):  # a run that lacks them cannot have been trained
        return find_run(prepared, run) if run.pseudo is None else find_settled(prepared, run)
    return None


def find_usable(prepared: Prepared, name: str) -> Result | None:
    """Return a finished run, or None; one whose table or prompt list is refused is named and hides no other."""
    try:
        return find_result(prepared, name)
    except InputError as error:
        warn(f"{name} is left out: {error}")
        return None


def run_key(prepared: Prepared, run: Run) -> str:
    """Return the key of what decides a run's predictions: settings, images, folds, weights, words, the model's code.

    Of the kit's other files the version stands for all: it is raised where their behaviour changes. A teacher that has
    not been trained raises TeacherMissing.
    """
    model = build_model(prepared.competition, run)
    options = model.options()
    parts: list[object] = [__version__, run.model, options, prepared.pool.key, prepared.fold_key, run.use_test_images]
    parts.append(source_key(type(model)))
    if run.bags > 1:
        parts.append(run.bags)
    if run.seeds > 1:
        parts.append(["seeds", run.seeds])
    if run.refit:
        parts.append("refit")
    if run.exclude is not None:
        parts.append(sorted(read_exclusion(prepared, run).items()))
    if prepared.hierarchy is not None:
        parts.append(prepared.hierarchy.key)
    if wants_pairs(prepared, run, model):
        parts.append("pairs")
    if len(model.sweep_values()) > 1:
        parts.append(prepared.metric.key)  # it decides what is chosen
    parts.extend(part for each in model.encoders_used for part in _encoder_identity(prepared, *each))
    parts.extend(prompts_of(prepared.pool, name).key for name in model.prompt_lists)
    if run.pseudo is not None:
        parts.append(run.pseudo.model_dump(exclude={"rounds"}))
        parts.extend(part for each in run.encoders_of_cores for part in _encoder_identity(prepared, *each))
        parts.extend(teacher.record.key for teacher in teachers_of(prepared, run))
    return key_of(parts)


def settings_key(prepared: Prepared, run: Run) -> str:
    """Return the key of what decides a run's predictions where its teachers may not have been trained yet.

    Without teachers it is `run_key`; with some the settings of theirs stand for their results.
    """
    if run.pseudo is None:
        return run_key(prepared, run)
    parts: list[object] = [run_key(prepared, run.model_copy(update={"pseudo": None})), run.pseudo.model_dump()]
    parts.extend(part for each in run.encoders_of_cores for part in _encoder_identity(prepared, *each))
    for name in run.pseudo.teachers:
        if name in prepared.competition.runs:
            parts.append(settings_key(prepared, prepared.competition.run(name)))
        elif imported := read_import(prepared, name):
            parts.append(imported.record.key)
    return key_of(parts)


def _encoder_identity(prepared: Prepared, encoder: str | None, encoder_args: dict[str, Any] | None) -> list[object]:
    """Return what an encoder's weights are, whatever their file is called; nothing of given features."""
    if encoder is None or encoder == GIVEN:
        return []
    return [spec_of(prepared.pool, encoder, encoder_args).identity]


def rounds_of(run: Run) -> Iterator[Run]:
    """Give each round as a run of its own: ``NAME.0`` without pseudo labels, ``NAME.1``, ``NAME.2`` taught by it too.

    A run that asks for none is given as it is.
    """
    if run.pseudo is None:
        yield run
        return
    yield run.model_copy(update={"name": f"{run.name}.0", "pseudo": None})
    for number in range(1, run.pseudo.rounds + 1):
        teachers = [*run.pseudo.teachers, *([f"{run.name}.{number - 1}"] if number > 1 else [])]
        plan = run.pseudo.model_copy(update={"teachers": teachers, "rounds": 1})
        yield run.model_copy(update={"name": f"{run.name}.{number}", "pseudo": plan})


def made_rounds(prepared: Prepared, run: Run) -> list[Result]:
    """Return the finished rounds of a run, from round 0 on, up to the first that is missing."""
    made = []
    for each in rounds_of(run):
        if (result := find_run(prepared, each)) is None:
            break
        made.append(result)
    return made


def settled_key(prepared: Prepared, run: Run, made: list[Result]) -> str:
    """Return the key of a run of these rounds: the rounds, what would teach the first one, and what chooses."""
    _, taught, *_ = rounds_of(run)
    keys = [result.record.key for result in made]
    return key_of(__version__, "rounds", describe_rule(), keys, run_key(prepared, taught), prepared.metric.key)


def find_settled(prepared: Prepared, run: Run) -> Result | None:
    """Return the run that was put together of the most rounds that are there, or None."""
    made = made_rounds(prepared, run)
    for n_made in range(len(made), 0, -1):
        folder = run_folder(prepared, run, settled_key(prepared, run, made[:n_made]))
        result = read_result(run.name, folder)
        if result is not None and all((folder / f"{split}.parquet").exists() for split in PREDICTED_SPLITS):
            return score_anew(prepared, result)
    return None


def settings_of(prepared: Prepared, result: Result) -> Run:
    """Return the settings of a finished run; of a round its own, of a run of rounds those of the last that counts."""
    competition, rounds = prepared.competition, result.record.rounds
    if result.name in competition.runs and not rounds:
        return competition.runs[result.name]
    name = f"{result.name}.{max(rounds['kept'], *rounds['per_fold'].values())}" if rounds else result.name
    return next(run for run in rounds_of(competition.run(result.base)) if run.name == name)


def find_run(prepared: Prepared, run: Run) -> Result | None:
    """Return the finished run of exactly these settings."""
    folder = run_folder(prepared, run, run_key(prepared, run))
    result = read_result(run.name, folder)
    if result is None or not all((folder / f"{split}.parquet").exists() for split in PREDICTED_SPLITS):
        return None
    return score_anew(prepared, result)


def teachers_of(prepared: Prepared, run: Run) -> list[Result]:
    """Return the finished teachers of a run; one that has not been trained raises TeacherMissing."""
    teachers = []
    for teacher in run.pseudo.teachers if run.pseudo else ():
        result = find_result(prepared, teacher) or _find_round(prepared, run, teacher)
        if result is None:
            raise TeacherMissing(
                f"run {run.name}: its teacher {teacher} has not been trained; "
                f"{prepared.competition.command('train', base_of(teacher))}"
            )
        teachers.append(result)
    return teachers


def _find_round(prepared: Prepared, run: Run, teacher: str) -> Result | None:
    """Return the round before this one, by its name ``NAME.N``."""
    name, number = base_of(teacher), round_of(teacher)
    if number is None or name not in prepared.competition.runs:
        return None
    rounds = list(rounds_of(prepared.competition.run(name)))
    return find_run(prepared, rounds[number])


def runs_of_other_folds(prepared: Prepared) -> list[str]:
    """Return the names of runs on the disk that were scored on other folds or labels than today's."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    keys: dict[str, set[str]] = {}
    for file in sorted(home.glob("*/*/run.json")):
        record = read_record(file.parent)
        keys.setdefault(file.parents[1].name, set()).add(record.fold_key if record else prepared.fold_key)
    return [name for name, fold_keys in keys.items() if prepared.fold_key not in fold_keys]


def result_at(prepared: Prepared, name: str, key: str) -> Result:
    """Return the finished run, or the import, with a key; where it is not there, an InputError says what makes it."""
    folder = prepared.competition.workspace.runs(prepared.competition.name) / name / key
    result = read_result(name, folder)
    if result is None and (imported := read_import(prepared, name)) and imported.record.key == key:
        result = imported
    if result is None:
        raise InputError(f"{folder}: the run is not there or not finished; {_remedy(prepared.competition, name)}")
    return score_anew(prepared, result)


def _remedy(competition: Competition, name: str) -> str:
    """Say how what is not there comes to be: a run, the ensemble or an import."""
    run = base_of(name)
    if run in competition.runs:
        return f"{competition.command('train', run)} makes it"
    return f"{competition.command(ENSEMBLE)} makes it" if name == ENSEMBLE else "import it again"


def pool_predictions(teacher: Result, fold: int, use_test_images: bool) -> Predictions:
    """Return the predictions of a teacher's model of this fold for the images it may label, by ``split/id``.

    For the refit, which has no fold, it is the mean of the teacher's models.
    """
    if fold == EVERYTHING:
        parts = {split: teacher.predictions(split) for split in ("unlabeled", *(["test"] if use_test_images else []))}
    else:
        splits = {"unlabeled": "unlabeled"} | ({"test": "test", "oof": "labeled"} if use_test_images else {})
        parts = {split: teacher.fold_predictions(fold, file) for file, split in splits.items()}
    return concatenate([dataclasses.replace(part, ids=name_images(split, part.ids)) for split, part in parts.items()])
