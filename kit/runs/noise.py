"""What nested numbers are worth on labels that mean nothing: measured by ``bench noise``, read by the leaderboard.

Reads and writes ``runs/NAME/noise.json``, which holds the last measurement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.core.files import read_object, write_json
from kit.data.prepared import Prepared
from kit.runs.store.result import Result


@dataclass(frozen=True)
class Optimism:
    """Hold how far above nothing a run's nested score is where there is nothing to learn, in the metric's unit.

    Parameters
    ----------
    run, key
        The run's name, and its key with the true labels; of an ensemble, and of what was not trained yet, no key.
    over_fixed, over_fixed_se
        The nested score less that of the same run with its settings fixed, in the mean of the draws, above 0 where the
        nested one is better, and one standard error; None where nothing is chosen.
    over_chance, over_chance_se
        The nested score less that of the same predictions against labels that are permuted once more.
    n_draws
        How often the labels were permuted.
    members
        Of an ensemble the runs that were combined; None of a run.
    has_thresholds
        Whether thresholds per class were chosen too. They pay also where labels mean nothing: how much they flatter
        only chance tells.
    """

    run: str
    key: str | None
    over_fixed: float | None
    over_fixed_se: float | None
    over_chance: float
    over_chance_se: float
    n_draws: int
    members: list[str] | None = None
    has_thresholds: bool = False

    @property
    def told(self) -> tuple[float, float]:
        """Return the optimism and its standard error: against fixed settings where nothing else is chosen."""
        if self.over_fixed is None or self.over_fixed_se is None or self.has_thresholds:
            return self.over_chance, self.over_chance_se
        return self.over_fixed, self.over_fixed_se

    @property
    def exceeds(self) -> bool:
        """Return whether the optimism is more than one standard error above 0."""
        value, error = self.told
        return value > error


def keep_noise(prepared: Prepared, measured: Iterable[Optimism]) -> None:
    """Write what was measured, of these folds and this metric."""
    document = {"folds": prepared.fold_key, "metric": prepared.metric.key, "runs": [asdict(each) for each in measured]}
    write_json(_file(prepared), document)


def read_noise(prepared: Prepared, result: Result) -> Optimism | None:
    """Return what was measured of a run; None where nothing was, or of other folds, metric, settings or members."""
    document = read_object(_file(prepared), "folds", "metric", "runs") or {}
    if (document.get("folds"), document.get("metric")) != (prepared.fold_key, prepared.metric.key):
        return None
    rows: list[dict[str, Any]] = document["runs"]
    found = next((Optimism(**row) for row in rows if row["run"] == result.name), None)
    if found is None or found.key not in (None, result.record.key):
        return None
    return found if found.members is None or set(found.members) == set(result.record.members) else None


def describe_noise(prepared: Prepared, result: Result) -> str | None:
    """Say by how much a run's nested score is optimistic, where that is more than one standard error."""
    found = read_noise(prepared, result)
    if found is None or not found.exceeds:
        return None
    value, error = found.told
    against = "chance" if found.over_fixed is None or found.has_thresholds else "the same settings fixed"
    return (
        f"CV optimistic by {value:.3f} ± {error:.3f}: so much above {against} is it where labels mean nothing "
        f"(bench noise, {found.n_draws} draws)"
    )


def _file(prepared: Prepared) -> Path:
    return prepared.competition.workspace.runs(prepared.competition.name) / "noise.json"
