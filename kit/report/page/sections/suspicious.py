"""The labels that are most likely wrong, where `triage` has laid them out."""

from __future__ import annotations

import csv
from itertools import islice

from kit.core.names import PROGRAM
from kit.curate.triage import find_sheets, is_of_today, triage_folder
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Part, Picture, Section, SortableTable, Text

SHOWN = 20  # rows of the ranked labels
COLUMNS = ("id", "given", "suggested", "probability", "quality", "confident_learning", "duplicate")
TITLES = {"labels": "Most suspicious labels", "outliers": "Images like no other"}


def build(evidence: Evidence) -> Section | None:
    """Return the first of the ranked labels, the contact sheets and the command that made them; none of old labels."""
    folder = triage_folder(evidence.prepared)
    if not (folder / "labels.csv").is_file():
        return None
    name = evidence.prepared.competition.name
    if not is_of_today(evidence.prepared):
        command = evidence.prepared.competition.command("triage")
        told = f"Those that were laid out are of earlier labels or folds. {command} judges today's."
        return Section("suspicious", "Suspicious labels", [Text(told, "note")])
    with open(folder / "labels.csv", encoding="utf-8", newline="") as file:
        rows = [[row.get(column) or "" for column in COLUMNS] for row in islice(csv.DictReader(file), SHOWN)]
    titles = [column.replace("_", " ") for column in COLUMNS]
    caption = f"All of them are in {folder.name}/labels.csv. Nothing was edited."
    parts: list[Part] = [
        Text(
            f"By {PROGRAM} triage {name}. To measure what leaving some out is worth: {PROGRAM} triage {name} --exclude "
            "FILE.",
            "note",
        ),
        SortableTable("The first of all labels, by suspicion", titles, rows, caption),
    ]
    parts += [Picture(TITLES.get(sheet.stem, sheet.stem), str(sheet)) for sheet in find_sheets(evidence.prepared)]
    return Section("suspicious", "Suspicious labels", parts)
