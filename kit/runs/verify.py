"""Verify: re-derive what every finished run claims; a leak is named.

Reads everything under ``runs/NAME`` that the leaderboard would show, and what that was made from; writes nothing.
Re-derived are: that no fold's model was fitted on the fold's own images, as far as the ledger that it left tells; that
pseudo labels are those which the teachers' models *of the same fold* give; that a swept setting of a fold is the one
which the other folds choose; that oof and test are the folds' predictions, which are as they were written, and the
ensemble's what its members give; that CV and standard error follow from the oof. That groups do not straddle folds is
checked whenever the fold file is read. Nothing is fitted again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.runs import PseudoPlan
from kit.core.errors import InputError, LeakFound, some
from kit.core.files import remedy_for
from kit.core.names import ENSEMBLE
from kit.core.shapes import Proba
from kit.core.terminal import Progress
from kit.data.images import ids_of, names_of
from kit.data.prepared import Prepared, describe_classes
from kit.runs.ensemble import combine
from kit.runs.fit.fold import find_changed, read_fitted, read_sweep
from kit.runs.fit.restore import read_settled
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.pseudo.rounds import choose_for_fold
from kit.runs.store.find import result_at
from kit.runs.store.imported import list_imported
from kit.runs.store.result import EVERYTHING, IMPORTED, Result, fold_folder, read_provenance
from kit.runs.store.rounds import choose_rounds
from kit.runs.store.score import oof_rows
from kit.runs.store.thresholds import decide_oof, decision_key, thresholds_of
from kit.scoring.metrics import Metric, find_metric, score_with_error
from kit.scoring.predictions import Predictions, mean_predictions, read_predictions

TOLERANCE = 1e-6  # of a probability or a score: they are kept as float32
REFIT_TOLERANCE = 1e-4  # of a probability that a network or an optimiser gives again: other machines round otherwise
N_POOLS = 8  # predictions of the unlabelled images held in memory at a time: they are large


def verify(prepared: Prepared, results: Sequence[Result]) -> list[str]:
    """Return one sentence for the folds and for every run: the given ones and all they were made from.

    Raises
    ------
    LeakFound
        Naming the run, the fold and the images, at the first check that did not hold.
    InputError
        When a file is missing or cannot be read.
    """
    runs = _with_sources(prepared, results)
    for run in runs.values():
        _verify_coverage(prepared, run)
    fitted = [run for run in runs.values() if _is_fitted(run)]
    with Progress("verify", len(prepared.scored) * len(fitted)) as progress:
        for fold in prepared.scored:  # outside the loop over runs: teachers' predictions of the pool are read once
            for run in fitted:
                _verify_fold(prepared, run, fold)
                if not run.record.rounds:
                    _verify_pseudo(prepared, runs, run, fold)
                progress.advance()
    sentences = [f"folds: {len(prepared.folds)} labelled images, checked on reading"]
    for run in runs.values():
        if _is_fitted(run):
            if run.record.rounds:
                _verify_rounds(prepared, runs, run)
            else:
                _verify_settled(prepared, run)
            _verify_test_mean(prepared, run)
            _verify_files(prepared, run)
        elif run.name == ENSEMBLE:
            _verify_ensemble(prepared, runs, run)
        _verify_score(prepared, run)
        sentences.append(_describe(prepared, run))
    return sentences


@dataclass(frozen=True)
class _Run(Result):
    """A result whose predictions are read once, however many checks need them."""

    read: Callable[[Path], Predictions]

    def predictions(self, split: str) -> Predictions:
        return self.read(self.folder / f"{split}.parquet")

    def fold_predictions(self, fold: int, split: str) -> Predictions:
        return self.read(fold_folder(self.folder, fold) / f"{split}.parquet")


def _with_sources(prepared: Prepared, results: Sequence[Result]) -> dict[tuple[str, str], _Run]:
    """Return the results, their teachers and members, and so on, by name and key."""
    read, imported = _make_reader(), list_imported(prepared)
    runs: dict[tuple[str, str], _Run] = {}
    ahead = list(results)
    while ahead:
        result = ahead.pop(0)
        if (result.name, result.record.key) in runs:
            continue
        runs[result.name, result.record.key] = _Run(result.name, result.folder, result.record, read)
        for name, key in result.record.sources.items():
            source = result_at(prepared, name, IMPORTED if name in imported else key)
            if source.record.key != key:
                raise LeakFound(f"{result.name}: made from {name} {key}, but {source.folder} is {source.record.key}")
            ahead.append(source)
    return runs


def _make_reader() -> Callable[[Path], Predictions]:
    """Return a `read_predictions` that remembers what it read, of the pool the last few alone."""
    pools, others = functools.lru_cache(N_POOLS)(read_predictions), functools.cache(read_predictions)
    return lambda path: pools(path) if path.stem == "unlabeled" else others(path)


def _is_fitted(run: Result) -> bool:
    """Return whether a run was fitted here, fold by fold."""
    return run.folder.name != IMPORTED and run.name != ENSEMBLE


def _describe(prepared: Prepared, run: Result) -> str:
    """Say what was checked of a run."""
    if run.folder.name == IMPORTED:
        return (
            f"{run.name}: imported; its oof covers every scored image once and gives its CV (its training is unknown)"
        )
    if run.name == ENSEMBLE:
        return f"{run.name}: oof and test are what its {len(run.record.members)} members give, the CV is the oof's"
    fitted = "by their ledgers none fitted on its own images"
    held = f"{run.name}: {len(prepared.scored)} folds, {fitted}; oof, test and CV are theirs"
    held += _describe_files(prepared, run)
    chosen = f"; {run.record.chosen['name']} chosen on the other folds" if run.record.chosen else ""
    refit = "; its test predictions are a refit's on everything, whose CV is not measured"
    taught = "; pseudo labels from the same folds' models" if run.record.pseudo else ""
    taught += "; how many rounds are kept is chosen on the other folds" if run.record.rounds else ""
    if (exclude := run.record.exclude) and exclude["n_images"]:
        held += f"; {exclude['n_images']} images left out of training by {exclude['file']}, whose choice nothing checks"
    return held + chosen + taught + (refit if run.record.refit else "")


def _describe_files(prepared: Prepared, run: Result) -> str:
    """Say whether the folds' files could be told from edited ones."""
    if all("sha256" in (read_fitted(run.folder, fold) or {}) for fold in _fitted_folds(prepared, run)):
        return ", their files as they were written"
    return "; an earlier kit wrote their files without SHA-256, so edits would not show"


def _fitted_folds(prepared: Prepared, run: Result) -> list[int]:
    """Return the folds of which a run has a model, the refit's among them."""
    return [*prepared.scored, *([EVERYTHING] if run.record.refit else [])]


def _verify_rounds(prepared: Prepared, runs: dict[tuple[str, str], _Run], run: Result) -> None:
    """A run of rounds must be those which the other folds choose, fold by fold."""
    made: list[Result] = [runs[round_made] for round_made in run.record.teachers.items()]
    choice, noted = choose_rounds(prepared, made), run.record.rounds
    per_fold = {str(fold): number for fold, number in choice.per_fold.items()}
    if run.record.metric_key == prepared.metric.key and (noted["kept"], noted["per_fold"]) != (choice.kept, per_fold):
        raise LeakFound(
            f"{run.name}: run.json says that {noted['kept']} rounds are kept, by fold {noted['per_fold']}; the scored "
            f"images choose {choice.kept}, the other folds' {per_fold}"
        )
    for fold in prepared.scored:
        source = made[noted["per_fold"][str(fold)]]
        if _read_ledger(run, fold) != _read_ledger(source, fold):
            raise LeakFound(f"{run.name} fold {fold}: provenance.json is not that of {source.name}, the round it names")
        ours, theirs = run.fold_predictions(fold, "oof"), source.fold_predictions(fold, "oof")
        if not np.array_equal(ours.proba, theirs.at(ours.ids).proba):
            raise LeakFound(f"{run.name} fold {fold}: its oof is not that of {source.name}, the round that it names")


def _verify_files(prepared: Prepared, run: Result) -> None:
    """Weights, sweeps and predictions of the folds must be as they were written."""
    for fold in _fitted_folds(prepared, run):
        if changed := find_changed(run.folder, fold):
            home = fold_folder(run.folder, fold)
            raise LeakFound(
                f"{run.name} {home.name}: {some(changed)} edited since the model was fitted (SHA-256 is not that of "
                f"{home / 'fitted.json'}); delete {run.folder} and train again"
            )


def _verify_coverage(prepared: Prepared, run: Result) -> None:
    """Oof and test must cover their images once, on these folds and with the competition's classes."""
    if run.record.fold_key != prepared.fold_key:
        raise LeakFound(f"{run.name}: {run.folder} was made on other folds or labels; make it again")
    scored = prepared.pool.ids[prepared.labeled[prepared.scored_rows]]
    for split, wanted in (("oof", scored), ("test", prepared.pool.ids[prepared.split("test")])):
        predictions = run.predictions(split)
        if predictions.classes != prepared.classes:
            raise LeakFound(f"{run.name}: class order of {split} is {some(predictions.classes)}, not the competition's")
        if apart := sorted(set(predictions.ids) ^ set(wanted)):
            images = "scored" if split == "oof" else "test"
            raise LeakFound(f"{run.name}: {split} does not cover the {images} images: {some(apart)} differ")


def _verify_score(prepared: Prepared, run: Result) -> None:
    """CV and standard error must be those of the oof."""
    metric = _metric_of(prepared, run)
    if metric is None:
        return
    labels, proba = oof_rows(prepared, run.predictions("oof"))
    thresholds = thresholds_of(prepared, labels, proba)
    noted = run.record.thresholds if run.record.decision == decision_key(prepared) else thresholds
    if thresholds and (not noted or (noted.values, noted.per_fold) != (thresholds.values, thresholds.per_fold)):
        raise LeakFound(f"{run.name}: run.json says other thresholds than those that the other folds' oof rows choose")
    proba = decide_oof(prepared, proba, thresholds)
    cv, error = score_with_error(metric, labels, proba, prepared.scored_groups)
    if _differ(np.array([cv, error]), np.array([run.record.cv, run.record.se])):
        raise LeakFound(
            f"{run.name}: run.json says CV {run.record.cv:.6f} ± {run.record.se:.6f} ({run.record.metric}), "
            f"its oof gives {cv:.6f} ± {error:.6f} ({metric.name})"
        )


def _metric_of(prepared: Prepared, run: Result) -> Metric | None:
    """Return the metric that a run was scored in; None for one that gives other numbers today."""
    today = prepared.metric
    if run.folder.name == IMPORTED or run.record.metric_key == today.key:
        return today
    try:
        metric = find_metric(run.record.metric).for_classes(describe_classes(prepared.competition, prepared.classes))
    except InputError:  # what a user's file held then is not known any more
        return None
    return metric if metric.key == run.record.metric_key else None


def _verify_test_mean(prepared: Prepared, run: Result) -> None:
    """The test predictions must be the mean of all the folds' models, not one fold's; a refit's, its predictions."""
    if run.record.refit:
        again, origin = run.fold_predictions(EVERYTHING, "test"), "what the model that was fitted on everything says"
    else:
        again = mean_predictions([run.fold_predictions(fold, "test") for fold in prepared.scored])
        origin = f"the mean of what the {len(prepared.scored)} folds' models say"
    if _differ(run.predictions("test").at(again.ids).proba, again.proba):
        raise LeakFound(f"{run.name}: test.parquet is not {origin}")


def _verify_settled(prepared: Prepared, run: Result) -> None:
    """A swept setting of a fold must be what the other folds choose, and the fold's oof must be made with it."""
    if not (chosen := run.record.chosen):
        return
    sweeps = {fold: _read_sweep(prepared, run, fold) for fold in prepared.scored}
    best = choose_per_fold(prepared, chosen["values"], sweeps, chosen["default"])
    for fold, value in best.items():
        where = f"{run.name} fold {fold}: {chosen['name']}"
        settled = read_settled(run.folder, fold)
        for noted in (settled, chosen["per_fold"].get(str(fold))):
            if noted != value:
                raise LeakFound(f"{where} is {noted}, but the other folds' oof rows choose {value}")
        oof = run.fold_predictions(fold, "oof").at(ids_of(prepared.held_out(fold))).proba
        if value not in chosen["values"]:
            continue
        swept = sweeps[fold][chosen["values"].index(value)]
        swept = swept if prepared.hierarchy is None else prepared.hierarchy.make_consistent(swept)
        if _differ(oof, swept, REFIT_TOLERANCE):
            raise LeakFound(f"{where} is {value}, but its oof is not what the model says with that")


def _read_sweep(prepared: Prepared, run: Result, fold: int) -> Proba:
    """Return a fold's probabilities at every value, (n_values, n_images, n_classes)."""
    path = fold_folder(run.folder, fold) / "sweep.npy"
    if not path.exists():
        raise LeakFound(f"{run.name} fold {fold}: {path} is missing; on what its setting was chosen is unknown")
    sweep = read_sweep(run.folder, fold)
    wanted = (len(run.record.chosen["values"]), int((prepared.folds == fold).sum()), len(prepared.classes))
    if sweep.shape != wanted:
        raise LeakFound(f"{run.name} fold {fold}: {path} has shape {sweep.shape}, not {wanted}")
    return sweep


def _verify_ensemble(prepared: Prepared, runs: dict[tuple[str, str], _Run], run: Result) -> None:
    """The ensemble must be what its members give."""
    members: list[Result] = [runs[member] for member in run.record.members.items()]
    oof, test, _ = combine(prepared, members, prepared.competition.ensemble.method)
    for split, again in (("oof", oof), ("test", test)):
        if _differ(run.predictions(split).at(again.ids).proba, again.proba, REFIT_TOLERANCE):
            remedy = f"delete {run.folder} and {prepared.competition.command('ensemble')} makes it anew"
            cause = f"{split}.parquet is not what its members give: {some(run.record.members)}"
            raise LeakFound(f"{run.name}: {cause}; {remedy}")


def _verify_fold(prepared: Prepared, run: Result, fold: int) -> None:
    """One fold's model must not have seen the fold, by its ledger, and the oof must be what it wrote."""
    labeled, held_out = set(_read_ledger(run, fold)["labeled"]), prepared.held_out(fold)
    if seen := sorted(labeled & set(names_of(held_out))):
        raise LeakFound(f"{run.name} fold {fold}: fitted on {len(seen)} images of its own fold: {some(seen)}")
    if foreign := sorted(labeled - set(names_of(prepared.training(fold)))):
        raise LeakFound(f"{run.name} fold {fold}: fitted on images outside the training folds: {some(foreign)}")
    of_fold = run.fold_predictions(fold, "oof")
    if set(of_fold.ids) != set(ids_of(held_out)):
        raise LeakFound(f"{run.name} fold {fold}: its predictions are of other images than the fold's")
    if not np.array_equal(of_fold.proba, run.predictions("oof").at(of_fold.ids).proba):
        raise LeakFound(f"{run.name} fold {fold}: oof.parquet is not what this fold's model said")


def _verify_pseudo(prepared: Prepared, runs: dict[tuple[str, str], _Run], run: Result, fold: int) -> None:
    """Pseudo labels must be those that the models of the same fold of the run's teachers give."""
    ledger = _read_ledger(run, fold)
    for teacher in ledger["teachers"]:
        if teacher["fold"] != fold:
            raise LeakFound(
                f"{run.name} fold {fold}: pseudo labels from {teacher['name']}'s model of fold {teacher['fold']}, "
                f"which was fitted on images of fold {fold}"
            )
    named = {teacher["name"]: teacher["key"] for teacher in ledger["teachers"]}
    if named != run.record.teachers:
        apart = sorted({name for name, _ in named.items() ^ run.record.teachers.items()})
        raise LeakFound(f"{run.name} fold {fold}: provenance.json and run.json name other teachers: {some(apart)}")
    written = list(zip(ledger["pseudo"]["ids"], ledger["pseudo"]["codes"], strict=True))
    given = _choose_again(prepared, [runs[teacher] for teacher in run.record.teachers.items()], run, fold)
    if written != given:
        names = sorted({name for name, _ in set(written) ^ set(given)})
        raise LeakFound(
            f"{run.name} fold {fold}: {len(names)} pseudo labels are not what the teachers' models of this fold give: "
            f"{some(names)}"
        )


def _choose_again(prepared: Prepared, teachers: list[_Run], run: Result, fold: int) -> list[tuple[str, int]]:
    """Return the pseudo labels that the teachers' models of a fold give: names and class codes."""
    if not teachers:
        return []
    plan = PseudoPlan.model_validate(run.record.pseudo)
    chosen = choose_for_fold(prepared, run.name, plan, run.record.use_test_images, teachers, fold)
    return list(zip(chosen.ids, chosen.codes.tolist(), strict=True))


def _read_ledger(run: Result, fold: int) -> dict[str, Any]:
    """Return what a fold's model was fitted on, as it wrote it itself."""
    ledger = read_provenance(run.folder, fold)
    if ledger is None:
        path = fold_folder(run.folder, fold) / "provenance.json"
        cause = "is not as it was written" if path.exists() else "is missing"
        raise LeakFound(f"{run.name} fold {fold}: {path} {cause}; what it saw is unknown; {remedy_for(path)}")
    return ledger


def _differ(ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Return whether any value is farther away than the tolerance; what is not a number is."""
    return not (np.abs(ours - theirs) <= tolerance).all()
