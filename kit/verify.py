"""Verify: re-derive what every finished run claims; a leak is named.

Reads everything under ``runs/NAME`` that the leaderboard would show; writes nothing. Re-derived are: that the fold file
keeps groups together, that no fold's model was fitted on the fold's own images, that pseudo labels are those which the
teachers' models *of the same fold* give, that oof covers every scored image once with what that fold's model said, and
that class and row order are the competition's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kit.competition import ENSEMBLE, PseudoPlan
from kit.errors import LeakFound, some
from kit.files import read_json
from kit.images import Images
from kit.predictions import read_predictions
from kit.prepare import Prepared
from kit.pseudo import choose_pseudo_labels
from kit.runs import IMPORTED, Result, fold_folder, pool_predictions, result_at


def verify(prepared: Prepared, results: Sequence[Result]) -> list[str]:
    """Return one sentence for every check that held.

    Raises
    ------
    LeakFound
        Naming the run, the fold and the images, at the first check that did not hold.
    """
    said = [_verify_groups(prepared)]
    for result in results:
        _verify_coverage(prepared, result)
        if result.folder.name == IMPORTED:
            said.append(f"{result.name}: imported; its oof covers every scored image once (its training is unknown)")
        elif result.name == ENSEMBLE:
            said.append(f"{result.name}: oof covers every scored image once")
        else:
            for fold in prepared.scored:
                _verify_fold(prepared, result, fold)
            said.append(f"{result.name}: {len(prepared.scored)} folds, none fitted on its own images")
    return said


def _verify_groups(prepared: Prepared) -> str:
    """Groups - given ones and near-duplicates - must not straddle folds."""
    groups = prepared.pool.groups[prepared.labeled]
    order = np.lexsort((prepared.folds, groups))
    straddle = (groups[order][1:] == groups[order][:-1]) & (prepared.folds[order][1:] != prepared.folds[order][:-1])
    if straddle.any():
        rows = order[np.flatnonzero(straddle)]
        raise LeakFound(f"folds: groups straddle folds, for example {some(prepared.pool.ids[prepared.labeled[rows]])}")
    return f"folds: {len(prepared.folds)} labelled images, no group straddles"


def _verify_coverage(prepared: Prepared, result: Result) -> None:
    """The oof must cover every scored image once, the classes must be the competition's."""
    oof = result.predictions("oof")
    wanted = set(prepared.pool.ids[prepared.labeled[prepared.scored_rows]])
    if oof.classes != prepared.classes:
        raise LeakFound(f"{result.name}: class order is {some(oof.classes)}, not the competition's")
    if set(oof.ids) != wanted:
        raise LeakFound(f"{result.name}: oof does not cover the scored images: {some(set(oof.ids) ^ wanted)} differ")


def _verify_fold(prepared: Prepared, result: Result, fold: int) -> None:
    """One fold's model must not have seen the fold."""
    mine = fold_folder(result.folder, fold)
    ledger = read_json(mine / "provenance.json")
    if ledger is None:
        raise LeakFound(f"{result.name} fold {fold}: {mine / 'provenance.json'} is missing; what it saw is unknown")
    held_out = prepared.held_out(fold)
    if seen := sorted(set(ledger["labeled"]) & set(held_out.ids)):
        raise LeakFound(f"{result.name} fold {fold}: fitted on {len(seen)} images of its own fold: {some(seen)}")
    if foreign := sorted(set(ledger["labeled"]) - set(prepared.training(fold).ids)):
        raise LeakFound(f"{result.name} fold {fold}: fitted on images outside the training folds: {some(foreign)}")
    _verify_fold_oof(result, fold, held_out)
    if result.facts.get("pseudo"):
        _verify_pseudo(prepared, result, fold, ledger)


def _verify_fold_oof(result: Result, fold: int, held_out: Images) -> None:
    """What the oof says of a fold must be what that fold's own model said."""
    own = read_predictions(fold_folder(result.folder, fold) / "oof.parquet")
    if set(own.ids) != set(held_out.ids):
        raise LeakFound(f"{result.name} fold {fold}: its predictions are of other images than the fold's")
    if not np.array_equal(own.proba, result.predictions("oof").at(own.ids).proba):
        raise LeakFound(f"{result.name} fold {fold}: oof.parquet is not what this fold's model said")


def _verify_pseudo(prepared: Prepared, result: Result, fold: int, ledger: dict) -> None:
    """Pseudo labels must be those that the teachers' models of the same fold give."""
    for teacher in ledger.get("teachers", []):
        if teacher["fold"] != fold:
            raise LeakFound(
                f"{result.name} fold {fold}: pseudo labels from {teacher['name']}'s model of fold {teacher['fold']}, "
                f"which was fitted on images of fold {fold}"
            )
    teachers = [result_at(prepared, teacher["name"], teacher["key"]) for teacher in ledger["teachers"]]
    for teacher in teachers:
        _verify_fold(prepared, teacher, fold)
    said = [pool_predictions(teacher, fold, result.facts["use_test_images"]) for teacher in teachers]
    chosen = choose_pseudo_labels(said, PseudoPlan.model_validate(result.facts["pseudo"]))
    pseudo = ledger["pseudo"]
    if list(chosen.ids) != pseudo["ids"] or chosen.codes.tolist() != pseudo["codes"]:
        apart = set(zip(chosen.ids, chosen.codes.tolist(), strict=True)) ^ set(
            zip(pseudo["ids"], pseudo["codes"], strict=True)
        )
        raise LeakFound(
            f"{result.name} fold {fold}: {len(apart)} pseudo labels are not what the teachers' models of this fold "
            f"give: {some(sorted(image_id for image_id, _ in apart))}"
        )
