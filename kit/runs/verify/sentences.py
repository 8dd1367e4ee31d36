"""What was checked of a run, in a sentence."""

from __future__ import annotations

from kit.core.names import ENSEMBLE
from kit.data.prepared import Prepared
from kit.runs.fit.fold import read_fitted
from kit.runs.store.result import IMPORTED
from kit.runs.verify.derivation import derives_cores
from kit.runs.verify.predictions import is_derived, is_head
from kit.runs.verify.sources import ReadRun, fitted_folds


def describe_checks(prepared: Prepared, run: ReadRun, with_weights: bool) -> str:
    """Say what was checked of a run."""
    if run.folder.name == IMPORTED:
        return (
            f"{run.name}: imported; its oof covers every scored image once and gives its CV (its training is unknown)"
        )
    if run.name == ENSEMBLE:
        return f"{run.name}: oof and test are what its {len(run.record.members)} members give, the CV is the oof's"
    fitted = "by their ledgers fitted on all training images and none of its own"
    held = f"{run.name}: {len(prepared.scored)} folds, {fitted}; oof, test and CV are theirs"
    held += _describe_derived(prepared, run) if with_weights else ""
    held += _describe_files(prepared, run)
    chosen = f"; {run.record.chosen['name']} chosen on the other folds{_apart(run)}" if run.record.chosen else ""
    refit = "; its test predictions are a refit's on everything, whose CV is not measured"
    taught = "; pseudo labels from the same folds' models" if run.record.pseudo else ""
    if not run.record.rounds and not derives_cores(prepared, run):
        taught += ", their classes alone: another machine, device or library made the features of the cores"
    taught += "; how many rounds are kept is chosen on the other folds" if run.record.rounds else ""
    if (exclude := run.record.exclude) and exclude["n_images"]:
        held += f"; {exclude['n_images']} images left out of training by {exclude['file']}, whose choice nothing checks"
    return held + chosen + taught + (refit if run.record.refit else "")


def _describe_derived(prepared: Prepared, run: ReadRun) -> str:
    """Say whether the predictions were derived again, or why those of a head were not."""
    if is_derived(prepared, run):
        return ", derived again from kept weights"
    elsewhere = ", not derived again: another machine, device or library made its features"
    return elsewhere if is_head(prepared, run.settings) else ""


def _apart(run: ReadRun) -> str:
    """Say who chose, where models did that did not see the fold either."""
    return " by models that saw neither" if run.record.pairs else ""


def _describe_files(prepared: Prepared, run: ReadRun) -> str:
    """Say whether the folds' files could be told from edited ones."""
    if all("sha256" in (read_fitted(run.folder, fold) or {}) for fold in fitted_folds(prepared, run)):
        return ", their files as they were written"
    return "; an earlier kit wrote their files without SHA-256, so edits would not show"
