"""Two finished runs side by side: how their settings differ, and whether a paired test tells their scores apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.core.errors import InputError
from kit.core.names import ENSEMBLE
from kit.core.shapes import Labels, Proba
from kit.data.prepared import Prepared
from kit.runs.ensemble import score_combined
from kit.runs.history.entries import Entry
from kit.runs.history.settings import Difference, differences, values_then
from kit.runs.store.result import read_result
from kit.runs.store.score import decide_anew, decided_rows, score_anew
from kit.runs.store.thresholds import read_thresholds
from kit.scoring.metrics import distinguishable, paired_difference
from kit.scoring.predictions import read_predictions


@dataclass(frozen=True)
class Comparison:
    """Hold how two runs differ.

    Parameters
    ----------
    settings
        The keys whose values differ.
    difference, se
        Of ours against theirs on the same images, in today's metric, above 0 where ours is better, and one standard
        error; None without a test.
    is_clear
        The difference is more than chance at 95 %; None without a test.
    why_not
        Why there is no test, or what must be known of it; empty where nothing must.
    """

    ours: Entry
    theirs: Entry
    settings: tuple[Difference, ...]
    difference: float | None = None
    se: float | None = None
    is_clear: bool | None = None
    why_not: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        pair = {"ours": self.ours.as_dict(), "theirs": self.theirs.as_dict()}
        test = {"difference": self.difference, "se": self.se, "is_clear": self.is_clear, "why_not": self.why_not}
        return pair | {"settings": [asdict(each) for each in self.settings]} | test


def compare(prepared: Prepared, ours: Entry, theirs: Entry) -> Comparison:
    """Compare two finished runs; the test needs both runs' oof predictions of today's scored images."""
    settings = tuple(differences(values_then(ours.line), values_then(theirs.line)))
    if ours.oof is None or theirs.oof is None:
        names = " and ".join(f"{entry.name} {entry.key}" for entry in (ours, theirs) if entry.oof is None)
        return Comparison(ours, theirs, settings, why_not=f"the oof predictions of {names} are gone")
    try:
        (labels, our_proba, our_caution), (_, their_proba, their_caution) = (
            _decide(prepared, entry, entry.oof) for entry in (ours, theirs) if entry.oof is not None
        )
    except InputError as error:
        return Comparison(ours, theirs, settings, why_not=f"they do not cover today's scored images ({error})")
    difference, se = paired_difference(prepared.metric, labels, our_proba, their_proba, prepared.scored_groups)
    differ = ours.line.get("fold_key") != theirs.line.get("fold_key")
    cautions = ["their folds or labels differ: each was fitted on other images"] if differ else []
    caution = "; ".join(each for each in [*cautions, our_caution, their_caution] if each)
    return Comparison(ours, theirs, settings, difference, se, distinguishable(difference, se), caution)


def _decide(prepared: Prepared, entry: Entry, oof: Path) -> tuple[Labels, Proba, str]:
    """Return labels, decided probabilities and what must be known of them: by the thresholds of the CV, if it has any.

    What was fitted on other folds, or whose folder is gone, has thresholds that the other folds' oof chooses today.
    """
    result = read_result(entry.name, oof.parent)
    if result is not None and result.record.fold_key == prepared.fold_key:
        scored = score_combined(prepared, result) if entry.name == ENSEMBLE else score_anew(prepared, result)
        if scored is not None:
            return *decided_rows(prepared, scored), ""
    labels, proba = decide_anew(prepared, read_predictions(oof))
    is_chosen = prepared.pool.is_multilabel and read_thresholds(prepared) is None
    place = f"{entry.name} {entry.key[:8]}"
    caution = f"the thresholds of {place} are chosen by its oof, which its CV may not have been" if is_chosen else ""
    return labels, proba, caution
