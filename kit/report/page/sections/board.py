"""The leaderboard, sortable, and every run's CV with its standard error."""

from __future__ import annotations

from kit.report.board import SAME, describe_nesting, shorten_encoder
from kit.report.board.levels import LevelScore, score_levels
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Measured, Part, Plot, Section, Series, SortableTable, Text

COLUMNS = (
    "run",
    "CV ± SE",
    "95 %",
    "against best",
    "local ± SE",
    "public",
    "private",
    "model",
    "encoder",
    "uses test",
    "s",
    "remarks",
)


def build(evidence: Evidence) -> Section:
    """Return the table and the chart."""
    metric, score = evidence.prepared.competition.facts.metric, evidence.prepared.competition.data.score_name
    rows, scored = [], [row for row in evidence.board if row.cv is not None]
    for row in evidence.board:
        against = (
            Measured(row.difference, row.difference_se) if row.difference is not None else row.verdict.partition(":")[0]
        )
        rows.append(
            [
                row.run,
                Measured(row.cv, row.se),
                f"{row.interval[0]:.3f} to {row.interval[1]:.3f}" if row.interval else "",
                "best" if row.verdict == "best" else f"{against}{' =' if row.verdict == SAME else ''}",
                Measured(row.local, row.local_se),
                row.public,
                row.private,
                row.model,
                shorten_encoder(row.encoder),
                "yes" if row.test_images_used else "",
                Measured(row.seconds, digits=0),
                "; ".join(row.remarks) or ("" if row.cv is not None else row.verdict),
            ]
        )
    kept = [i for i, name in enumerate(COLUMNS) if any(str(row[i] if row[i] is not None else "") for row in rows)]
    table = SortableTable(
        f"All runs ({metric})",
        [COLUMNS[i].replace("CV", score) for i in kept],
        [[row[i] for i in kept] for row in rows],
        "Against best: paired on the same images, positive where the run is better; = may be the best too, by a joint "
        "test of all runs at 95 %.",
    )
    names = [row.run for row in scored]
    series = [Series(score, names, [row.cv for row in scored], [row.se for row in scored], kind="points")]
    if any(row.local is not None for row in scored):
        local, errors = [row.local for row in scored], [row.local_se for row in scored]
        series.append(Series("local score", names, local, errors, kind="points"))
    chart = Plot("cv", f"{score[0].upper()}{score[1:]} and standard error", metric, "", series=series, upright=True)
    parts: list[Part] = [table, chart]
    parts += [
        Text(f"{line[0].upper()}{line[1:]}.", "note") for line in describe_nesting(evidence.prepared, evidence.board)
    ]
    if evidence.skipped:
        parts.append(Text(f"Skipped: {', '.join(evidence.skipped)}.", "note"))
    if evidence.prepared.hierarchy is not None:
        parts.append(_levels(evidence))
    return Section("leaderboard", "Leaderboard", parts)


def _levels(evidence: Evidence) -> SortableTable:
    """Give the drawn runs' scores at every level of the hierarchy."""
    scores = {result.name: score_levels(evidence.prepared, result) for result in evidence.drawn}
    levels = list(next(iter(scores.values())))
    metric = "Macro F1" if evidence.labels.ndim == 2 else "Accuracy of one path"
    rows = [[name, *(_measured(by_level[level]) for level in levels)] for name, by_level in scores.items()]
    return SortableTable(
        f"{metric} at each level of the hierarchy ± SE", ["run", *levels], rows, "On oof, the coarsest first."
    )


def _measured(score: LevelScore | None) -> Measured:
    return Measured(None) if score is None else Measured(*score)
