"""The models of pairs of folds, derived again: their ledgers, files and sweeps, on which settings were chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.errors import LeakFound, some
from kit.core.files import read_object
from kit.data.images import names_of
from kit.data.prepared import Prepared
from kit.runs.fit.fold import find_changed_in
from kit.runs.fit.pairs import restore_pair, sweep_pair
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import leave_out
from kit.runs.store.pairs import list_pairs, merge_folds, pair_folder, read_pairs, wants_pairs
from kit.runs.store.result import IMPORTED
from kit.runs.store.sent import sent_of_run
from kit.runs.verify.sources import REFIT_TOLERANCE, TOLERANCE, ReadRun, can_derive, differ


def verify_pairs(prepared: Prepared, run: ReadRun, with_weights: bool) -> None:
    """A pair's model must be fitted on all images of the other folds alone; its sweep must be what its weights predict.

    That of the weights takes as long as the fit, and is left out where it is not asked for.
    """
    settings = run.settings
    wanted = settings is not None and wants_pairs(prepared, settings, build_model(prepared.competition, settings))
    if wanted and not run.record.pairs:
        raise LeakFound(
            f"{run.name}: run.json says that no pairs of folds were fitted, but its key is of a run that has"
        )
    if not run.record.pairs:
        return
    if read_pairs(prepared, run.folder) is None:
        raise LeakFound(
            f"{run.name}: {run.folder / 'pairs'} is not whole, on what its settings were chosen is unknown; delete "
            f"{run.folder} and train again"
        )
    for pair in list_pairs(prepared):
        _verify_ledger(prepared, run, settings, *pair)
        if changed := find_changed_in(home := pair_folder(run.folder, *pair)):
            raise LeakFound(f"{run.name} {_spell(*pair)}: {some(changed)} edited since the fit (SHA-256, {home})")
        if settings is not None and with_weights and can_derive(prepared, settings, run):
            _verify_sweep(prepared, run, settings, *pair)


def verify_sent(prepared: Prepared, run: ReadRun) -> None:
    """What is expected of what is sent must follow from oof, pairs and test predictions; of an import nothing is."""
    record = run.record
    if not is_told(prepared, run):
        return
    again: dict[str, Any] = {}
    if run.folder.name != IMPORTED:
        splits = (run.predictions(split) for split in ("oof", "test"))
        again = sent_of_run(prepared, run.folder, record.chosen, record.pairs, record.refit, *splits)
    check_sent(run, again)


def is_told(prepared: Prepared, run: ReadRun) -> bool:
    """Return whether what run.json says of what is sent is shown: it is of today's metric."""
    return run.record.sent.get("metric_key") == prepared.metric.key


def check_sent(run: ReadRun, again: dict[str, Any]) -> None:
    """What run.json says of what is sent must be what was derived `again`, in the same metric."""
    noted = run.record.sent
    for name in ("cv", "cv_se", "score", "se", "gain", "gain_se"):
        ours, theirs = noted.get(name), again.get(name)
        if ours != theirs and (ours is None or theirs is None or abs(ours - theirs) > TOLERANCE):
            raise LeakFound(f"{run.name}: run.json says that {name} of what is sent is {ours}, derived again {theirs}")
    if noted.get("shares") != again.get("shares"):
        raise LeakFound(
            f"{run.name}: run.json says that the class shares of what is sent are {noted.get('shares')}, derived again "
            f"{again.get('shares')}"
        )


def _verify_ledger(prepared: Prepared, run: ReadRun, settings: Run | None, first: int, second: int) -> None:
    """The ledger must name the images of the other folds, all of them and no other."""
    ledger = read_object(pair_folder(run.folder, first, second) / "provenance.json", "labeled", "pseudo")
    seen = set(ledger["labeled"]) | set(ledger["pseudo"]["ids"]) if ledger else set()
    merged = merge_folds(prepared, first, second)
    if inside := sorted(seen & set(names_of(merged.held_out(first)))):
        raise LeakFound(f"{run.name} {_spell(first, second)}: fitted on {len(inside)} images of them: {some(inside)}")
    training = merged.training(first)
    if settings is None and run.record.exclude:
        return  # which images an old file left out is not known
    wanted = set(names_of(training if settings is None else leave_out(prepared, settings, training)))
    if apart := sorted(seen ^ wanted):
        raise LeakFound(
            f"{run.name} {_spell(first, second)}: its ledger does not name the images of the other folds: "
            f"{len(apart)} differ: {some(apart)}"
        )


def _verify_sweep(prepared: Prepared, run: ReadRun, settings: Run, first: int, second: int) -> None:
    """The sweep must be what the kept weights predict on today's features."""
    images = merge_folds(prepared, first, second).held_out(first)
    again = sweep_pair(restore_pair(prepared, settings, run.folder, first, second), images)
    if differ(np.load(pair_folder(run.folder, first, second) / "sweep.npy"), again, REFIT_TOLERANCE):
        raise LeakFound(f"{run.name} {_spell(first, second)}: sweep.npy is not what its kept weights predict")


def _spell(first: int, second: int) -> str:
    return f"folds {first} and {second}"
