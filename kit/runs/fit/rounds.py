"""Rounds of pseudo labels: made one after the other, measured against round 0, put together as one run.

Writes the rounds as runs of their own, ``runs/NAME/RUN.0/``, ``RUN.1/``, ..., and ``runs/NAME/RUN/KEY/`` with, for each
fold, the files of the round that the other folds chose: its CV is measured on images that did not choose how many
rounds are kept. Files are linked where the disk can, so that a fold's weights lie there once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit.config.competition import Run
from kit.core.terminal import note, stage
from kit.data.prepared import Prepared
from kit.runs.pseudo.rounds import ALL, DROPPED, EMPTY, picks_nothing
from kit.runs.store.find import (
    PREDICTED_SPLITS,
    find_run,
    find_settled,
    rounds_of,
    run_key,
    settled_key,
    teachers_of,
)
from kit.runs.store.pairs import BY_FOLDS
from kit.runs.store.result import EVERYTHING, Result, fold_folder, run_folder, write_result
from kit.runs.store.rounds import Choice, choose_rounds
from kit.runs.store.score import describe_run
from kit.runs.store.sent import describe_sent
from kit.scoring.predictions import concatenate, mean_predictions, read_predictions, write_predictions

NOT_LINKED = ("checkpoint*", "*correlation*", "decisions*", "roc*")  # unfinished, or drawn of another run


def settle_rounds(prepared: Prepared, run: Run, make: Callable[[Prepared, Run], Result]) -> Result:
    """Return a run of rounds, made as far as they are kept by anybody; `make` fits one round."""
    found = find_settled(prepared, run)
    if found is not None and found.record.rounds["end"] is not None:
        return found
    made, end, rounds = [], ALL, list(rounds_of(run))

    def choose() -> Choice:
        return choose_rounds(prepared, made, teachers_of(prepared, rounds[1]))

    for each in rounds:
        if (result := find_run(prepared, each)) is None:
            if made and picks_nothing(prepared, each):
                note(f"{each.name}: no pseudo label passes in any fold: skipped, rounds end")
                end = EMPTY
                break
            result = adopt_twin(prepared, each) or make(prepared, each)
        made.append(result)
        if len(made) == 1:
            continue
        choice = choose()
        if choice.is_over:
            (difference, error), chance = choice.against_base[-1], choice.chances[-1]
            note(
                f"{each.name}: {difference:+.4f} +- {error:.4f} against {made[0].name}, a gain of what is sent with a "
                f"probability of {chance:.2f}: dropped, rounds end"
            )
            end = DROPPED
            break
        found = _replace(found, _put_together(prepared, run, made, choice, None))  # what a time limit leaves counts
    result = _replace(found, _put_together(prepared, run, made, choose(), end))
    _tell(prepared, result)
    return result


def _replace(found: Result | None, result: Result) -> Result:
    """Return a run of more rounds, the one of fewer removed."""
    if found is not None and found.folder != result.folder:
        (found.folder / "run.json").unlink()
        shutil.rmtree(found.folder)
    return result


def _tell(prepared: Prepared, result: Result) -> None:
    """Say the run's score, and how many rounds it has."""
    record, rounds = result.record, result.record.rounds
    score = f"{prepared.competition.data.score_name} {record.cv:.4f} +- {record.se:.4f}"
    stage("train", f"{result.name}: {score}, {rounds['kept']} of {len(rounds['against_base'])} rounds kept")


def adopt_twin(prepared: Prepared, run: Run) -> Result | None:
    """Return round 0 as a copy of a finished run of the same settings; None where there is none, and of others."""
    if run.pseudo is not None:
        return None
    key = run_key(prepared, run)
    folder = run_folder(prepared, run, key)
    for other in prepared.competition.runs.values():
        if other.pseudo is None and run_folder(prepared, other, key).exists() and (twin := find_run(prepared, other)):
            _link(twin.folder, folder)
            write_result(run.name, folder, twin.record.document | {"name": run.name})
            note(f"{run.name}: the settings of {other.name}, whose predictions it has")
            return find_run(prepared, run)
    return None


def _put_together(prepared: Prepared, run: Run, made: list[Result], choice: Choice, end: str | None) -> Result:
    """Write the run of the chosen rounds: fold by fold, then oof, test and unlabeled, then run.json."""
    folder = run_folder(prepared, run, key := settled_key(prepared, run, made))
    kept = made[choice.kept]
    for fold, number in choice.per_fold.items():
        _link(fold_folder(made[number].folder, fold), fold_folder(folder, fold))
    if run.refit:
        _link(fold_folder(kept.folder, EVERYTHING), fold_folder(folder, EVERYTHING))
    parts = {
        split: [read_predictions(fold_folder(folder, fold) / f"{split}.parquet") for fold in prepared.scored]
        for split in PREDICTED_SPLITS
    }
    oof = concatenate(parts["oof"])
    write_predictions(folder / "oof.parquet", oof)
    for split in ("test", "unlabeled"):
        whole = kept.predictions(split) if run.refit else mean_predictions(parts[split])
        write_predictions(folder / f"{split}.parquet", whole)
    document = kept.record.document | describe_run(prepared, run.name, oof) | {
        "key": key,
        "pseudo": run.pseudo.model_dump() if run.pseudo else None,
        "settings": run.table,
        "diary": next((result.record.pseudo_choice for result in reversed(made) if result.record.pseudo), None),
        "teachers": {result.name: result.record.key for result in made},
        "chosen": _chosen(made, choice),
        "pairs": False,
        "sent": describe_sent(prepared, oof, read_predictions(folder / "test.parquet"), None),
        "nested": BY_FOLDS,
        "optimistic": sorted({name for result in made for name in result.record.optimistic}),
        "seconds": round(sum(result.record.seconds or 0 for result in made), 1),
        "rounds": {
            "kept": choice.kept,
            "per_fold": {str(fold): number for fold, number in choice.per_fold.items()},
            "against_base": [list(pair) for pair in choice.against_base],
            "chances": [round(chance, 4) for chance in choice.chances],
            "end": end,
        },
    }  # fmt: skip
    return write_result(run.name, folder, document)


def _chosen(made: list[Result], choice: Choice) -> dict[str, Any]:
    """Return the swept setting of the kept round, that of every fold being its round's."""
    chosen = made[choice.kept].record.chosen
    if not chosen:
        return {}
    per_fold = {
        str(fold): made[number].record.chosen["per_fold"][str(fold)] for fold, number in choice.per_fold.items()
    }
    return chosen | {"per_fold": per_fold}


def _link(source: Path, target: Path) -> None:
    """Let a folder hold the files of another one, below it too; copied where the disk cannot link."""

    def link(file: str, to: str) -> None:
        Path(to).unlink(missing_ok=True)
        try:
            os.link(file, to)
        except OSError:
            shutil.copy2(file, to)

    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_LINKED))
