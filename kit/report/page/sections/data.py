"""The files: images per class, what cannot be read, what is there twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from kit.data.audit import Audit, ask_probe, audit
from kit.data.audit.facts import audit_files
from kit.data.table import read_table
from kit.data.table.sources import list_unnamed
from kit.models.balance import Balance, count_classes
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Fold, Part, Plot, Section, Series, Table, Text
from kit.runs.store import settings_of

MOST_ROWS = 200


def build(evidence: Evidence) -> Section:
    """Return what the audit found; the files were measured when the competition was made ready."""
    found = _audit(evidence)
    counts = ", ".join(f"{n:,} {split}" for split, n in found.splits.items())
    parts: list[Part] = [Text(f"{len(found.classes)} classes; images: {counts}.")]
    if found.probe:
        parts.append(Text(f"{found.probe.verdict[0].upper()}{found.probe.verdict[1:]}."))
    parts.append(_classes(found))
    parts += _balances(evidence)
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


def _audit(evidence: Evidence) -> Audit:
    """Return what the audit found when the competition was made ready, and whether test looks like train.

    Only labelled and test images are read for that.
    """
    prepared = evidence.prepared
    competition, found, pool = prepared.competition, prepared.findings, prepared.pool
    if found is None:
        return audit(competition, read_table(competition))
    rows = np.flatnonzero(pool.splits != "unlabeled")
    table = pd.DataFrame({"path": pool.paths[rows], "split": pool.splits[rows], "label": None})
    probe = ask_probe(table, audit_files(table, pool.cache), pool.cache)
    named = [*pool.paths, *(image["path"] for image in found.broken)]
    return replace(found, unnamed=list_unnamed(competition, named), probe=probe)


def _classes(found: Audit) -> Plot:
    names = sorted(found.classes, key=lambda name: -found.classes[name])
    series = [Series("images", names, [found.classes[name] for name in names], kind="bars")]
    return Plot("classes", "Labelled images per class", "images", "", series=series, upright=True)


def _balances(evidence: Evidence) -> Iterator[Plot]:
    """Draw how much each class counts before and after the runs' weights or resampling, each way of it once."""
    prepared, drawn = evidence.prepared, set()
    for result in evidence.ordered:
        model = evidence.model(result)
        if not isinstance(model, Balance):
            continue
        run = settings_of(prepared, result)
        before, after = count_classes(prepared.pool.select(prepared.labeled, prepared.labels), model, run.seed)
        key = (model.balance, *after.tolist())
        if key in drawn or np.array_equal(before, after):  # logit adjustment leaves the images as they are
            continue
        drawn.add(key)
        order = np.argsort(-before, kind="stable")
        names = [prepared.classes[i] for i in order]
        sides = {"before": before, "after": after}
        yield Plot(
            f"balance-{result.name}",
            f"{result.name}: how much each class counts before and after balance = {model.balance}",
            "images, by weight",
            "",
            "Of all labelled images; a run does it in its training folds alone.",
            series=[Series(name, names, own[order].tolist(), kind="bars") for name, own in sides.items()],
            upright=True,
        )


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
