"""The record of pseudo labels: what each round was taught, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kit.report.page.evidence import Evidence
from kit.report.page.parts import Heatmap, Measured, Part, Plot, Section, Series, Table
from kit.runs.pseudo.rounds import describe_end, finished_rounds
from kit.runs.store import Result
from kit.scoring.metrics import per_class


def build(evidence: Evidence) -> Section | None:
    """Return the rounds of every run with pseudo labels, dropped ones too."""
    parts: list[Part] = []
    for name, run in evidence.prepared.competition.runs.items():
        if run.pseudo is None or not any(result.record.pseudo and result.base == name for result in evidence.results):
            continue
        made = finished_rounds(evidence.prepared, name)
        if made:
            parts += _draw(evidence, name, made)
    return Section("rounds", "Pseudo labels, round by round", parts) if parts else None


def _draw(evidence: Evidence, name: str, made: Sequence[Result]) -> Iterator[Part]:
    yield _table(evidence, name, made)
    taught = [result for result in made if result.record.pseudo_choice["n_chosen"]]
    if taught:
        classes = list(taught[0].record.pseudo_choice["per_class"])
        yield Heatmap(
            f"picked-{name}",
            f"{name}: images picked per class",
            "round",
            "class",
            "Mean over the folds.",
            row_names=classes,
            column_names=[str(result.round) for result in taught],
            values=[[result.record.pseudo_choice["per_class"][own] for result in taught] for own in classes],
        )
    worst = [_worst(evidence, result) for result in made]
    rounds = [str(result.round) for result in made]
    yield Plot(
        f"worst-recall-{name}",
        f"{name}: recall of each round's worst class",
        "round",
        "recall",
        "On oof: where plain pseudo labels starve the hard classes, this falls.",
        series=[Series("worst class", rounds, [own[0] for own in worst], [own[1] for own in worst])],
    )


def _table(evidence: Evidence, name: str, made: Sequence[Result]) -> Table:
    columns = [
        "round",
        f"{evidence.prepared.competition.data.score_name} ± SE",
        "picked",
        "keep rate",
        "picked again",
        "same label",
        "contradicted",
        "largest / smallest",
        "truly right",
    ]
    rows = []
    for result in made:
        choice, record = result.record.pseudo_choice, result.record
        before = choice["before"] or {}
        precision = next((row.pseudo_precision for row in evidence.board if row.run == result.name), None)
        rows.append(
            [
                result.name,
                Measured(record.cv, record.se),
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
    title = f"{name}: {describe_end(evidence.prepared, name) or 'one round'}"
    return Table(title, [columns[i] for i in known], [[row[i] for i in known] for row in rows], "Means over the folds.")


def _worst(evidence: Evidence, result: Result) -> tuple[float | None, float | None]:
    """Return the recall of the worst class and its standard error."""
    prepared = evidence.prepared
    scores = per_class(evidence.labels, evidence.oof(result), prepared.classes, prepared.scored_groups)
    known = [own for own in scores if own.recall is not None]
    worst = min(known, key=lambda own: own.recall)
    return worst.recall, worst.recall_se
