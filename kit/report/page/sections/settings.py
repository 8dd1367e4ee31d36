"""What was chosen nested: WiSE-FT's alpha over its curve, and every other swept setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from kit.report.page.evidence import Evidence
from kit.report.page.parts import Part, Plot, Section, Series, SortableTable
from kit.runs.store import Result


def build(evidence: Evidence) -> Section | None:
    """Return the curves of swept numbers and the table of swept settings."""
    swept = [result for result in evidence.ordered if result.record.chosen]
    swept = [result for result in swept if len(result.record.chosen["values"]) > 1]
    if not swept:
        return None
    metric = evidence.prepared.competition.facts.metric
    curves = [_curve(result, metric) for result in swept if _is_number(result.record.chosen["values"][0])]
    others = [result for result in swept if not _is_number(result.record.chosen["values"][0])]
    parts: list[Part] = [*curves]
    if others:
        parts.append(_table(others))
    return Section("settings", "Settings chosen nested", parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _curve(result: Result, metric: str) -> Plot:
    """Draw the metric over the setting: per fold, pooled, and what each fold was given."""
    chosen = result.record.chosen
    order, per_fold = np.argsort(chosen["values"]), chosen["per_fold"]  # the preferred value stands first
    values = np.array(chosen["values"])[order].tolist()
    curves = {fold: np.array(curve)[order].tolist() for fold, curve in chosen["curve_per_fold"].items()}
    series = [Series(f"fold {fold}", values, curve, kind="dashes") for fold, curve in curves.items()]
    series.append(Series("all folds", values, np.array(chosen["curve"])[order].tolist()))
    marks = [np.interp(per_fold[fold], values, curves[fold]) for fold in per_fold]
    series.append(Series("chosen on the other folds", list(per_fold.values()), marks, kind="points"))
    return Plot(
        f"setting-{result.name}",
        f"{result.name}: {metric} over {chosen['name']}",
        chosen["name"],
        metric,
        "Each fold takes the value that is best on the other folds' oof rows; the curve itself chose nothing.",
        series=series,
    )


def _table(results: Sequence[Result]) -> SortableTable:
    rows = []
    for result in results:
        chosen = result.record.chosen
        counts: dict[str, int] = {}
        for value in chosen["per_fold"].values():
            setting = _describe(value, chosen["values"])
            counts[setting] = counts.get(setting, 0) + 1
        plain = _describe(chosen["values"][0], chosen["values"])
        for setting, n in sorted(counts.items(), key=lambda item: -item[1]):
            rows.append([result.name, len(chosen["values"]), setting + (" (plain)" if setting == plain else ""), n])
    return SortableTable(
        "Settings per fold",
        ["run", "tried", "chosen", "folds"],
        rows,
        "Only what differs between the settings tried is named. A setting must beat the plainest by more than one "
        "paired standard error on the other folds.",
    )


def _describe(value: Any, values: Sequence[Any]) -> str:
    """Name what a setting has that not all of them share."""
    if not isinstance(value, dict):
        return str(value)
    varies = [key for key in value if len({json.dumps(other.get(key), sort_keys=True) for other in values}) > 1]
    return ", ".join(f"{key} {value[key]}" for key in varies if value[key] is not None)
