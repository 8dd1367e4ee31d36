"""A finished run on the disk: its folder, its run.json, what every fold was fitted on.

Reads and writes ``runs/NAME/RUN/KEY/run.json``, and reads what lies beside it; appends to the history (ledger.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kit.config.competition import Run
from kit.core.errors import InputError
from kit.core.files import read_json, read_object, write_json
from kit.core.names import ENSEMBLE, base_of, round_of
from kit.data.prepared import Prepared
from kit.runs.store.ledger import note_finished, read_chain
from kit.scoring.predictions import Predictions, read_predictions

IMPORTED = "imported"
NEXT = ".run.json.next"  # a run.json that is about to take its place
REFIT = "refit"  # the folder of the model that was fitted on every label
EVERYTHING = 10_000  # its number in place of a fold's: no image is in that fold, so all are in its training
OF_ENSEMBLE = {"members", "weights", "temperatures", "prior"}


class Thresholds(BaseModel):
    """Hold the thresholds of a run with several labels per image.

    Parameters
    ----------
    values
        One per class, for new images: chosen on all oof rows.
    gain, gain_se
        What they add to the score over one half, and one standard error; None where the user gave them.
    per_fold
        By block of oof rows, one per class: those that the other blocks chose.
    nested
        By what the other blocks chose them: ``"pairs"``, models that did not see the fold either, or ``"folds"``, oof.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    values: list[float]
    gain: float | None
    gain_se: float | None
    per_fold: dict[str, list[float]]
    nested: str = "folds"


class RunRecord(BaseModel):
    """Hold what run.json says of a finished run; what only some runs have is empty in the others.

    Parameters
    ----------
    cv, se, interval
        The score of the oof in `metric`, one standard error, and the ends of the 95 % interval.
    left_out
        Classes of which the metric says nothing.
    decision, thresholds
        The key of how several labels per image are decided for, and the thresholds; None where an image has one.
    seconds
        Of training; None for an import.
    images_key
        The images that an import is of.
    features
        The hash of the features that it read, by encoder; empty where it read none from the cache.
    folds
        Of an import: whether its folds are the ``"same"``, ``"other"`` or ``"unknown"``.
    n_other_labels
        Of an import: how many of its images its file labels otherwise than we do.
    settings
        The run's table as competition.toml and ``--set`` had it; empty where an earlier kit wrote the file.
    log
        The hash of the newest line of the ledger before this run's.
    machine
        Where it was made: the host, its cores and the devices in use.
    weights, temperatures, prior, members
        Of an ensemble, by member; `members` holds their keys, `prior` the weights before the labelled images spoke.
    copies
        Of an ensemble: members that have the predictions of another one, and which that is.
    pseudo, pseudo_choice
        The keys of ``pseudo``, and which labels were chosen in the mean of the folds ("diary" on the disk).
    teachers
        Their keys, by name.
    chosen
        The swept setting of every fold, and the scores that chose it.
    pairs
        Whether a model was fitted without every two folds.
    sent
        What the CV lacks to be that of what is sent: see `kit.runs.store.sent`.
    nested
        How what was chosen on the scored images was chosen for each fold: by ``"pairs"``, models that did not see the
        fold, or by ``"folds"``, the other folds' oof, whose models did. None where nothing was.
    optimistic
        Prompt lists that were written after a score was seen.
    rounds
        Of a run with rounds of pseudo labels: how many were ``kept``, by all scored images and ``per_fold`` by the
        other folds', each one's difference ``against_base``, the run without pseudo labels, and one standard error, the
        ``chances`` that what is sent of it is better, and why they ``end``, None while they do not.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", validate_by_name=True, protected_namespaces=())

    cv: float
    se: float
    interval: list[float] | None = None
    metric: str
    metric_key: str | None = None
    left_out: list[str] = []
    decision: str | None = None
    thresholds: Thresholds | None = None
    name: str = ""
    classes: list[str] = []
    fold_key: str
    pool_key: str | None = None
    versions: dict[str, str] = {}
    kit: str = ""
    commit: str = ""
    machine: str = ""
    log: str = ""
    made: str = ""
    weights: dict[str, float] = {}
    temperatures: dict[str, float] = {}
    prior: dict[str, float] = {}
    copies: dict[str, str] = {}
    members: dict[str, str] = {}
    key: str
    model: str
    options: dict[str, Any] = {}
    pseudo: dict[str, Any] | None = None
    pseudo_choice: dict[str, Any] | None = Field(None, alias="diary")
    teachers: dict[str, str]
    use_test_images: bool = False
    refit: bool = False
    exclude: dict[str, Any] | None = None
    chosen: dict[str, Any] = {}
    optimistic: list[str] = []
    rounds: dict[str, Any] = {}
    pairs: bool = False
    sent: dict[str, Any] = {}
    nested: str | None = None
    seconds: float | None = None
    images_key: str | None = None
    features: dict[str, str] = {}
    settings: dict[str, Any] = {}
    folds: str | None = None
    n_other_labels: int = 0

    @property
    def sources(self) -> dict[str, str]:
        """Return the keys of the teachers and members, by name."""
        return self.teachers | self.members

    @property
    def document(self) -> dict[str, Any]:
        """Return what run.json holds."""
        return self.model_dump(by_alias=True, exclude_unset=True)


@dataclass(frozen=True)
class Result:
    """Point to a finished run: its name, its folder and the content of its run.json."""

    name: str
    folder: Path
    record: RunRecord

    @property
    def base(self) -> str:
        """Return the name of the run in competition.toml, of which this may be a round."""
        return base_of(self.name)

    @property
    def round(self) -> int | None:
        """Return the number of the round, from 1; None of a run without rounds."""
        return round_of(self.name)

    @property
    def predicts_test(self) -> bool:
        """Return whether there are test predictions: an import may lack them."""
        return self.folder.name != IMPORTED or (self.folder / "test.parquet").exists()

    def predictions(self, split: str) -> Predictions:
        """Read the run's ``"oof"``, ``"test"`` or ``"unlabeled"`` predictions; InputError of an import without."""
        if split == "test" and not self.predicts_test:
            raise InputError(f"{self.name}: imported without test predictions; import it again with --test FILE")
        return read_predictions(self.folder / f"{split}.parquet")

    def fold_predictions(self, fold: int, split: str) -> Predictions:
        """Read the predictions of one fold's model."""
        return read_predictions(fold_folder(self.folder, fold) / f"{split}.parquet")

    def with_record(self, **changes: Any) -> Result:
        """Return the run with other values in its record; nothing is written."""
        return replace(self, record=RunRecord.model_validate(self.record.document | changes))


def fold_folder(folder: Path, fold: int) -> Path:
    """Return the folder of one fold of a run, or of its refit on everything."""
    return folder / (REFIT if fold == EVERYTHING else f"fold_{fold}")


def read_record(folder: Path) -> RunRecord | None:
    """Return a run's run.json; None where there is none, or it is not as the kit writes it: the run is not finished."""
    try:
        record = RunRecord.model_validate(read_json(folder / "run.json"))
    except ValidationError:
        return None
    return record if folder.parent.name != ENSEMBLE or record.model_fields_set >= OF_ENSEMBLE else None


def read_result(name: str, folder: Path) -> Result | None:
    """Return the run that lies in a folder; None where it is not finished."""
    record = read_record(folder)
    return Result(name, folder, record) if record else None


def read_provenance(folder: Path, fold: int) -> dict[str, Any] | None:
    """Return what one fold's model was fitted on; None where that is not there, or not as the kit writes it."""
    ledger = read_object(fold_folder(folder, fold) / "provenance.json", "labeled", "pseudo", "teachers", "diary")
    kinds = {"labeled": list, "pseudo": dict, "teachers": list}
    if ledger is None or not all(isinstance(ledger[name], kind) for name, kind in kinds.items()):
        return None
    return ledger if {"ids", "codes"} <= ledger["pseudo"].keys() else None


def write_result(name: str, folder: Path, document: dict[str, Any]) -> Result:
    """Write run.json, last of a run's files, after its line of the history: with it the run is finished."""
    home, prepared = folder.parents[1], folder / NEXT
    try:
        write_json(prepared, {**document, "log": read_chain(home).newest})
        result = Result(name, folder, RunRecord.model_validate(read_json(prepared)))  # as read later
        note_finished(home, result.record.document | {"name": name}, prepared)
        os.replace(prepared, folder / "run.json")
    finally:
        prepared.unlink(missing_ok=True)
    return result


def run_folder(prepared: Prepared, run: Run, key: str) -> Path:
    """Return where a run of this key lies."""
    return prepared.competition.workspace.runs(prepared.competition.name) / run.name / key
