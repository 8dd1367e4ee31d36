"""Rounds: pseudo labels of one run and fold, from the same fold's teachers, and why the rounds ended.

Reads the teachers' predictions of the pool and the last round's ``provenance.json``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.config.runs import PseudoPlan
from kit.core.errors import DamagedFile
from kit.core.files import remedy_for
from kit.core.names import base_of, round_of
from kit.core.terminal import count, warn
from kit.data.prepared import Prepared
from kit.runs.ensemble import weigh
from kit.runs.pseudo import PseudoLabels, choose_pseudo_labels
from kit.runs.pseudo.record import Record, average_records, list_remarks
from kit.runs.store.find import made_rounds, pool_predictions, teachers_of
from kit.runs.store.result import Result, fold_folder, read_provenance
from kit.scoring.mixing import PROBA_FLOOR, apply_temperature
from kit.scoring.predictions import Predictions

LEAST_SAY = 0.05  # weight of a teacher below which it has none
ALL, DROPPED, EMPTY = "all", "dropped", "empty"  # why rounds end


def choose_for_fold(
    prepared: Prepared, name: str, plan: PseudoPlan, use_test_images: bool, teachers: Sequence[Result], fold: int
) -> PseudoLabels:
    """Choose the pseudo labels of one fold of a round, ``RUN.N``, by the teachers' models of this fold.

    Several teachers are mixed as an ensemble of them is: temperatures and weights are chosen on the other folds' oof
    rows, and one of hardly any weight has no say, also none in whether all agree.
    """
    mixture = weigh(prepared, teachers, fold)
    weights = np.where(mixture.weights < LEAST_SAY, 0, mixture.weights)
    predictions = []
    for teacher, temperature, weight in zip(teachers, mixture.temperatures, weights, strict=True):
        if weight > 0:
            given = pool_predictions(teacher, fold, use_test_images)
            predictions.append(given if temperature == 1 else _at_temperature(given, temperature))
    labeled, pool = prepared.training(fold), prepared.unlabeled(fold, use_test_images)
    before = _last_choice(name, teachers, fold)
    chosen = choose_pseudo_labels(predictions, plan, labeled, pool, before, weights[weights > 0].tolist())
    names, shares = [teacher.name for teacher in teachers], (weights / weights.sum()).round(4).tolist()
    return replace(chosen, record=chosen.record | {"teachers": dict(zip(names, shares, strict=True))})


def _at_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Return predictions that are as sure as a temperature makes them."""
    log_proba = np.log(np.maximum(predictions.proba.astype(np.float64), PROBA_FLOOR))
    return replace(predictions, proba=apply_temperature(log_proba, temperature).astype(np.float32))


def _last_choice(name: str, teachers: Sequence[Result], fold: int) -> dict[str, int] | None:
    """Return what the round before this one was taught in a fold, class code by name; None in the first."""
    before = [teacher for teacher in teachers if teacher.name == f"{base_of(name)}.{(round_of(name) or 0) - 1}"]
    if not before:
        return None
    pseudo = _read_provenance(before[0].folder, fold)["pseudo"]
    return dict(zip(pseudo["ids"], pseudo["codes"], strict=True))


def _read_provenance(folder: Path, fold: int) -> dict[str, Any]:
    """Return what one fold's model of a round was fitted on."""
    if (ledger := read_provenance(folder, fold)) is None:
        file = fold_folder(folder, fold) / "provenance.json"
        raise DamagedFile(f"{file}: missing, or not as it was written; {remedy_for(file)}")
    return ledger


def picks_nothing(prepared: Prepared, run: Run) -> bool:
    """Return whether a round would be taught nothing in any fold: it is the run without pseudo labels then.

    Of the first round a warning says why.
    """
    plan, teachers = run.pseudo, teachers_of(prepared, run)
    if plan is None:
        return False
    chosen = [choose_for_fold(prepared, run.name, plan, run.use_test_images, teachers, k) for k in prepared.scored]
    if any(len(labels.ids) for labels in chosen):
        return False
    if round_of(run.name) == 1:
        for remark in list_remarks(average_records([labels.record for labels in chosen]), plan.model_dump()):
            warn(f"{run.name}: {remark}")
    return True


def average_choice(prepared: Prepared, folder: Path) -> Record | None:
    """Return the record of a round's choice in the mean of its folds, None for a run without pseudo labels."""
    records = [_read_provenance(folder, fold)["diary"] for fold in prepared.scored]
    return average_records(records) if records[0] else None


def finished_rounds(prepared: Prepared, name: str) -> list[Result]:
    """Return every round of a run that was made, dropped ones too; the run itself where it has no pseudo labels."""
    return made_rounds(prepared, prepared.competition.run(name))


def describe_end(result: Result) -> str | None:
    """Say how many rounds of a run were kept, how they compare with none, and why they ended; None of other runs."""
    rounds = result.record.rounds
    if not rounds:
        return None
    asked, against, kept = result.record.pseudo or {}, rounds["against_base"], rounds["kept"]
    whole = f"all {asked['rounds']} rounds" if asked["rounds"] > 1 else "its round"
    sentences = [f"{whole if kept == asked['rounds'] else count(kept, 'round')} kept"]
    if kept:
        sentences[0] += f", {_against(against[kept - 1])}"
    if rounds["end"] == EMPTY:
        sentences.append(f"round {len(against) + 1} skipped: nothing passes")
    elif kept < len(against):
        sentences.append(f"round {kept + 1} dropped: {_against(against[kept])}{_chance(rounds, kept)}")
    elif rounds["end"] is None:
        sentences.append(f"round {len(against) + 1} is not made yet")
    if len(set(rounds["per_fold"].values()) | {kept}) > 1:
        sentences.append(f"the other folds choose {', '.join(map(str, rounds['per_fold'].values()))}")
    return "; ".join(sentences)


def _against(pair: Sequence[float]) -> str:
    """Spell the difference to the run without pseudo labels."""
    return f"{pair[0]:+.3f} ± {pair[1]:.3f} against no pseudo labels"


def _chance(rounds: dict[str, Any], number: int) -> str:
    """Spell the probability that a round gains; nothing of a run that an earlier kit made."""
    chances = rounds.get("chances", [])
    return f", a gain of what is sent with a probability of {chances[number]:.2f}" if number < len(chances) else ""


def remarks_on_choice(result: Result) -> list[str]:
    """Return what a user must know of a round's pseudo labels, one sentence each."""
    choice, plan = result.record.pseudo_choice, result.record.pseudo
    return [f"{result.name}: {remark}" for remark in list_remarks(choice, plan)] if choice and plan else []
