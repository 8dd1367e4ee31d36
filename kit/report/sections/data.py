"""The files: images per class, what cannot be read, what is there twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kit.check import Audit, audit
from kit.report.evidence import Evidence
from kit.report.parts import Fold, Part, Plot, Section, Series, Table, Text
from kit.table import read_table

MOST_ROWS = 200


def build(evidence: Evidence) -> Section:
    """Return what the audit found; the files were measured when the competition was made ready."""
    competition = evidence.prepared.competition
    found = audit(competition, read_table(competition))
    counts = ", ".join(f"{n:,} {split}" for split, n in found.splits.items())
    parts: list[Part] = [Text(f"{len(found.classes)} classes; images: {counts}. {found.probe.verdict}")]
    parts.append(_classes(found))
    parts.append(_findings(found))
    for title, clusters in (
        ("Labelled and test images that are alike", found.across),
        ("Near-duplicates with different labels", found.contradictions),
        ("Near-duplicates", found.near),
        ("Equal files", found.exact),
    ):
        if clusters:
            parts.append(_list_clusters(title, clusters))
    if found.broken:
        rows = [[image["id"], image["split"], image["label"], image["problem"]] for image in found.broken[:MOST_ROWS]]
        parts.append(
            Fold(f"Broken files ({len(found.broken)})", [Table("", ["id", "split", "label", "problem"], rows)])
        )
    return Section("data", "Data", parts)


def _classes(found: Audit) -> Plot:
    names = sorted(found.classes, key=lambda name: -found.classes[name])
    series = [Series("images", names, [found.classes[name] for name in names], kind="bars")]
    return Plot("classes", "Labelled images per class", "images", "", series=series, upright=True)


def _findings(found: Audit) -> Table:
    rows: list[list[Any]] = [
        ["cannot be read, left out", len(found.broken)],
        ["no row of any CSV names it", len(found.unnamed)],
        ["clusters of equal files", len(found.exact)],
        ["clusters of near-duplicates", len(found.near)],
        ["clusters of labelled and test images", len(found.across)],
        ["clusters with different labels", len(found.contradictions)],
        *([remark, n] for remark, n in found.remarks.items()),
    ]
    return Table("What the audit found", ["finding", "number"], rows)


def _list_clusters(title: str, clusters: Sequence[Sequence[dict[str, Any]]]) -> Fold:
    rows = [
        [
            ", ".join(f"{image['split']}/{image['id']}" for image in own),
            ", ".join(sorted({image["label"] or "" for image in own} - {""})),
        ]
        for own in clusters[:MOST_ROWS]
    ]
    return Fold(f"{title} ({len(clusters)})", [Table("", ["images", "labels"], rows)])
