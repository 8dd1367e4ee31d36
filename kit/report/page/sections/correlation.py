"""How far apart the classes lie before and after fine-tuning, where `correlation` has measured it."""

from __future__ import annotations

import numpy as np

from kit.report.page.evidence import Evidence, read_left
from kit.report.page.parts import Heatmap, Part, Section, SortableTable


def build(evidence: Evidence) -> Section | None:
    """Return two maps and the pairs that moved most for every run that was measured."""
    parts: list[Part] = []
    for result in evidence.drawn:
        measured = read_left(result.folder / "correlation.json", "classes", "before", "after", "moved")
        if not measured:
            continue
        for when in ("before", "after"):
            parts.append(
                Heatmap(
                    f"correlation-{result.name}-{when}",
                    f"{result.name}: distance of class features {when} fine-tuning",
                    caption="Euclidean, features of unit length, each image by the fold that held it out.",
                    row_names=evidence.spell(measured["classes"]),
                    column_names=evidence.spell(measured["classes"]),
                    values=np.array(measured[when], dtype=float),
                )
            )
        rows = [
            [
                " and ".join(evidence.spell(pair["classes"])),
                pair["before"],
                pair["after"],
                pair["after"] - pair["before"],
            ]
            for pair in measured["moved"]
        ]
        rows = [[name, *(round(value, 3) for value in values)] for name, *values in rows]
        parts.append(
            SortableTable(f"{result.name}: pairs that moved most", ["classes", "before", "after", "change"], rows)
        )
    return Section("correlation", "Class correlation", parts) if parts else None
