"""Decisions: which classes a run's images get in the end, and how well each class is told from the rest.

Reads a finished run; writes ``runs/NAME/RUN/KEY/decisions.json`` and ``roc.png`` where asked. With several labels per
image probabilities are shifted so that one half is every class's threshold. With one, and ``[decision] none_of_these``,
images that look like none of the classes get a class of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kit.core.files import write_json
from kit.core.terminal import empty_table, escape
from kit.data.prepared import Prepared
from kit.runs.decide.rule import Rejection, name_rejected, reject_test_images
from kit.runs.store.result import Result, Thresholds
from kit.runs.store.score import oof_rows
from kit.runs.store.thresholds import decide_oof, decide_test
from kit.scoring.predictions import Predictions
from kit.scoring.roc import RocCurve, count_confusions, describe_confusions, draw_roc_curves, roc_curves


@dataclass(frozen=True)
class Decisions:
    """Hold what is decided of a run's images.

    Parameters
    ----------
    thresholds
        As run.json has them, with several labels per image; else None.
    rejection
        Which test images show none of the classes; None where every image gets a class.
    curves
        ROC curve of every class on the out-of-fold probabilities.
    counts
        (n_classes, 2, 2) confusions of what was decided out of fold.
    """

    run: str
    classes: tuple[str, ...]
    thresholds: Thresholds | None
    rejection: Rejection | None
    curves: list[RocCurve]
    counts: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        thresholds = self.thresholds and self.thresholds.model_dump() | {
            "values": dict(zip(self.classes, self.thresholds.values, strict=True))
        }
        return {
            "run": self.run,
            "thresholds": thresholds,
            "none_of_these": self.rejection and self.rejection.as_dict(),
            "roc": [curve.as_dict() for curve in self.curves],
            "confusions": describe_confusions(self.classes, self.counts),
        }


def decided_test(prepared: Prepared, result: Result, tell: Callable[[str], None] | None = None) -> Predictions:
    """Return a run's test predictions as they are sent; `tell` is told how images that show no class were found.

    With several labels per image they are shifted so that one half is the threshold. With one and ``[decision]
    none_of_these`` they have a further class of that name, certain where an image is rejected and 0 elsewhere. A score
    that cannot be had of this run raises InputError.
    """
    test, name = result.predictions("test"), prepared.competition.decision.none_of_these
    if prepared.pool.is_multilabel:
        return decide_test(prepared, test, result.record.thresholds)
    if name is None:
        return test
    rejection = reject_test_images(prepared, result)
    if tell is not None:
        tell(rejection.sentence)
    return name_rejected(test.at(rejection.ids), name, rejection.is_rejected)


def describe_decisions(prepared: Prepared, result: Result) -> Decisions:
    """Return what is decided of a run's images; a score that cannot be had of this run raises InputError."""
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    thresholds = result.record.thresholds
    rejects = prepared.competition.decision.none_of_these is not None and not prepared.pool.is_multilabel
    return Decisions(
        run=result.name,
        classes=prepared.classes,
        thresholds=thresholds,
        rejection=reject_test_images(prepared, result) if rejects else None,
        curves=roc_curves(labels, proba, prepared.classes),
        counts=count_confusions(labels, decide_oof(prepared, proba, thresholds)),
    )


def write_decisions(decisions: Decisions, result: Result) -> Path:
    """Write decisions.json and roc.png beside a run's predictions; return the picture's path."""
    write_json(result.folder / "decisions.json", decisions.as_dict())
    path = result.folder / "roc.png"
    draw_roc_curves(decisions.curves, f"{decisions.run}: each class against the rest, out of fold", path)
    return path


def render_decisions(decisions: Decisions) -> Table:
    """Return the decisions class by class as a Rich table, and below it how they were come by."""
    table = empty_table(f"{decisions.run}, what is decided", "\n".join(_footnotes(decisions)))
    headers = ["class", "images", *(["threshold"] if decisions.thresholds else []), "AUC", "found", "missed", "wrong"]
    for header in headers:
        table.add_column(header, justify="left" if header == "class" else "right", overflow="fold")
    for code, (name, curve) in enumerate(zip(decisions.classes, decisions.curves, strict=True)):
        (_, wrong), (missed, right) = decisions.counts[code].tolist()
        threshold = [f"{decisions.thresholds.values[code]:.2f}"] if decisions.thresholds else []
        area = "none" if curve.auc is None else f"{curve.auc:.3f}"
        table.add_row(escape(name), str(missed + right), *threshold, area, str(right), str(missed), str(wrong))
    return table


def _footnotes(decisions: Decisions) -> list[str]:
    """Say how thresholds and rejections were come by, and which curves there are not."""
    notes = [curve.cause for curve in decisions.curves if curve.cause]
    if decisions.thresholds and decisions.thresholds.gain is not None:
        gain, error = decisions.thresholds.gain, decisions.thresholds.gain_se or 0.0
        taken = "they are taken" if gain > error else "not surely better: one half is kept"
        notes.append(f"thresholds gain {gain:+.4f} ± {error:.4f} over one half on folds that did not choose; {taken}")
    return [*notes, decisions.rejection.sentence] if decisions.rejection else notes
