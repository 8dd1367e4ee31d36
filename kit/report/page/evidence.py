"""What the report knows: a competition's finished runs, read from the disk once.

Nothing is trained or encoded here, and the solution stays with the leaderboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kit.core.errors import InputError
from kit.core.files import read_object, remedy_for
from kit.core.names import ENSEMBLE
from kit.core.shapes import Groups, Labels, Proba, Rows
from kit.data.class_names import read_class_names
from kit.data.prepared import Prepared
from kit.kaggle.submission import read_ledger
from kit.models import MODELS
from kit.models.model import Model
from kit.report.board import Row, leaderboard
from kit.runs.decide.decisions import decided_test
from kit.runs.store import Result, decided_rows, oof_rows, settings_of
from kit.runs.store.build import build_model
from kit.runs.train import find_better
from kit.scoring.predictions import Predictions

MOST_RUNS = 12  # whose pictures are drawn; the tables hold all


@dataclass
class Evidence:
    """Hold what sections are made of: finished runs, the ensemble among them, and why others could not be made."""

    prepared: Prepared
    results: Sequence[Result]
    skipped: dict[str, str] = field(default_factory=dict)

    @cached_property
    def words(self) -> dict[str, str]:
        """Return what the classes' codes mean, by ``[data] names``; nothing where it names no file."""
        competition = self.prepared.competition
        return read_class_names(competition.root, competition.data.names) if competition.data.names else {}

    def spell(self, names: Sequence[str]) -> list[str]:
        """Return classes as the report shows them: a code with its words behind it."""
        return [f"{name} {self.words[name]}" if self.words.get(name, name) != name else name for name in names]

    @cached_property
    def board(self) -> list[Row]:
        """Return the leaderboard's rows, best CV first."""
        return leaderboard(self.prepared, self.results, self.skipped)

    @cached_property
    def ordered(self) -> list[Result]:
        """Return the runs in the leaderboard's order."""
        by_name = {result.name: result for result in self.results}
        return [by_name[row.run] for row in self.board if row.run in by_name]

    @property
    def drawn(self) -> list[Result]:
        """Return the runs whose pictures are drawn: the ensemble, then the best."""
        first = [result for result in self.ordered if result.name == ENSEMBLE]
        return [*first, *(result for result in self.ordered if result.name != ENSEMBLE)][:MOST_RUNS]

    @cached_property
    def headline(self) -> Result:
        """Return what is to be sent: the ensemble, or the best run where there is none or that one is surely better."""
        first = self.drawn[0]
        return (find_better(self.prepared, self.ordered, first) if first.name == ENSEMBLE else None) or first

    @cached_property
    def ledger(self) -> list[dict[str, str]]:
        """Return what was written for submission, and what came of it."""
        return read_ledger(self.prepared.competition)

    @cached_property
    def labels(self) -> Labels:
        """Return the labels of the scored images, in their order."""
        return self.prepared.labels[self.prepared.scored_rows]

    @cached_property
    def folds(self) -> Groups:
        """Return the folds of the scored images (n_images,)."""
        return self.prepared.folds[self.prepared.scored_rows]

    @cached_property
    def scored(self) -> Rows:
        """Return the positions of the scored images in the pool (n_images,)."""
        return self.prepared.labeled[self.prepared.scored_rows]

    def row(self, name: str) -> Row:
        """Return a run's line of the leaderboard."""
        return next(row for row in self.board if row.run == name)

    def oof(self, result: Result) -> Proba:
        """Return a run's oof probabilities in the order of the scored images, (n_images, n_classes).

        Where an image may have several labels, one half is the threshold; `probabilities` are not shifted.
        """
        if result.name not in self._oof:
            self._oof[result.name] = decided_rows(self.prepared, result)[1]
        return self._oof[result.name]

    def probabilities(self, result: Result) -> Proba:
        """Return a run's oof probabilities as the run gave them: thresholds, one set per fold, mix up their order."""
        if self.labels.ndim == 1:
            return self.oof(result)
        return oof_rows(self.prepared, result.predictions("oof"))[1]

    @cached_property
    def _oof(self) -> dict[str, Proba]:
        return {}

    @cached_property
    def decided(self) -> Predictions:
        """Return the headline's test predictions as they are sent: thresholds and none of these applied."""
        return decided_test(self.prepared, self.headline)

    def model(self, result: Result) -> Model | None:
        """Return the model of a run as its settings build it; None for an import, and for the ensemble."""
        if result.record.model not in MODELS:
            return None
        return build_model(self.prepared.competition, settings_of(self.prepared, result))


def read_left(path: Path, *keys: str) -> dict[str, Any] | None:
    """Return the JSON file that a run left, or None where it left none.

    Raises
    ------
    InputError
        When the file is not as it was written; without it the report does without.
    """
    left = read_object(path, *keys)
    if left is None and path.exists():
        raise InputError(f"{path}: not as it was written; delete it, or {remedy_for(path)}")
    return left
