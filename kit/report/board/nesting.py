"""What is not nested to the letter: chosen for a fold by the oof of models that had learned from its labels."""

from __future__ import annotations

from collections.abc import Sequence

from kit.data.prepared import Prepared
from kit.report.board.rows import Row
from kit.runs.store.pairs import BY_FOLDS


def describe_nesting(prepared: Prepared, rows: Sequence[Row]) -> list[str]:
    """Say of which runs something was chosen by models that had seen the scored fold, and what is known of that.

    Nothing where of none; what `bench noise` found to flatter by more than one standard error has a remark of its own.
    """
    seen = [row for row in rows if row.nested == BY_FOLDS]
    unknown = [row.run for row in seen if row.flattered is None]
    small = [row.run for row in seen if row.flattered is not None and row.flattered <= (row.flattered_se or 0.0)]
    chosen = "chosen for each fold on the other folds' oof, whose models saw its labels"
    lines = []
    if unknown:
        command = prepared.competition.command("bench noise")
        lines.append(f"{chosen}: {', '.join(unknown)}; {command} (networks: --all-runs) says by how much that flatters")
    if small:
        lines.append(f"{chosen}: {', '.join(small)}; by at most one SE above nothing where labels mean nothing")
    return lines
