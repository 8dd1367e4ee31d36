"""The ensemble: what each member weighs, and what would be lost without it."""

from __future__ import annotations

from kit.core.names import ENSEMBLE
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Measured, Plot, Section, Series, SortableTable
from kit.runs.ensemble import describe_idle, leave_one_out, members_of
from kit.runs.store import Result

MOST_MEMBERS = 8  # left out one by one, the heaviest: each costs a nested fit


def build(evidence: Evidence) -> Section | None:
    """Return weights, temperatures and the paired difference that each member makes."""
    combined = next((result for result in evidence.results if result.name == ENSEMBLE), None)
    if combined is None or len(combined.record.weights) < 2:
        return None
    record = combined.record
    names = sorted(record.weights, key=lambda name: -record.weights[name])
    weights = Plot(
        "ensemble-weights",
        "Weights of the members",
        "weight",
        "",
        _explain(combined),
        series=[Series("weight", names, [record.weights[name] for name in names], kind="bars")],
        upright=True,
    )
    lost = leave_one_out(evidence.prepared, members_of(evidence.prepared), names[:MOST_MEMBERS])
    rows = [
        [
            name,
            Measured(record.weights[name]),
            Measured(record.temperatures[name], digits=2),
            Measured(*lost.get(name, (None, None)), 4),
        ]
        for name in names
    ]
    metric = evidence.prepared.competition.facts.metric
    table = SortableTable(
        "Members",
        ["member", "weight", "temperature", f"{metric} lost without it ± SE"],
        rows,
        "Lost without it: the ensemble refitted on the others, both nested, paired on the same images; negative where "
        "the ensemble is better without it. "
        + (f"Measured for the {MOST_MEMBERS} heaviest." if len(names) > MOST_MEMBERS else ""),
    )
    return Section("ensemble", "Ensemble", [weights, table])


def _explain(combined: Result) -> str:
    """Say where the weights come from, and why members have none."""
    start = "The weights begin with the best few; the labelled images move them from there, as far as they tell. "
    idle = [f"{line[0].upper()}{line[1:]}." for line in describe_idle(combined)]
    return " ".join([(start if combined.record.prior else "").strip(), *idle]).strip()
