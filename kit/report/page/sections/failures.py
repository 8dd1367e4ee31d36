"""What did not help: the tried and dropped, so that nobody tries it again."""

from __future__ import annotations

from collections.abc import Iterator

from kit.core.names import ENSEMBLE, base_of
from kit.report.board.rows import BEST, SAME
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Section, SortableTable

NO_WEIGHT = 0.005  # of a member: what rounds to nothing


def build(evidence: Evidence) -> Section | None:
    """Return one row per thing that cost time and gave no points."""
    rows = [*_runs(evidence), *_rounds(evidence), *_settings(evidence), *_members(evidence)]
    if not rows:
        return None
    return Section("failures", "What did not help", [SortableTable("", ["what", "how it is known"], rows)])


def _runs(evidence: Evidence) -> Iterator[list[str]]:
    best = evidence.board[0].run
    for row in evidence.board:
        if row.difference is None or row.difference_se is None:
            continue
        if row.verdict not in (BEST, SAME):
            yield [f"run {row.run}", f"{row.difference:+.3f} ± {row.difference_se:.3f} against {best}, paired"]


def _rounds(evidence: Evidence) -> Iterator[list[str]]:
    for row in evidence.board:
        for remark in row.remarks:
            if "dropped" in remark or "skipped" in remark:
                yield [f"more rounds of {base_of(row.run)}", remark]


def _settings(evidence: Evidence) -> Iterator[list[str]]:
    for result in evidence.ordered:
        chosen = result.record.chosen
        if chosen and len(chosen["values"]) > 1:
            plain = sum(value == chosen["values"][0] for value in chosen["per_fold"].values())
            if plain == len(chosen["per_fold"]):
                yield [
                    f"the settings swept in {result.name}",
                    f"all {plain} folds kept the plainest of {len(chosen['values'])}",
                ]


def _members(evidence: Evidence) -> Iterator[list[str]]:
    combined = next((result for result in evidence.results if result.name == ENSEMBLE), None)
    weights = combined.record.weights if combined else {}
    if none := [name for name, weight in weights.items() if weight < NO_WEIGHT]:
        yield [f"in the ensemble: {', '.join(none)}", "learned weights of zero"]
