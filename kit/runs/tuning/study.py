"""The search itself: Optuna's TPE over a run's space; a trial whose folds so far are below the median is given up.

Writes study.db, a SQLite file. A trial is never lost: one that was running when its process was killed is set up again
with the same values, and its finished folds are read. The sampler is seeded anew for every trial by the number of those
before it, so that a search that was interrupted proposes what an uninterrupted one would have. On a cluster the first
trials, whose values no score decides, are begun at once.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.config.competition import Run
from kit.core.deadline import time_is_up
from kit.core.engine import is_remote
from kit.core.errors import DamagedFile, InputError, NodeLost, TimeIsUp
from kit.core.files import key_of
from kit.core.terminal import Progress, note
from kit.data.prepared import Prepared
from kit.models.search import OneOf
from kit.runs.fit.crossval import make_apart
from kit.runs.fit.fold import fold_seed
from kit.runs.seen import FITS, TUNE, note_setting
from kit.runs.store.build import build_model
from kit.runs.store.find import run_key
from kit.runs.store.thresholds import decision_key
from kit.runs.tuning.database import opened
from kit.runs.tuning.setting import begin_setting, cancel_setting, change, discard, score_folds
from kit.runs.tuning.space import Dimension, ends, is_whole

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import TPESampler

N_RANDOM = 10  # trials that are drawn at random, before scores decide what is tried
DIGITS = 3  # significant, of the numbers that are tried: what is printed is what was scored
COMPLETE, PRUNED, REFUSED = "complete", "pruned", "refused"


@dataclass(frozen=True)
class Trial:
    """Hold one trial: its number, from 0, and the searched fields' values.

    The state is ``"complete"``; ``"pruned"``, given up after some folds; or ``"refused"`` by the model, or its training
    diverged. The score, in the competition's metric, is that of the folds that were fitted; None where there is none.
    """

    number: int
    options: dict[str, Any]
    state: str
    score: float | None


def study_folder(prepared: Prepared, run: Run, space: dict[str, Dimension]) -> Path:
    """Return the folder of a search: another one for other data, folds, spaces, seeds and settings beside the searched.

    Where the lowest values of the space are refused together, InputError is raised.
    """
    corner = run_key(prepared, change(run, {field: ends(dimension)[0] for field, dimension in space.items()}))
    metric = prepared.metric
    spelled = {field: asdict(dimension) for field, dimension in space.items()}
    key = key_of(corner, spelled, metric.key, decision_key(prepared), importlib.metadata.version("optuna"))
    return prepared.competition.workspace.runs(prepared.competition.name) / TUNE / run.name / key


def search(prepared: Prepared, run: Run, space: dict[str, Dimension], folder: Path, n_trials: int) -> list[Trial]:
    """Go on with a search until it has `n_trials` trials, or the time limit is reached; return all of them, in order.

    Earlier trials count, be they complete, pruned or refused. The first is the run's own values, where the space holds
    them. The folder is that of `study_folder`; the runs folder is held.
    """
    distributions = {field: _distribution(run, field, dimension) for field, dimension in space.items()}
    sign = prepared.metric.sign
    with opened(folder / "study.db", sign) as study:
        _set_up_again(study, distributions)
        _propose_own_values(prepared, run, study, distributions)
        trials = _finished(study)
        with (
            _begun_ahead(prepared, run, study, distributions, range(len(trials), n_trials), folder / FITS),
            Progress(f"tune {run.name}", n_trials - len(trials)) as progress,
        ):
            while len(trials) < n_trials and not time_is_up():
                study.sampler = _make_sampler(run, len(trials))
                try:
                    _run_trial(prepared, run, study, distributions, folder / FITS)
                except TimeIsUp:
                    break
                best, trials = _best(trials, sign), _finished(study)
                if (now := _best(trials, sign)) is not None:
                    progress.advance(detail=f"best {now.score:.4f}")
                    if best is None or now.number != best.number:
                        note(f"trial {now.number}: best so far, {now.score:.4f} with {spell_options(now.options)}")
                else:
                    progress.advance()
    return trials


def _make_sampler(run: Run, number: int) -> TPESampler:
    """Return what proposes the values of a trial, by how many came before it."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=fold_seed(run.seed, number), n_startup_trials=N_RANDOM)


@contextlib.contextmanager
def _begun_ahead(
    prepared: Prepared,
    run: Run,
    study: optuna.Study,
    distributions: dict[str, Any],
    numbers: range,
    home: Path,
) -> Iterator[None]:
    """Have trials of these numbers begun on a cluster whose values no score decides; here nothing is begun.

    What of them nobody has waited for when the block ends is taken back.
    """
    begun: list[Run] = []
    if is_remote() and numbers:
        make_apart(prepared, [run])
    for options in _list_undecided(run, study, distributions, numbers) if is_remote() else ():
        with contextlib.suppress(InputError, RuntimeError, ValueError):  # the trial is refused when its turn comes
            begin_setting(prepared, setting := change(run, _round(distributions, options)), home)
            begun.append(setting)
    try:
        yield
    finally:
        for setting in begun:
            cancel_setting(prepared, setting, home)


def _list_undecided(
    run: Run, study: optuna.Study, distributions: dict[str, Any], numbers: range
) -> Iterator[dict[str, Any]]:
    """Give the values of the next trials as far as no score decides them: those queued, then those drawn at random."""
    import optuna
    from optuna.trial import TrialState

    waiting = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.WAITING]
    queued = [trial.system_attrs["fixed_params"] for trial in waiting]
    for number in numbers:
        if queued:
            yield queued.pop(0)
        elif number < N_RANDOM:
            yield optuna.create_study(sampler=_make_sampler(run, number)).ask(distributions).params


def spell_options(options: dict[str, Any]) -> str:
    """Return a setting as a person reads it."""
    return ", ".join(f"{field} = {value}" for field, value in options.items())


def _best(trials: list[Trial], sign: int) -> Trial | None:
    """Return the best complete trial, of equals the first."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    return max(complete, key=lambda trial: sign * (trial.score or 0.0), default=None)


def _run_trial(prepared: Prepared, run: Run, study: optuna.Study, distributions: dict[str, Any], home: Path) -> None:
    """Take the next setting and score it, fold by fold, until it is known or given up."""
    from optuna.trial import TrialState

    trial = study.ask(distributions)
    setting = change(run, _round(distributions, trial.params))
    score: float | None = None
    try:
        for step, score in enumerate(score_folds(prepared, setting, home)):
            if score is None or step + 1 == len(prepared.scored):
                continue
            trial.report(score, step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                discard(prepared, setting, home)
                return
        if score is None or not math.isfinite(score):
            raise InputError(f"its score is {score}")
    except (DamagedFile, NodeLost):  # the values are not at fault, and are tried again once it is mended
        raise
    except (InputError, RuntimeError, ValueError) as error:
        note(f"trial {trial.number} is refused: {error}")
        trial.set_user_attr(REFUSED, str(error))
        study.tell(trial, state=TrialState.FAIL)
        return
    note_setting(prepared, run.name, setting, distributions)
    study.tell(trial, score)


def _distribution(run: Run, field: str, dimension: Dimension) -> Any:
    """Return a dimension in Optuna's terms."""
    from optuna import distributions

    if isinstance(dimension, OneOf):
        return distributions.CategoricalDistribution(dimension.values)
    if is_whole(run, field):
        return distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _round(distributions: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return the values that are tried: with few digits, within the range."""
    options = dict(params)
    for field, value in params.items():
        if isinstance(value, float) and hasattr(distributions[field], "low"):
            near = float(f"{value:.{DIGITS}g}")
            options[field] = min(max(near, distributions[field].low), distributions[field].high)
    return options


def _set_up_again(study: optuna.Study, distributions: dict[str, Any]) -> None:
    """Queue the trials that a kill left running, with their values; nobody else runs one, the folder is held."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    waiting = [trial.system_attrs.get("fixed_params") for trial in trials if trial.state == TrialState.WAITING]
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        params = trial.system_attrs.get("fixed_params") or trial.params
        if params.keys() == distributions.keys() and params not in waiting:  # else it was killed while being drawn
            study.enqueue_trial(params)
        study.tell(trial.number, state=TrialState.FAIL)


def _propose_own_values(prepared: Prepared, run: Run, study: optuna.Study, distributions: dict[str, Any]) -> None:
    """Queue the run's own values, unless the space does not hold them or they were tried."""
    model = build_model(prepared.competition, run)
    values = {field: getattr(model, field) for field in distributions}
    for field, distribution in distributions.items():
        if hasattr(distribution, "low"):
            is_number = isinstance(values[field], int | float)
            if not is_number or not distribution.low <= values[field] <= distribution.high:
                return
        elif values[field] not in distribution.choices:
            return
    trials = study.get_trials(deepcopy=False)
    if not any(values in (trial.params, trial.system_attrs.get("fixed_params")) for trial in trials):
        study.enqueue_trial(values)


def _finished(study: optuna.Study) -> list[Trial]:
    """Return the trials that came to an end, in order."""
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED, TrialState.FAIL: REFUSED}
    finished = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state not in states or (trial.state == TrialState.FAIL and REFUSED not in trial.user_attrs):
            continue
        so_far = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        score = trial.value if trial.state == TrialState.COMPLETE else (so_far or [None])[-1]
        finished.append(Trial(len(finished), _round(trial.distributions, trial.params), states[trial.state], score))
    return finished
