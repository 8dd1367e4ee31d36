"""A finished run on the disk: its folder, its run.json, what every fold was fitted on.

Reads and writes ``runs/NAME/RUN/KEY/run.json``, and reads what lies beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.config.competition import Run
from kit.core.files import read_json, read_object, write_json
from kit.core.names import ENSEMBLE
from kit.data.prepared import Prepared
from kit.scoring.predictions import Predictions, read_predictions

IMPORTED = "imported"
REFIT = "refit"  # the folder of the model that was fitted on every label
EVERYTHING = 10_000  # its number in place of a fold's: no image is in that fold, so all are in its training
NUMBER = int | float
FACTS = {"key": str, "model": str, "fold_key": str, "metric": str, "cv": NUMBER, "se": NUMBER, "teachers": dict}
ENSEMBLE_FACTS = {"members": dict, "weights": dict, "temperatures": dict, "shrinkage": NUMBER}


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


def write_result(name: str, folder: Path, facts: dict[str, Any]) -> Result:
    """Write run.json, last of a run's files: with it the run is finished."""
    write_json(folder / "run.json", facts)
    return Result(name, folder, read_json(folder / "run.json"))  # as every later call will read it


def run_folder(prepared: Prepared, run: Run, key: str) -> Path:
    """Return where a run of this key lies."""
    return prepared.competition.workspace.runs(prepared.competition.name) / run.name / key
