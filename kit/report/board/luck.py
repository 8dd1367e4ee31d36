"""What of the best CV is luck: the best of many runs is the luckiest of them too."""

from __future__ import annotations

from collections.abc import Sequence

from kit.core.terminal import count
from kit.data.prepared import Prepared
from kit.report.board.rows import Row
from kit.runs.seen import count_looks


def describe_luck(prepared: Prepared, rows: Sequence[Row]) -> list[str]:
    """Say what the best CV is without the luck by which it was chosen, and how often these folds were looked at.

    Nothing where there is one run alone, and nothing else was looked at.
    """
    scored = [row for row in rows if row.cv is not None]
    if not scored or scored[0].corrected is None:
        return []
    best, looks = scored[0], count_looks(prepared, len(scored))
    lines = []
    if len(scored) > 1:
        lines.append(
            f"the best of {len(scored)} runs has some luck in its CV: without it {best.run} has {best.corrected:.3f} "
            f"in place of {best.cv:.3f} (the best chosen anew on resamples, scored on the images left out)"
        )
    others = [count(looks.settings, "setting") + " of tune"] if looks.settings else []
    others += [count(looks.prompts, "version") + " of prompt lists"] if looks.prompts > 1 else []
    others += [count(looks.retired, "run") + " of other settings"] if looks.retired else []
    if others:
        lines.append(f"these folds also scored {', '.join(others)}: what they taught is not taken off")
    return lines
