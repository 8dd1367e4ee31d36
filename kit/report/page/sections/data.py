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
from kit.data.table.listing import list_unnamed
from kit.features.altered.telling import KINDS, list_straddling, recall_copies
from kit.models.balance import Balance, sizes_before_and_after
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Fold, Gallery, Part, Plot, Section, Series, SortableTable, Text, Tile
from kit.runs.store import settings_of

MOST_ROWS = 200
MOST_PAIRS = 24  # of altered copies that are shown


def build(evidence: Evidence) -> Section:
    """Return what the audit found; the files were measured when the competition was made ready."""
    facts = _audit(evidence)
    counts = ", ".join(f"{n:,} {split}" for split, n in facts.splits.items())
    parts: list[Part] = [Text(f"{len(facts.classes)} classes; images: {counts}.")]
    if facts.probe:
        parts.append(Text(f"{facts.probe.verdict[0].upper()}{facts.probe.verdict[1:]}."))
    parts.append(_classes(evidence, facts))
    parts += _balances(evidence)
    parts.append(_findings(facts))
    parts += _copies(evidence)
    for title, clusters in (
        ("Labelled and test images that are alike", facts.across),
        ("Near-duplicates with different labels", facts.contradictions),
        ("Near-duplicates", facts.near),
        ("Equal files", facts.exact),
    ):
        if clusters:
            parts.append(_list_clusters(title, clusters))
    if facts.broken:
        rows = [[image["id"], image["split"], image["label"], image["problem"]] for image in facts.broken[:MOST_ROWS]]
        parts.append(
            Fold(f"Broken files ({len(facts.broken)})", [SortableTable("", ["id", "split", "label", "problem"], rows)])
        )
    return Section("data", "Data", parts)


def _audit(evidence: Evidence) -> Audit:
    """Return what the audit found when the competition was made ready, and whether test looks like train.

    Only labelled and test images are read for that.
    """
    prepared = evidence.prepared
    competition, facts, pool = prepared.competition, prepared.findings, prepared.pool
    if facts is None:
        return audit(competition, read_table(competition))
    rows = np.flatnonzero(pool.splits != "unlabeled")
    table = pd.DataFrame({"path": pool.paths[rows], "split": pool.splits[rows], "label": None})
    probe = ask_probe(table, audit_files(table, pool.cache), pool.cache, pool.groups[rows])
    named = [*(prepared.originals.get(path, path) for path in pool.paths), *(image["path"] for image in facts.broken)]
    return replace(facts, unnamed=list_unnamed(competition, named), probe=probe)


def _classes(evidence: Evidence, facts: Audit) -> Plot:
    names = sorted(facts.classes, key=lambda name: -facts.classes[name])
    series = [Series("images", evidence.spell(names), [facts.classes[name] for name in names], kind="bars")]
    return Plot("classes", "Labelled images per class", "images", "", series=series, upright=True)


def _balances(evidence: Evidence) -> Iterator[Plot]:
    """Draw how much each class counts before and after the runs' weights or resampling, each way of it once."""
    prepared, drawn = evidence.prepared, set()
    for result in evidence.ordered:
        model = evidence.model(result)
        if not isinstance(model, Balance):
            continue
        run = settings_of(prepared, result)
        before, after = sizes_before_and_after(prepared.pool.select(prepared.labeled, prepared.labels), model, run.seed)
        key = (model.balance, *after.tolist())
        if key in drawn or np.array_equal(before, after):  # logit adjustment leaves the images as they are
            continue
        drawn.add(key)
        order = np.argsort(-before, kind="stable")
        names = evidence.spell([prepared.classes[i] for i in order])
        sides = {"before": before, "after": after}
        yield Plot(
            f"balance-{result.name}",
            f"{result.name}: how much each class counts before and after balance = {model.balance}",
            "images, by weight",
            "",
            "Of all labelled images; a run does it in its training folds alone.",
            series=[Series(name, names, counts[order].tolist(), kind="bars") for name, counts in sides.items()],
            upright=True,
        )


def _findings(facts: Audit) -> SortableTable:
    rows: list[list[Any]] = [
        ["cannot be read, left out", len(facts.broken)],
        ["no row of any CSV names it", len(facts.unnamed)],
        ["clusters of equal files", len(facts.exact)],
        ["clusters of near-duplicates", len(facts.near)],
        ["clusters of labelled and test images", len(facts.across)],
        ["clusters with different labels", len(facts.contradictions)],
        *([remark, n] for remark, n in facts.remarks.items()),
    ]
    return SortableTable("What the audit found", ["finding", "number"], rows)


def _copies(evidence: Evidence) -> Iterator[Part]:
    """Show altered copies of labelled images side by side, where an encoder's features are there to find them by."""
    prepared = evidence.prepared
    copies = recall_copies(prepared)
    if copies is None:
        command = prepared.competition.command("check")
        yield Text(f"Altered copies ({KINDS}) were not looked for: {command} does, where there are features.", "note")
    if not copies:
        return
    straddling, tiles = list_straddling(prepared, copies), []
    for copy in copies[:MOST_PAIRS]:
        is_bad = copy in straddling
        for row, line in ((copy.first, "different folds" if is_bad else ""), (copy.second, copy.change)):
            name = f"{prepared.pool.splits[row]} {prepared.pool.ids[row]}"
            tiles.append(Tile(str(prepared.pool.paths[row]), [name, line], "bad" if is_bad else "plain"))
    caption = (
        f"Two images in turn are one picture; the first {min(len(copies), MOST_PAIRS)} of {len(copies)} pairs, "
        f"{len(straddling)} of all in different folds. Found by features, confirmed on pixels."
    )
    yield Gallery("Altered copies of labelled images", tiles, caption)


def _list_clusters(title: str, clusters: Sequence[Sequence[dict[str, Any]]]) -> Fold:
    rows = [
        [
            ", ".join(f"{image['split']}/{image['id']}" for image in cluster),
            ", ".join(sorted({image["label"] or "" for image in cluster} - {""})),
        ]
        for cluster in clusters[:MOST_ROWS]
    ]
    return Fold(f"{title} ({len(clusters)})", [SortableTable("", ["images", "labels"], rows)])
