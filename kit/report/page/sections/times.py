"""Where the time went."""

from __future__ import annotations

from kit.core.stopwatch import read_times
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Part, Plot, Section, Series, SortableTable


def build(evidence: Evidence) -> Section | None:
    """Return seconds per run, and per stage of the last call that did any work."""
    taken = {result.name: result.record.seconds for result in evidence.results if result.record.seconds}
    if not taken:
        return None
    names = sorted(taken, key=lambda name: -taken[name])
    series = [Series("seconds", names, [taken[name] for name in names], kind="bars")]
    parts: list[Part] = [
        Plot(
            "seconds",
            "Seconds per run, all folds",
            "seconds",
            "",
            "Encoding is a stage of its own.",
            series=series,
            upright=True,
        )
    ]
    competition = evidence.prepared.competition
    if stages := read_times(competition.workspace.runs(competition.name)):
        caption = "When each stage last did any work; what is there already takes no time."
        parts.append(
            SortableTable(
                "Seconds per stage",
                ["stage", "seconds"],
                [[name, seconds] for name, seconds in stages.items()],
                caption,
            )
        )
    return Section("times", "Time", parts)
