"""What is logged of a run: parameters, scores, learning curves and files, the same for every tracker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core.files import read_object
from kit.data.prepared import Prepared
from kit.models.training.curve import CURVES, curve_of
from kit.runs.fit.fold import TRAINING
from kit.runs.history.settings import values_then
from kit.runs.store.ledger import read_ledger
from kit.runs.store.result import Result, fold_folder


@dataclass(frozen=True)
class Logged:
    """Hold a run as it is logged.

    Parameters
    ----------
    key
        ``RUN-KEY``: names it once and for all.
    params
        Every setting, also those with their default.
    scores
        ``cv``, ``cv_se``, ``cv_low``, ``cv_high`` and ``seconds``, in the metric of the tag ``metric``.
    curves
        By ``fold_K/NAME``, values by step: means of some steps, and what was scored once an epoch.
    files
        Oof predictions, run.json, and the report.
    """

    competition: str
    name: str
    key: str
    params: dict[str, Any]
    scores: dict[str, float]
    tags: dict[str, str]
    curves: dict[str, list[tuple[int, float]]]
    files: list[Path]


def describe_logged(prepared: Prepared, result: Result, report: Path | None = None) -> Logged:
    """Return what is logged of a finished run; nothing is written."""
    record, home = result.record, prepared.competition.workspace.runs(prepared.competition.name)
    scores = {"cv": record.cv, "cv_se": record.se}
    scores |= {"cv_low": record.interval[0], "cv_high": record.interval[1]} if record.interval else {}
    scores |= {"seconds": record.seconds} if record.seconds is not None else {}
    tags = {"competition": prepared.competition.name, "run": result.name, "key": record.key, "metric": record.metric}
    tags |= {"fold_key": record.fold_key, "kit": record.kit, "commit": record.commit, "made": record.made}
    tags |= {"note": read_ledger(home).notes.get((result.name, record.key), "")}
    return Logged(
        competition=prepared.competition.name,
        name=result.name,
        key=f"{result.name}-{record.key}",
        params=values_then(record.document) | {f"weight.{name}": weight for name, weight in record.weights.items()},
        scores=scores,
        tags={name: value for name, value in tags.items() if value},
        curves=dict(_curves(prepared, result)),
        files=[result.folder / "oof.parquet", result.folder / "run.json", *([report] if report else [])],
    )


def _curves(prepared: Prepared, result: Result) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return the learning curves of a network's folds, of the first of several copies."""
    curves = []
    for fold in prepared.scored:
        left = read_object(fold_folder(result.folder, fold) / TRAINING, "copies") or {"copies": [None]}
        epochs = left["copies"][0]
        record = [each for each in epochs if "epoch" in each] if isinstance(epochs, list) else []
        told = {name: curve_of(record, name) for name in CURVES}
        curves += [(f"fold_{fold}/{name}", points) for name, points in told.items() if points]
    return curves
