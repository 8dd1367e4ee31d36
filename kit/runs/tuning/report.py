"""A whole tuning: search, compare, the verdict, and the values as TOML to paste.

Reads and writes nothing itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from kit.config.competition import Run
from kit.config.toml import toml_text
from kit.core.deadline import set_deadline, time_is_up
from kit.core.errors import TimeIsUp
from kit.core.terminal import stage
from kit.data.prepared import Prepared
from kit.models.search import OneOf
from kit.runs.fit.crossval import check_run
from kit.runs.noise import describe_search
from kit.runs.seen import FITS, SUFFIX, note_setting, note_untuned
from kit.runs.store.find import run_key, settings_key
from kit.runs.store.score import decide_anew
from kit.runs.tuning.honest import Comparison, compare_on_fresh_folds
from kit.runs.tuning.setting import change, read_oof, score_folds
from kit.runs.tuning.space import Dimension, read_space, spell
from kit.runs.tuning.study import COMPLETE, Trial, search, study_folder
from kit.scoring.metrics import score_with_error

CHECKED = ("encoder", "encoder_args", "prompts")  # fields whose values must be there before any trial


@dataclass(frozen=True)
class Tuned:
    """Hold what a tuning found of a run.

    Parameters
    ----------
    metric, sign
        The competition's metric, and 1 where more of it is better, else -1.
    options
        The searched values of the best setting, or of the run itself where none was better.
    best
        Its score on the search's folds, which is optimistic, and the standard error.
    comparison
        What the search's choice and the run's own values score on fresh folds.
    is_own
        Whether nothing that was tried beat the run's own values.
    own_trial
        The number of the trial that has the run's own values; None where the space does not hold them.
    nesting
        How far the comparison flatters the search, in words: see `kit.runs.noise.describe_search`.
    """

    run: Run
    metric: str
    sign: int
    space: dict[str, Dimension]
    trials: list[Trial]
    options: dict[str, Any]
    best: tuple[float, float]
    comparison: Comparison
    is_own: bool
    own_trial: int | None
    nesting: str = ""

    @property
    def has_helped(self) -> bool:
        """Return whether the search's choice is surely better than the run's own values, on other folds."""
        return not self.is_own and self.comparison.is_distinguishable and self.comparison.difference > 0

    @property
    def verdict(self) -> str:
        """Return in one sentence what to do."""
        if self.is_own:
            return "nothing that was tried beats what the run has: keep it"
        if self.has_helped:
            return "tuning helped"
        if self.comparison.is_distinguishable:
            return "the search's choice is worse on other folds than what the run has: keep it"
        return "not distinguishable from what the run has: keep it"

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as one JSON-like document."""
        fresh = self.comparison
        return {
            "run": self.run.name,
            "metric": self.metric,
            "space": {field: spell(dimension) for field, dimension in self.space.items()},
            "trials": [asdict(trial) for trial in self.trials],
            "best": {"options": self.options, "score": self.best[0], "se": self.best[1], "optimistic": True},
            "fresh_folds": {
                "seed": fresh.seed,
                "tuned": {"score": fresh.tuned[0], "se": fresh.tuned[1]},
                "untuned": {"score": fresh.untuned[0], "se": fresh.untuned[1]},
                "difference": fresh.difference,
                "se": fresh.error,
                "distinguishable": fresh.is_distinguishable,
                "nesting": self.nesting,
            },
            "verdict": self.verdict,
            "helped": self.has_helped,
            "toml": write_run(self.run, self.options),
        }


def tune(prepared: Prepared, name: str, n_trials: int, seconds: float | None = None) -> Tuned:
    """Search a run's settings and say what that is worth; its runs folder is held.

    The trials of earlier calls count among `n_trials`. After `seconds` the search stops; what it found is scored then.

    Raises
    ------
    InputError
        When the run or its space is refused, before any trial.
    MissingWeights
        When the run's weights cannot be had.
    TimeIsUp
        When the time is up before one setting was scored; the next call goes on.
    """
    run = prepared.competition.run(name)
    space = read_space(prepared.competition, run)
    _check_settings(prepared, run, space)
    folder = study_folder(prepared, run, space)
    stage("tune", f"{name}: {'; '.join(f'{field} {spell(dimension)}' for field, dimension in space.items())}")
    set_deadline(seconds)
    untuned = change(run, {})
    note_untuned(folder, run_key(prepared, untuned))
    note_setting(prepared, name, untuned, space)
    for _ in score_folds(prepared, untuned, folder / FITS):
        pass
    trials = search(prepared, run, space, folder, n_trials)
    complete = [trial for trial in trials if trial.state == COMPLETE]
    if time_is_up() and not complete:
        raise TimeIsUp("the time is up before one trial was complete; what was computed is kept, call again to go on")
    set_deadline(None)
    metric, fits = prepared.metric, folder / FITS
    candidates = [untuned, *(change(run, trial.options) for trial in complete)]
    opinions = [decide_anew(prepared, read_oof(prepared, each, fits)) for each in candidates]
    scores = [metric.sign * metric.score(*opinion) for opinion in opinions]
    best = scores.index(max(scores))  # of equals the first: the run's own
    options = {field: candidates[best].options[field] for field in space if field in candidates[best].options}
    score = score_with_error(metric, *opinions[best], prepared.scored_groups)
    keys = [run_key(prepared, each) for each in candidates]
    own_trial = next((trial.number for trial, key in zip(complete, keys[1:], strict=True) if key == keys[0]), None)
    return Tuned(
        run=run,
        metric=metric.name,
        sign=metric.sign,
        space=space,
        trials=trials,
        options=options,
        best=score,
        comparison=compare_on_fresh_folds(prepared, candidates, fits),
        is_own=best == 0,
        own_trial=own_trial,
        nesting=describe_search(prepared, name, settings_key(prepared, untuned)),
    )


def _check_settings(prepared: Prepared, run: Run, space: dict[str, Dimension]) -> None:
    """Refuse weights and prompt lists that are not there, before any trial."""
    check_run(prepared, run.name)
    for field, dimension in space.items():
        if field in CHECKED and isinstance(dimension, OneOf):
            for value in dimension.values:
                changed = run.model_copy(update={"options": run.options | {field: value}})
                runs = prepared.competition.runs | {run.name: changed}
                competition = prepared.competition.model_copy(update={"runs": runs})
                check_run(replace(prepared, competition=competition), run.name)


def tuned_name(run: Run) -> str:
    """Return the name under which a run's tuned values are printed."""
    return run.name if run.name.endswith(SUFFIX) else run.name + SUFFIX


def write_run(run: Run, options: dict[str, Any]) -> str:
    """Return a run as a table of competition.toml to paste; `options` take the place of its own."""
    shared = run.model_dump(exclude={"name", "grid", "search", "options", "model"}, exclude_defaults=True)
    table = {"model": run.model, **run.options, **options, **shared}
    return "\n".join([f"[runs.{tuned_name(run)}]", *(f"{key} = {_toml(value)}" for key, value in table.items())])


def _toml(value: Any) -> str:
    """Return a value as TOML writes it; what is None is left out of tables."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, dict):
        inner = (f"{_key(key)} = {_toml(part)}" for key, part in value.items() if part is not None)
        return "{ " + ", ".join(inner) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)


def _key(key: str) -> str:
    """Return a key, quoted where it must be."""
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else toml_text(key)
