"""Runs on disk: what decides a run, where it lies, which of its rounds was kept.

A run lies in ``runs/NAME/RUN/KEY/``, where KEY is the hash of all that decides its predictions: another setting is
another folder, nothing is overwritten, and a setting that was tried before is re-used. Rounds of pseudo labels are
runs of their own, ``RUN.1``, ``RUN.2``. Predictions made elsewhere lie in ``runs/NAME/RUN/imported/``.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit import __version__
from kit.competition import ENSEMBLE, Competition, Run
from kit.decision.chosen import decide_oof, decision_key, describe_thresholds
from kit.errors import InputError, MissingWeights, TeacherMissing
from kit.exclusion import read_exclusion
from kit.files import key_of, read_json, read_object, write_json
from kit.images import name_images
from kit.metrics import paired_difference, score_with_error
from kit.models import Swept, build_model
from kit.predictions import Predictions, concatenate, read_predictions
from kit.prepare import Prepared
from kit.prompts import prompts_of
from kit.terminal import warn
from kit.weights import parse_encoder

SPLITS = ("oof", "test", "unlabeled")
IMPORTED = "imported"
REFIT = "refit"  # the folder of the model that was fitted on every label
EVERYTHING = 10_000  # its number in place of a fold's: no image is in that fold, so all are in its training
NUMBER = int | float
FACTS = {"key": str, "model": str, "fold_key": str, "metric": str, "cv": NUMBER, "se": NUMBER, "teachers": dict}
ENSEMBLE_FACTS = {"members": dict, "weights": dict, "temperatures": dict, "shrinkage": NUMBER}
ROUNDING = 1e-9  # one image that turned wrong is exactly one standard error, and no reason to stop


@dataclass(frozen=True)
class Result:
    """Point to a finished run.

    Parameters
    ----------
    name
        The run.
    folder
        Where its files lie.
    facts
        The content of run.json.
    """

    name: str
    folder: Path
    facts: dict[str, Any]

    def predictions(self, split: str) -> Predictions:
        """Read the run's ``"oof"``, ``"test"`` or ``"unlabeled"`` predictions."""
        return read_predictions(self.folder / f"{split}.parquet")

    def fold_predictions(self, fold: int, split: str) -> Predictions:
        """Read what one fold's model said."""
        return read_predictions(fold_folder(self.folder, fold) / f"{split}.parquet")


def fold_folder(folder: Path, fold: int) -> Path:
    """Return the folder of one fold of a run, or of its refit on everything."""
    return folder / (REFIT if fold == EVERYTHING else f"fold_{fold}")


def find_result(prepared: Prepared, name: str) -> Result | None:
    """Return a finished run, or None; imported predictions are found by their name, if made on these folds."""
    if name not in prepared.competition.runs:
        result = _read_import(prepared, name)
        return score_anew(prepared, result) if result and _outlived(prepared, result) is None else None
    kept = None
    for run in rounds_of(prepared.competition.run(name)):
        try:
            result = find_run(prepared, run)
        except (TeacherMissing, MissingWeights):  # it cannot have been trained
            return kept
        if result is None or (kept is not None and is_worse(prepared, result, kept)):
            return kept
        kept = result
    return kept


def find_usable(prepared: Prepared, name: str) -> Result | None:
    """Return a finished run, or None; a run whose table or prompt list is refused is named and left out.

    A mistake in one table must not hide what the others have done.
    """
    try:
        return find_result(prepared, name)
    except InputError as error:
        warn(f"{name} is left out: {error}")
        return None


def run_key(prepared: Prepared, run: Run) -> str:
    """Return the key of what decides a run's predictions: settings, images, folds, weights, words, the model's files.

    Of the kit's other files the version stands for all: it is raised where their behaviour changes.

    Raises
    ------
    InputError
        When a teacher has not been trained.
    """
    model = build_model(prepared.competition, run)
    options = dataclasses.asdict(model)
    parts: list[object] = [__version__, run.model, options, prepared.pool.key, prepared.fold_key, run.use_test_images]
    parts.append(_source_key(model))
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
    if isinstance(model, Swept) and len(model.sweep_values()) > 1:
        parts.append(prepared.competition.metric.key)  # it decides what is chosen
    parts.extend(_encoder_identity(prepared, options.get("encoder"), options.get("encoder_args")))
    parts.extend(prompts_of(prepared.pool, name).key for name in prompt_lists(model))
    if run.pseudo is not None:
        parts.append(run.pseudo.model_dump(exclude={"rounds"}))
        if run.pseudo.cores is not None:
            parts.extend(_encoder_identity(prepared, run.pseudo.cores.encoder, run.pseudo.cores.encoder_args))
        parts.extend(teacher.facts["key"] for teacher in teachers_of(prepared, run))
    return key_of(parts)


def _encoder_identity(prepared: Prepared, encoder: str | None, encoder_args: dict[str, Any] | None) -> list[object]:
    """Return what an encoder's weights are, whatever their file is called; nothing of given features."""
    if encoder in (None, "given"):
        return []
    return [parse_encoder(encoder, encoder_args, prepared.pool.lookup).identity]


def _source_key(model: object) -> str:
    """Return the hash of the files that define a model's class and the classes it derives from."""
    modules = dict.fromkeys(own.__module__ for own in type(model).__mro__ if own is not object)
    return key_of([hashlib.sha256(inspect.getsource(sys.modules[name]).encode()).hexdigest() for name in modules])


def prompt_lists(model: object) -> list[str]:
    """Return the names of the prompt lists that a model reads."""
    prompts = getattr(model, "prompts", None)
    return [prompts] if isinstance(prompts, str) else list(prompts or ())


def rounds_of(run: Run) -> Iterator[Run]:
    """Give each round as a run of its own: ``NAME.1``, then ``NAME.2`` taught by ``NAME.1`` too."""
    if run.pseudo is None:
        yield run
        return
    for number in range(1, run.pseudo.rounds + 1):
        teachers = [*run.pseudo.teachers, *([f"{run.name}.{number - 1}"] if number > 1 else [])]
        plan = run.pseudo.model_copy(update={"teachers": teachers, "rounds": 1})
        yield run.model_copy(update={"name": f"{run.name}.{number}", "pseudo": plan})


def settings_of(prepared: Prepared, result: Result) -> Run:
    """Return the settings of a finished run; of a round, its own."""
    competition = prepared.competition
    if result.name in competition.runs:
        return competition.runs[result.name]
    base = result.name.rpartition(".")[0]
    return next(run for run in rounds_of(competition.run(base)) if run.name == result.name)


def find_run(prepared: Prepared, run: Run) -> Result | None:
    """Return the finished run of exactly these settings."""
    folder = run_folder(prepared, run, run_key(prepared, run))
    facts = read_facts(folder)
    if not facts or not all((folder / f"{split}.parquet").exists() for split in SPLITS):
        return None
    return score_anew(prepared, Result(run.name, folder, facts))


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return a run's run.json; None where there is none, or it is not as the kit writes it: the run is not finished."""
    wanted = FACTS | (ENSEMBLE_FACTS if folder.parent.name == ENSEMBLE else {})
    facts = read_object(folder / "run.json", *wanted)
    return facts if facts and all(isinstance(facts[name], kind) for name, kind in wanted.items()) else None


def read_provenance(folder: Path, fold: int) -> dict[str, Any] | None:
    """Return what one fold's model was fitted on; None where that is not there, or not as the kit writes it."""
    ledger = read_object(fold_folder(folder, fold) / "provenance.json", "labeled", "pseudo", "teachers", "diary")
    kinds = {"labeled": list, "pseudo": dict, "teachers": list}
    is_ours = ledger and all(isinstance(ledger[name], kind) for name, kind in kinds.items())
    return ledger if is_ours and {"ids", "codes"} <= ledger["pseudo"].keys() else None


def score_anew(prepared: Prepared, result: Result) -> Result:
    """Return a run scored by the competition's metric and thresholds, also if others counted when it was made."""
    today = (prepared.competition.metric.key, decision_key(prepared))
    if (result.facts.get("metric_key"), result.facts.get("decision")) == today:
        return result
    return dataclasses.replace(result, facts=result.facts | _score(prepared, result.predictions("oof")))


def run_folder(prepared: Prepared, run: Run, key: str) -> Path:
    """Return where a run of this key lies."""
    return prepared.competition.workspace.runs(prepared.competition.name) / run.name / key


def teachers_of(prepared: Prepared, run: Run) -> list[Result]:
    """Return the finished teachers of a run.

    Raises
    ------
    TeacherMissing
        When one has not been trained.
    """
    found = []
    for teacher in run.pseudo.teachers if run.pseudo else ():
        result = find_result(prepared, teacher) or _find_round(prepared, run, teacher)
        if result is None:
            raise TeacherMissing(
                f"run {run.name}: its teacher {teacher} has not been trained; "
                f"{prepared.competition.command('train', teacher.partition('.')[0])}"
            )
        found.append(result)
    return found


def _find_round(prepared: Prepared, run: Run, teacher: str) -> Result | None:
    """Return the round before this one, by its name ``NAME.N``."""
    name, dot, number = teacher.rpartition(".")
    if not dot or name not in prepared.competition.runs:
        return None
    rounds = list(rounds_of(prepared.competition.run(name)))
    return find_run(prepared, rounds[int(number) - 1])


def list_imported(prepared: Prepared) -> list[str]:
    """Return the names of predictions that were imported for these folds."""
    runs = prepared.competition.runs
    return [name for name in _imported(prepared) if name not in runs and find_result(prepared, name)]


def stale_imports(prepared: Prepared) -> dict[str, str]:
    """Return why imported predictions are used by nothing, and the remedy, by their name."""
    said = {}
    for name in _imported(prepared):
        if name in prepared.competition.runs:
            said[name] = "has the name of a run, which counts; import it again under another"
        elif (own := _read_import(prepared, name)) and (cause := _outlived(prepared, own)):
            said[name] = f"was imported for {cause}; import it again"
    return said


def import_images_key(prepared: Prepared) -> str:
    """Return the key of the images that imported predictions are of: the scored and the test images' content."""
    pool, rows = prepared.pool, np.concatenate([prepared.labeled[prepared.scored_rows], prepared.split("test")])
    return key_of(list(pool.splits[rows]), list(pool.ids[rows]), list(pool.digests[rows]))


def _outlived(prepared: Prepared, own: Result) -> str | None:
    """Return what an import was made for and is gone by now, or None."""
    if own.facts["fold_key"] != prepared.fold_key:
        return "other folds or labels"
    then, now = own.facts.get("images_key"), import_images_key(prepared)
    same = own.facts.get("pool_key") == prepared.pool.key if then is None else then == now  # older ones know the pool
    return None if same else "other images"


def _imported(prepared: Prepared) -> list[str]:
    home = prepared.competition.workspace.runs(prepared.competition.name)
    return sorted(file.parents[1].name for file in home.glob(f"*/{IMPORTED}/run.json"))


def _read_import(prepared: Prepared, name: str) -> Result | None:
    folder = prepared.competition.workspace.runs(prepared.competition.name) / name / IMPORTED
    facts = read_facts(folder)
    return Result(name, folder, facts) if facts else None


def runs_of_other_folds(prepared: Prepared) -> list[str]:
    """Return the names of runs on the disk that were scored on other folds or labels than today's."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    keys: dict[str, set[str]] = {}
    for file in sorted(home.glob("*/*/run.json")):
        facts = read_facts(file.parent) or {}
        keys.setdefault(file.parents[1].name, set()).add(facts.get("fold_key", prepared.fold_key))
    return [name for name, own in keys.items() if prepared.fold_key not in own]


def result_at(prepared: Prepared, name: str, key: str) -> Result:
    """Return the finished run, or the import, with a key.

    Raises
    ------
    InputError
        When it is not there.
    """
    folder = prepared.competition.workspace.runs(prepared.competition.name) / name / key
    facts = read_facts(folder)
    if not facts and (own := _read_import(prepared, name)) and own.facts["key"] == key:
        folder, facts = own.folder, own.facts
    if not facts:
        raise InputError(f"{folder}: the run is not there or not finished; {_remedy(prepared.competition, name)}")
    return score_anew(prepared, Result(name, folder, facts))


def _remedy(competition: Competition, name: str) -> str:
    """Say how what is not there comes to be: a run, the ensemble or an import."""
    run = name.partition(".")[0]
    if run in competition.runs:
        return f"{competition.command('train', run)} makes it"
    return f"{competition.command(ENSEMBLE)} makes it" if name == ENSEMBLE else "import it again"


def pool_predictions(teacher: Result, fold: int, use_test_images: bool) -> Predictions:
    """Return what a teacher's model of this fold says of the images it may label, by ``split/id``.

    For the refit, which has no fold, it is the mean of the teacher's models.
    """
    if fold == EVERYTHING:
        said = {split: teacher.predictions(split) for split in ("unlabeled", *(["test"] if use_test_images else []))}
    else:
        splits = {"unlabeled": "unlabeled"} | ({"test": "test", "oof": "labeled"} if use_test_images else {})
        said = {split: teacher.fold_predictions(fold, file) for file, split in splits.items()}
    return concatenate([dataclasses.replace(own, ids=name_images(split, own.ids)) for split, own in said.items()])


def write_result(name: str, folder: Path, facts: dict[str, Any]) -> Result:
    """Write run.json, last of a run's files: with it the run is finished."""
    write_json(folder / "run.json", facts)
    return Result(name, folder, read_json(folder / "run.json"))  # as every later call will read it


def describe_run(prepared: Prepared, name: str, oof: Predictions) -> dict[str, Any]:
    """Return what every run's run.json says: score, standard error, versions, commit, time."""
    return _score(prepared, oof) | {
        "name": name,
        "classes": prepared.classes,
        "fold_key": prepared.fold_key,
        "pool_key": prepared.pool.key,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "timm", "scikit-learn", "numpy")},
        "kit": __version__,
        "commit": commit(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _score(prepared: Prepared, oof: Predictions) -> dict[str, Any]:
    """Return CV and standard error in the competition's metric."""
    metric = prepared.competition.metric
    labels, proba = oof_rows(prepared, oof)
    decision = describe_thresholds(prepared, labels, proba)
    proba = decide_oof(prepared, proba, decision["thresholds"])
    cv, error = score_with_error(metric, labels, proba, prepared.scored_groups)
    left_out = metric.classes_left_out(labels, prepared.classes)
    facts = {"cv": cv, "se": error, "metric": metric.name, "metric_key": metric.key, "left_out": left_out}
    return facts | decision


def oof_rows(prepared: Prepared, oof: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and oof probabilities in the order of the scored images.

    Raises
    ------
    InputError
        When a scored image has no oof prediction.
    """
    rows = prepared.scored_rows
    return prepared.labels[rows], oof.at(prepared.pool.ids[prepared.labeled[rows]]).proba


def decided_rows(prepared: Prepared, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Return what `oof_rows` does, for which one half is the threshold where an image may have several labels."""
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    return labels, decide_oof(prepared, proba, result.facts.get("thresholds"))


@functools.cache
def commit() -> str:
    """Return the commit of the kit's checkout, with ``+`` when it was edited since; empty outside git."""
    home = Path(__file__).parent
    git = ["git", "-C", str(home)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else ""


def is_worse(prepared: Prepared, ours: Result, theirs: Result) -> bool:
    """Return whether a round is worse than the one before by more than one paired standard error."""
    difference, error = compare_runs(prepared, ours, theirs)
    return difference < -error - ROUNDING


def compare_runs(prepared: Prepared, ours: Result, theirs: Result) -> tuple[float, float]:
    """Return the paired difference of two runs' oof, above 0 where ours is better, and its standard error."""
    labels, our_proba = decided_rows(prepared, ours)
    _, their_proba = decided_rows(prepared, theirs)
    return paired_difference(prepared.competition.metric, labels, our_proba, their_proba, prepared.scored_groups)
