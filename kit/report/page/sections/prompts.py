"""Prompt lists compared, with the confusions that they change."""

from __future__ import annotations

from collections.abc import Sequence

from kit.curate.words import Confusion, EncoderScores, compare_prompts
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Fold, Measured, Part, Section, SortableTable, Text
from kit.runs.store.build import build_model

MOST_CONFUSIONS = 5


def build(evidence: Evidence) -> Section | None:
    """Return a table per encoder whose finished runs read words; a list's score is thereby looked at."""
    prepared = evidence.prepared
    runs = prepared.competition.runs
    encoders = dict.fromkeys(
        result.record.options["encoder"]
        for result in evidence.results
        if result.record.options
        and (run := runs.get(result.name))
        and build_model(prepared.competition, run).prompt_lists
    )
    parts: list[Part] = []
    for encoder in encoders:
        for scores in compare_prompts(prepared, encoder).encoders:
            parts += _draw(scores, prepared.competition.facts.metric)
    return Section("prompts", "Prompt lists", parts) if parts else None


def _draw(scores: EncoderScores, metric: str) -> Sequence[Part]:
    rows = []
    for scored in scores.lists:
        against = scored.against_names
        rows.append(
            [
                scored.name,
                len(scored.templates),
                sum(map(len, scored.words.values())),
                Measured(scored.score, scored.se),
                Measured(against.value, against.se) if against else "",
                Measured(scored.log_loss),
                _name(scored.resolves),
                _name(scored.causes),
            ]
        )
    table = SortableTable(
        f"Zero-shot {metric} of every list with {scores.encoder}",
        ["list", "templates", "words", f"{metric} ± SE", "against names ± SE", "log-loss", "resolves", "causes"],
        rows,
        "On all labelled images, nothing fitted. To take the best list by this table is a choice on these images; a "
        "run with several lists chooses per fold.",
    )
    snippets = [
        Fold(f"Words to edit in {scored.name}", [Text(scored.snippet, "code")])
        for scored in scores.lists
        if scored.snippet
    ]
    return [table, *snippets]


def _name(confusions: Sequence[Confusion]) -> str:
    """Name the most frequent confusions."""
    return "; ".join(f"{pair.true} as {pair.predicted} ({pair.n})" for pair in confusions[:MOST_CONFUSIONS])
