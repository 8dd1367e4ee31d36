"""What nested numbers are worth on labels that mean nothing: measured by ``bench noise``, read by what prints them.

Reads and writes ``runs/NAME/noise.json``, which holds the last measurement of every run and of every search.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.core.errors import InputError
from kit.core.files import key_of, read_object, write_json
from kit.data.prepared import Prepared
from kit.runs.store.find import settings_key
from kit.runs.store.result import Result
from kit.runs.store.thresholds import decision_key


@dataclass(frozen=True)
class Optimism:
    """Hold how far above nothing a run's nested score is where there is nothing to learn, in the metric's unit.

    Parameters
    ----------
    run, key
        The run's name, and the key of what decides it with the true labels: see `measured_key`.
    over_fixed, over_fixed_se
        The nested score less that of the same run with its settings fixed, in the mean of the draws, above 0 where the
        nested one is better, and one standard error; None where nothing is chosen. Of a search: what its choice scores
        on folds that it did not use, less what the run's own values score there.
    over_chance, over_chance_se
        The nested score less that of the same predictions against labels that are permuted once more; None of a search.
    n_draws
        How often the labels were permuted.
    members
        Of an ensemble the runs that were combined; None of a run.
    has_thresholds
        Whether thresholds per class were chosen too. They pay also where labels mean nothing: how much they flatter
        only chance tells.
    n_trials
        Of a search by `tune`: how many settings it tried; None of a run.
    """

    run: str
    key: str | None
    over_fixed: float | None
    over_fixed_se: float | None
    over_chance: float | None
    over_chance_se: float | None
    n_draws: int
    members: list[str] | None = None
    has_thresholds: bool = False
    n_trials: int | None = None

    @property
    def is_told_by_chance(self) -> bool:
        """Return whether chance is what the score is compared with, and not the same settings fixed."""
        return self.over_fixed is None or self.has_thresholds

    @property
    def told(self) -> tuple[float, float]:
        """Return the optimism and its standard error: against fixed settings where nothing else is chosen."""
        by_chance = self.over_chance, self.over_chance_se
        value, error = by_chance if self.is_told_by_chance else (self.over_fixed, self.over_fixed_se)
        return value or 0.0, error or 0.0

    @property
    def exceeds(self) -> bool:
        """Return whether the optimism is more than one standard error above 0."""
        value, error = self.told
        return value > error


def measured_key(prepared: Prepared, name: str, members: Iterable[str] | None = None) -> str | None:
    """Return the key by which a measurement of a run, or of an ensemble of `members`, is known again.

    It tells the settings, and those of teachers and members, whether trained or not. None where one is no run today.
    """
    runs, plan = prepared.competition.runs, prepared.competition.ensemble
    try:
        if members is None:
            return settings_key(prepared, runs[name]) if name in runs else None
        keys = [(member, settings_key(prepared, runs[member])) for member in sorted(members) if member in runs]
    except InputError:  # words or weights are not there any more
        return None
    return key_of(plan.method, keys)


def keep_noise(prepared: Prepared, measured: Iterable[Optimism]) -> None:
    """Write what was measured, of these folds, metric and ways to decide; of what was not, the earlier stays."""
    rows = {(each.run, each.n_trials is None): asdict(each) for each in [*_read_all(prepared), *measured]}
    write_json(_file(prepared), _measured_on(prepared) | {"runs": list(rows.values())})


def read_noise(prepared: Prepared, result: Result) -> Optimism | None:
    """Return what was measured of a run; None where nothing was, or of other settings, members, folds, metric, ..."""
    of_run = [each for each in _read_all(prepared) if each.run == result.name and each.n_trials is None]
    found = next(iter(of_run), None)
    if found is None or found.key is None or set(found.members or ()) != set(result.record.members):
        return None
    if not result.record.members and not result.record.rounds:
        return found if found.key == result.record.key else None
    return found if found.key == measured_key(prepared, result.name, result.record.members or None) else None


def describe_noise(prepared: Prepared, result: Result) -> str | None:
    """Say by how much a run's nested score is optimistic, where that is more than one standard error."""
    found = read_noise(prepared, result)
    if found is None or not found.exceeds:
        return None
    value, error = found.told
    against = "chance" if found.is_told_by_chance else "the same settings fixed"
    return (
        f"CV optimistic by {value:.3f} ± {error:.3f}: so much above {against} is it where labels mean nothing "
        f"(bench noise, {found.n_draws} draws)"
    )


def describe_search(prepared: Prepared, name: str, key: str) -> str:
    """Say by how much what `tune` reports of a run flatters, or that nobody has measured it; * where by more than 1 SE.

    The models by whose predictions the search chose for a row had learned from the row's label, on the search's folds.
    `key` is the `settings_key` of the run with its own values.
    """
    of_search = [each for each in _read_all(prepared) if each.run == name and each.n_trials is not None]
    found = next(iter(of_search), None)
    if found is None or found.key != key:
        command = prepared.competition.command("bench noise", "--tune", name)
        return f"the models that chose for a row had learned from its label; {command} says by how much that flatters"
    value, error = found.told
    mark, more = ("* ", "so much better") if found.exceeds else ("", "no surer")
    return (
        f"{mark}tuned - untuned where labels mean nothing: {value:+.4f} ± {error:.4f}, {more} than it should be "
        f"(bench noise, {found.n_draws} draws of {found.n_trials} trials)"
    )


def _read_all(prepared: Prepared) -> list[Optimism]:
    """Return all that was measured of today's folds and metric, of several labels by today's thresholds."""
    document = read_object(_file(prepared), "folds", "metric", "runs") or {}
    if any(document.get(name) != value for name, value in _measured_on(prepared).items()):
        return []
    rows: list[dict[str, Any]] = document["runs"]
    return [Optimism(**row) for row in rows]


def _measured_on(prepared: Prepared) -> dict[str, str | None]:
    """Return what every measurement hangs on."""
    return {"folds": prepared.fold_key, "metric": prepared.metric.key, "decision": decision_key(prepared)}


def _file(prepared: Prepared) -> Path:
    return prepared.competition.workspace.runs(prepared.competition.name) / "noise.json"
