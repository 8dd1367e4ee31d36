"""Rounds: pseudo labels of one run and fold, from the same fold's teachers, and why the rounds ended.

Reads the teachers' predictions of the pool and the last round's ``provenance.json``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kit.config.competition import Run
from kit.config.runs import PseudoPlan
from kit.core.errors import DamagedFile
from kit.core.files import remedy_for
from kit.core.names import base_of, round_of
from kit.data.prepared import Prepared
from kit.runs.pseudo import PseudoLabels, choose_pseudo_labels
from kit.runs.pseudo.record import Record, average_records, list_remarks
from kit.runs.store.find import DROPPED, pool_predictions, teachers_of, walk_rounds
from kit.runs.store.result import Result, fold_folder, read_provenance
from kit.runs.store.score import compare_runs


def choose_for_fold(
    prepared: Prepared, name: str, plan: PseudoPlan, use_test_images: bool, teachers: Sequence[Result], fold: int
) -> PseudoLabels:
    """Choose the pseudo labels of one fold of a round, ``RUN.N``, by the teachers' models of this fold."""
    predictions = [pool_predictions(teacher, fold, use_test_images) for teacher in teachers]
    labeled, pool = prepared.training(fold), prepared.unlabeled(fold, use_test_images)
    return choose_pseudo_labels(predictions, plan, labeled, pool, _last_choice(name, teachers, fold))


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
    """Return whether a round would be taught nothing in any fold: it is the run without pseudo labels then."""
    plan, teachers = run.pseudo, teachers_of(prepared, run)
    if plan is None:
        return False
    chosen = (choose_for_fold(prepared, run.name, plan, run.use_test_images, teachers, k) for k in prepared.scored)
    return not any(len(labels.ids) for labels in chosen)


def average_choice(prepared: Prepared, folder: Path) -> Record | None:
    """Return the record of a round's choice in the mean of its folds, None for a run without pseudo labels."""
    records = [_read_provenance(folder, fold)["diary"] for fold in prepared.scored]
    return average_records(records) if records[0] else None


def finished_rounds(prepared: Prepared, name: str) -> list[Result]:
    """Return every round of a run that was made, dropped ones too; the run itself where it has no pseudo labels."""
    return [each.result for each in walk_rounds(prepared, name) if each.result is not None]


def describe_end(prepared: Prepared, name: str) -> str | None:
    """Say how many rounds of a run were kept and why they ended; None for a run that asks for none or one."""
    asked = prepared.competition.runs[name].pseudo if name in prepared.competition.runs else None
    if asked is None or asked.rounds == 1:
        return None
    for number, each in enumerate(walk_rounds(prepared, name), start=1):
        if each.result is None:
            is_empty = each.before is not None and picks_nothing(prepared, each.run)
            return f"round {number} skipped: nothing passes" if is_empty else f"round {number} is not made yet"
        if each.verdict == DROPPED and each.before is not None:
            difference, error = compare_runs(prepared, each.result, each.before)
            return f"round {number} dropped: {difference:+.3f} ± {error:.3f} against round {number - 1}"
    return f"all {asked.rounds} rounds kept"


def remarks_on_choice(result: Result) -> list[str]:
    """Return what a user must know of a round's pseudo labels, one sentence each."""
    choice, plan = result.record.pseudo_choice, result.record.pseudo
    return [f"{result.name}: {remark}" for remark in list_remarks(choice, plan)] if choice and plan else []
