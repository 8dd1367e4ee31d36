"""Learning curves of networks: loss, hold-out score and mask rate over the steps of every fold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit.models.training.curve import curve_of
from kit.report.page.evidence import Evidence, read_left
from kit.report.page.parts import Fold, Part, Plot, Section, Series, Text
from kit.runs.fit.fold import TRAINING
from kit.runs.store import Result, fold_folder

TITLES = (
    ("loss", "loss of training images"),
    ("unlabeled_loss", "loss of unlabelled images"),
    ("inner_loss", "loss of the inner hold-out"),
    ("inner_accuracy", "accuracy of the inner hold-out"),
    ("mask_rate", "share of unlabelled images that taught"),
    ("lr", "learning rate"),
)


def build(evidence: Evidence) -> Section | None:
    """Return a fold of plots for every drawn run that is a network; None where there is none."""
    folds = []
    for result in evidence.drawn:
        if plots := list(_plots(evidence, result)):
            folds.append(Fold(result.name, plots, is_open=not folds))
    if not folds:
        return None
    how = "A point is the mean of some steps, the hold-out's of an epoch; of several seeds or bags the first."
    parts: list[Part] = [Text(how, "note"), *folds]
    return Section("curves", "Learning curves", parts)


def _plots(evidence: Evidence, result: Result) -> Iterator[Part]:
    """Give a plot of every curve that the run has, with a line per fold."""
    records = dict(_records(evidence, result))
    has_steps = all("step" in each for record in records.values() for each in record)
    for name, title in TITLES:
        curves = {fold: curve_of(record, name) for fold, record in records.items()}
        series = [
            Series(f"fold {fold}", [step for step, _ in points], [value for _, value in points])
            for fold, points in curves.items()
            if points
        ]
        if series:
            key, heading = f"{name.replace('_', '-')}-{result.name}", f"{result.name}: {title}"
            yield Plot(key, heading, "step" if has_steps else "epoch", name, series=series)


def _records(evidence: Evidence, result: Result) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Give what each fold's network told of its training, epoch by epoch."""
    for fold in evidence.prepared.scored:
        left = read_left(fold_folder(result.folder, fold) / TRAINING, "copies")
        record = left["copies"][0] if left else None
        if isinstance(record, list) and record and "epoch" in record[0]:
            yield fold, record
