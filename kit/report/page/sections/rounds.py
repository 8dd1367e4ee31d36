"""The record of pseudo labels: what each round was taught, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kit.report.page.evidence import Evidence
from kit.report.page.parts import Heatmap, Measured, Part, Plot, Section, Series, SortableTable
from kit.runs.pseudo.rounds import describe_end, finished_rounds
from kit.runs.store import Result
from kit.scoring.metrics import per_class

Round = tuple[Result, dict[str, Any]]  # and what was chosen for it


def build(evidence: Evidence) -> Section | None:
    """Return the rounds of every run with pseudo labels, dropped ones too."""
    parts: list[Part] = []
    for name, run in evidence.prepared.competition.runs.items():
        if run.pseudo is None or not any(result.record.pseudo and result.base == name for result in evidence.results):
            continue
        rounds = finished_rounds(evidence.prepared, name)
        whole = next(result for result in evidence.results if result.base == name)
        made = [(result, choice) for result in rounds if (choice := result.record.pseudo_choice)]
        if made:
            parts += _draw(evidence, whole, made)
    return Section("rounds", "Pseudo labels, round by round", parts) if parts else None


def _draw(evidence: Evidence, whole: Result, made: Sequence[Round]) -> Iterator[Part]:
    yield _table(evidence, whole, made)
    name = whole.name
    taught = [(result, choice) for result, choice in made if choice["n_chosen"]]
    if taught:
        classes = list(taught[0][1]["per_class"])
        yield Heatmap(
            f"picked-{name}",
            f"{name}: images picked per class",
            "round",
            "class",
            "Mean over the folds.",
            row_names=classes,
            column_names=[str(result.round) for result, _ in taught],
            values=np.array([[choice["per_class"][label] for _, choice in taught] for label in classes]),
        )
    worst = [_worst(evidence, result) for result, _ in made]
    rounds = [str(result.round) for result, _ in made]
    yield Plot(
        f"worst-recall-{name}",
        f"{name}: recall of each round's worst class",
        "round",
        "recall",
        "On oof: where plain pseudo labels starve the hard classes, this falls.",
        series=[Series("worst class", rounds, [recall for recall, _ in worst], [error for _, error in worst])],
    )


def _table(evidence: Evidence, whole: Result, made: Sequence[Round]) -> SortableTable:
    columns = [
        "round",
        f"{evidence.prepared.competition.data.score_name} ± SE",
        "against no pseudo labels ± SE",
        "picked",
        "keep rate",
        "picked again",
        "same label",
        "contradicted",
        "largest / smallest",
        "truly right",
    ]
    rows = []
    for result, choice in made:
        record = result.record
        before = choice["before"] or {}
        number = result.round or 1
        difference, error = next(iter(whole.record.rounds["against_base"][number - 1 : number]), (None, None))
        precision = evidence.row(whole.name).pseudo_precision if number == whole.record.rounds["kept"] else None
        rows.append(
            [
                result.name,
                Measured(record.cv, record.se),
                Measured(difference, error),
                choice["n_chosen"],
                Measured(choice["keep_rate"], digits=2),
                Measured(before.get("overlap"), digits=2),
                Measured(before.get("agreement"), digits=2),
                Measured(before.get("contradicted"), digits=2),
                Measured(choice["balance"]["max_to_min"], digits=1),
                Measured(precision, digits=2),
            ]
        )
    known = [i for i in range(len(columns)) if any(str(row[i]) for row in rows)]
    title = f"{whole.name}: {describe_end(whole)}"
    return SortableTable(
        title, [columns[i] for i in known], [[row[i] for i in known] for row in rows], "Means over the folds."
    )


def _worst(evidence: Evidence, result: Result) -> tuple[float | None, float | None]:
    """Return the recall of the worst class and its standard error."""
    prepared = evidence.prepared
    scores = per_class(evidence.labels, evidence.oof(result), prepared.classes, prepared.scored_groups)
    known = [(score.recall, score.recall_se) for score in scores if score.recall is not None]
    return min(known, key=lambda recall: recall[0])
