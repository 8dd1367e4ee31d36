"""The pipeline's joints: train runs in order, skip what cannot be had, find what is finished.

The command line calls it, and it calls the stages. Writes ``runs/NAME/skipped.json``: the runs that the last `all`
skipped, and why, for a report that is made later.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from kit.config.competition import Competition, order_runs
from kit.core.activity import tell
from kit.core.arrays import is_patient
from kit.core.deadline import check_deadline, seconds_left, time_is_up, within
from kit.core.engine import cancel_tasks, is_remote
from kit.core.errors import InputError, MissingWeights, TeacherMissing, TimeIsUp, some
from kit.core.files import read_object, write_json
from kit.core.names import ENSEMBLE
from kit.core.terminal import count, note, stage, warn
from kit.data.prepared import Prepared
from kit.runs.ensemble import check_members, ensemble, find_ensemble, members_of
from kit.runs.fit.crossval import begin_runs, check_run, crossval, is_finished
from kit.runs.fit.fold import read_fitted
from kit.runs.naming import misnamed
from kit.runs.pace import Pace
from kit.runs.store.find import find_result, find_usable, rounds_of, run_key, runs_of_other_folds
from kit.runs.store.imported import list_imported, stale_imports
from kit.runs.store.result import Result, run_folder
from kit.runs.store.score import compare_runs
from kit.scoring.metrics import distinguishable

SKIPPED = "skipped.json"
PATIENCE = 2.0  # times its estimate that a run may take while others wait
LEAST_SECONDS = 0.1  # of an estimate, to divide by


class OutOfTime(str):
    """The reason of a run that the time limit left out."""


class Announced(str):
    """The reason of a run that lacks its weights: told, with the remedy, before training began."""


def train_runs(
    prepared: Prepared, names: list[str], strict: bool, done: Callable[[Result], None] | None = None
) -> tuple[list[Result], dict[str, str]]:
    """Cross-validate runs, teachers first; return their results, and why other runs were skipped, by name.

    All that cannot be had is found before any work; with `strict` it raises instead of skipping a run. `done` is told
    of every run as soon as it is finished or found.

    Raises
    ------
    InputError
        When an option is refused.
    MissingWeights, TimeIsUp
        When `strict`.
    """
    if others := runs_of_other_folds(prepared):
        warn(f"folds or labels have changed since {', '.join(others)} ran: old CVs cannot be compared with new ones")
    ordered = order_runs(prepared.competition, names)
    for name, why in misnamed(prepared.competition, ordered).items():
        warn(f"{name}: {why}; another name would keep the two apart in the leaderboard")
    skipped = _find_missing(prepared, ordered, strict)
    _announce(prepared, ordered, skipped)
    waiting = [name for name in ordered if name not in skipped]
    train = _train_in_turn if seconds_left() is None else _train_in_time
    trained = train(prepared, waiting, skipped, strict, done or _tell_nobody)
    return [trained[name] for name in ordered if name in trained], skipped


def _tell_nobody(_result: Result) -> None:
    """Take no notice of a finished run."""


def _train_in_turn(
    prepared: Prepared, names: list[str], skipped: dict[str, str], strict: bool, done: Callable[[Result], None]
) -> dict[str, Result]:
    """Train runs in their order; note in `skipped` those that lack a teacher."""
    trained = {}
    try:
        if is_remote():
            begin_runs(prepared, names)
        for i, name in enumerate(names):
            _tell_place(i, len(names))
            if (result := _attempt(prepared, name, skipped, strict, done)) is not None:
                trained[name] = result
    finally:
        tell(place=None)
        cancel_tasks()  # what a node had done before it was asked for: a later call may want it anew
    return trained


def _tell_place(i: int, n_runs: int) -> None:
    """Tell `status` which of several runs comes now, of 0..n_runs - 1."""
    tell(place=f"{i + 1} of {n_runs}" if n_runs > 1 else None)


def _train_in_time(
    prepared: Prepared, names: list[str], skipped: dict[str, str], strict: bool, done: Callable[[Result], None]
) -> dict[str, Result]:
    """Train what is worth most per minute first, each within its share of the time; the rest with what is left.

    Shares follow from the pace of a few images and one step. No run takes the time that the others need, and one that
    does not fit is begun only where nothing else is left: the next call goes on with it.
    """
    pace, waiting, trained, cut = Pace(prepared), list(names), {}, []
    seconds = {name: 0.0 if time_is_up() else pace.estimate(name) for name in waiting}
    _announce_time(seconds)
    while waiting:
        left = max(seconds_left() or 0.0, 0.0)
        ready = [name for name in waiting if not set(_teachers(prepared, name)) & set(waiting)]
        fitting = [name for name in ready if seconds[name] <= left or is_finished(prepared, name)]
        if not fitting:
            break
        name = max(fitting, key=lambda name: pace.worth(name) / max(seconds[name], LEAST_SECONDS))
        waiting.remove(name)
        others = sum(seconds[other] for other in waiting if seconds[other] <= left)
        _tell_place(len(names) - len(waiting) - 1, len(names))
        with within(max(PATIENCE * seconds[name], left - others)):
            result = _attempt(prepared, name, skipped, strict, done)
        if result is not None:
            trained[name] = result
        elif isinstance(skipped.get(name), OutOfTime) and not time_is_up():
            cut.append(name)
        if not time_is_up():
            seconds |= {other: pace.estimate(other) for other in waiting}  # what is encoded by now costs nothing
    tell(place=None)
    for name in [*cut, *sorted(waiting, key=seconds.__getitem__)]:
        if (result := None if time_is_up() else _attempt(prepared, name, skipped, strict, done)) is not None:
            trained[name] = result
            skipped.pop(name, None)
        elif name not in skipped or isinstance(skipped[name], OutOfTime):
            if strict:
                check_deadline()
            skipped[name] = OutOfTime(f"the time limit; it takes about {_spell(seconds[name])} here")
    return trained


def _attempt(
    prepared: Prepared, name: str, skipped: dict[str, str], strict: bool, done: Callable[[Result], None]
) -> Result | None:
    """Train a run; where a teacher is missing or the time is up, note it and return None."""
    without = [teacher for teacher in _teachers(prepared, name) if teacher in skipped]
    if without:
        skipped[name] = f"its teacher {without[0]} was skipped"
        return None
    try:
        result = crossval(prepared, name)
    except TimeIsUp as error:
        if strict and time_is_up():
            raise
        skipped[name] = OutOfTime(error)
        return None
    done(result)
    return result


def _teachers(prepared: Prepared, name: str) -> list[str]:
    """Return the runs whose pseudo labels a run learns from."""
    plan = prepared.competition.runs[name].pseudo
    return plan.teachers if plan else []


def _announce_time(seconds: dict[str, float]) -> None:
    """Say how long the runs will take, by the pace of a few images."""
    spelled = ", ".join(f"{name} {_spell(each)}" for name, each in seconds.items() if each)
    if spelled:
        left = _spell(seconds_left() or 0.0)
        note(f"of the time limit {left} are left; by the pace of a few images it takes {spelled}")


def _spell(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _announce(prepared: Prepared, names: list[str], skipped: dict[str, str]) -> None:
    """Say how many runs are re-used, how many are to be made and how many cannot be."""
    n_finished = sum(is_finished(prepared, name) for name in names if name not in skipped)
    counts = {"re-used": n_finished, "to make": len(names) - len(skipped) - n_finished, "skipped": len(skipped)}
    spelled = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    stage("train", f"{count(len(names), 'run')}: {spelled}")


def _find_missing(prepared: Prepared, names: list[str], strict: bool) -> dict[str, str]:
    """Check every run; return which lack their weights, and why."""
    missing: dict[str, MissingWeights] = {}
    for name in names:
        try:
            check_run(prepared, name)
        except MissingWeights as error:
            if strict:
                raise
            missing[name] = error
    _announce_missing(missing)
    return {name: Announced(error) for name, error in missing.items()}


def _announce_missing(missing: dict[str, MissingWeights]) -> None:
    """Say which runs lack their weights: a cause that they share once, then the remedy of each."""
    alone = {name: str(error) for name, error in missing.items() if not error.cause}
    for reason, names in group_by_reason(alone).items():
        warn(f"{', '.join(names)} will be skipped: {reason}")
    shared = {name: error.cause for name, error in missing.items() if error.cause}
    for cause, names in group_by_reason(shared).items():
        warn(f"{', '.join(names)} will be skipped: {cause}")
        for remedy, lacking in group_by_reason({name: missing[name].remedy for name in names}).items():
            note(f"{', '.join(lacking)}: {remedy}")


def group_by_reason(skipped: dict[str, str]) -> dict[str, list[str]]:
    """Return the runs that each reason keeps out: one remedy often serves several."""
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        reasons.setdefault(str(reason), []).append(name)
    return reasons


def describe_skipped(skipped: dict[str, str]) -> list[str]:
    """Return what to say of skipped runs in the end; a reason that was told before training is not repeated."""
    told = [name for name, reason in skipped.items() if isinstance(reason, Announced)]
    others = {name: reason for name, reason in skipped.items() if name not in told}
    lines = [f"skipped {', '.join(names)}: {reason}" for reason, names in group_by_reason(others).items()]
    return [*([f"skipped, as said above: {', '.join(told)}"] if told else []), *lines]


def keep_skipped(prepared: Prepared, skipped: dict[str, str]) -> None:
    """Write which runs were skipped, and why."""
    write_json(prepared.competition.workspace.runs(prepared.competition.name) / SKIPPED, skipped)


def recall_skipped(prepared: Prepared, results: list[Result]) -> dict[str, str]:
    """Return the runs that the last `all` skipped and why, but for those that are finished or gone by now."""
    kept = read_object(prepared.competition.workspace.runs(prepared.competition.name) / SKIPPED) or {}
    untrained = list_untrained(prepared, results)
    return {name: reason for name, reason in kept.items() if name in untrained}


def find_better(prepared: Prepared, results: list[Result], combined: Result) -> Result | None:
    """Return the run or import of the best CV where a paired test tells it from the ensemble, else None.

    It is what is to be sent in the ensemble's place, and whatever says what to send asks here.
    """
    sign = prepared.metric.sign
    others = [result for result in results if result.name != ENSEMBLE and result.predicts_test]
    if not others:
        return None
    best = max(others, key=lambda result: sign * result.record.cv)
    difference, error = compare_runs(prepared, best, combined)
    return best if difference > 0 and distinguishable(difference, error) else None


def find_members(prepared: Prepared, told: Container[str] = ()) -> list[Result]:
    """Return the finished members of the ensemble; warn of the others, but for those that the user was `told` of.

    Where none is finished, an InputError names the command that trains them.
    """
    members = members_of(prepared)
    if not members:
        raise InputError(f"the ensemble has no finished member; {prepared.competition.command('all')} makes them")
    finished = {member.base for member in members}
    if missing := [name for name in check_members(prepared) if name not in finished and name not in told]:
        warn(f"not trained, so left out of the ensemble: {', '.join(missing)}")
    return members


def find_trained(prepared: Prepared, name: str) -> Result:
    """Return the finished run or import of a name, or the ensemble; of a run with rounds, the last that was kept.

    Where there is no such run, or it has not been trained, an InputError names the command that trains it. The ensemble
    is made where it is not there, but not beside a process that trains: it would lack what that one has not finished.
    """
    if name == ENSEMBLE:
        if is_patient():
            return ensemble(prepared, find_members(prepared))
        if (combined := find_ensemble(prepared, members_of(prepared))) is None:
            finished = [result.name for result in find_finished(prepared) if result.name != ENSEMBLE]
            alone = f"; or name a run that is finished: {some(finished)}" if finished else ""
            raise InputError(f"no ensemble of all that is finished yet: {way_to_runs(prepared.competition)}{alone}")
        return combined
    if name not in list_imported(prepared):
        prepared.competition.run(name)  # names the nearest of those there are
    result = find_result(prepared, name)
    if result is None:
        way = prepared.competition.command("train", name) if is_patient() else way_to_runs(prepared.competition)
        raise InputError(f"run {name} has not been trained; {way}")
    return result


def way_to_runs(competition: Competition) -> str:
    """Say how runs are had where none is finished: by a command, or by waiting for the one that works on them now."""
    if is_patient():
        return f"{competition.command('all')} makes them"
    return f"a command that runs now is at work; {competition.command('status')} shows how far it is"


def find_finished(prepared: Prepared) -> list[Result]:
    """Return every finished run, imported ones and the ensemble included; name imports that fit no more."""
    for name, why in stale_imports(prepared).items():
        warn(f"the imported {name} is left out: it {why}")
    names = [*prepared.competition.runs, *list_imported(prepared)]
    results = [result for name in names if (result := find_usable(prepared, name))]
    combined = find_ensemble(prepared, members_of(prepared)) if results else None
    if stale := _made_otherwise(prepared, list_untrained(prepared, results)):
        remedy = f"{prepared.competition.command('train', *stale)} makes them anew"
        warn(f"made with other settings, words or data, so not shown: {', '.join(stale)}; {remedy}")
    if results and combined is None and _made_otherwise(prepared, [ENSEMBLE]):
        remedy = f"{prepared.competition.command(ENSEMBLE)} makes it anew"
        warn(f"the ensemble was made of other members, so not shown; {remedy}")
    return [*results, combined] if combined else results


def list_untrained(prepared: Prepared, results: list[Result]) -> list[str]:
    """Return the runs of competition.toml, but for grids, that are not among finished ones."""
    finished = {result.base for result in results}
    return [name for name in prepared.competition.default_runs if name not in finished]


def describe_unfinished(prepared: Prepared, results: list[Result]) -> dict[str, str]:
    """Return the runs of competition.toml that are not among finished ones, and how far each is.

    One that the last `all` skipped has its reason; of one that was stopped the folds that are done are counted.
    """
    skipped, states = recall_skipped(prepared, results), {}
    for name in list_untrained(prepared, results):
        states[name] = f"skipped: {skipped[name]}" if name in skipped else _describe_state(prepared, name)
    return states


def _describe_state(prepared: Prepared, name: str) -> str:
    """Say how far a run is that is not finished."""
    run = prepared.competition.runs[name]
    try:
        folder = run_folder(prepared, run, run_key(prepared, next(iter(rounds_of(run)))))
    except TeacherMissing:
        return f"not trained: waits for {', '.join(_teachers(prepared, name))}"
    except InputError as error:
        return f"not trained: {error}"
    n_done = sum(read_fitted(folder, fold) is not None for fold in prepared.scored)
    if n_done and run.pseudo is None:
        return f"{n_done} of {len(prepared.scored)} folds: stopped, or it runs now"
    if _made_otherwise(prepared, [name]):
        return "changed: it was made with other settings, words or data"
    return "not trained"


def _made_otherwise(prepared: Prepared, names: list[str]) -> list[str]:
    """Return which of these runs are on the disk, but not as they would be made today."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    return [name for name in names if any(home.glob(f"{name}/*/run.json")) or any(home.glob(f"{name}.1/*/run.json"))]
