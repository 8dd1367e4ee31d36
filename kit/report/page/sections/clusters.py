"""Clusters against classes: what k-means alone would tell apart."""

from __future__ import annotations

import numpy as np

from kit.core.tensors import read_tensors
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Heatmap, Part, Section
from kit.runs.fit.fold import WEIGHTS_FILE
from kit.runs.store import Result, fold_folder

COUNTS = "counts."
MOST_CLUSTERS = 150


def build(evidence: Evidence) -> Section | None:
    """Return, for the runs of the model `clusters`, how the first fold's labels fall into its clusters."""
    parts: list[Part] = []
    for result in evidence.ordered:
        if result.record.model == "clusters" and (drawn := _draw(evidence, result)) is not None:
            parts.append(drawn)
    return Section("clusters", "Clusters against classes", parts) if parts else None


def _draw(evidence: Evidence, result: Result) -> Heatmap | None:
    fold = evidence.prepared.scored[0]
    tensors = read_tensors(fold_folder(result.folder, fold) / WEIGHTS_FILE)
    counts = [value for name, value in tensors.items() if name.startswith(COUNTS)]
    if not counts or min(map(len, counts)) > MOST_CLUSTERS:
        return None
    few = min(counts, key=len)  # (n_clusters, n_classes)
    ordered = few[np.lexsort((-few.max(axis=1), few.argmax(axis=1)))]
    purity = float(few.max(axis=1).sum() / max(few.sum(), 1))
    return Heatmap(
        f"clusters-{result.name}",
        f"{result.name}: training labels per cluster, fold {fold}",
        "class",
        "cluster",
        f"Purity {purity:.2f}: the share of labels that are their cluster's most frequent class.",
        row_names=[f"cluster {i}" for i in range(len(ordered))],
        column_names=evidence.spell(evidence.prepared.classes),
        values=ordered,
        shares=True,
    )
