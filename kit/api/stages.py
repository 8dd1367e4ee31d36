"""The stages as both faces of the kit call them: the command line and Python.

Each works on a prepared competition whose runs folder is held, or, where it only reads, looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.core.errors import InputError, MissingWeights, TimeIsUp
from kit.core.installed import is_lacking

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.config.competition import Competition
    from kit.core.stopwatch import Stopwatch
    from kit.data.prepared import Prepared
    from kit.report.board import Row
    from kit.runs.seen import Looks
    from kit.runs.store import Result

    Log = Callable[[Result, Path | None], None]


MOST_WRONG = 0.2  # of the labels, by a run whose doubts about labels are worth a look


@dataclass(frozen=True)
class Comparison:
    """Hold the leaderboard.

    Parameters
    ----------
    rows
        One per run, the best CV first.
    looks
        How often these folds were looked at.
    levels
        By run and level of the hierarchy, the score and one standard error; empty without a hierarchy.
    """

    rows: list[Row]
    looks: Looks
    levels: dict[str, Any]


@dataclass(frozen=True)
class Everything:
    """Hold what `do_all` left.

    Parameters
    ----------
    finished, skipped
        The runs, and why others could not be made.
    submission, report
        The files; None where there are no test images, or the report's packages are not installed.
    better
        The run that a paired test tells from the ensemble, or None.
    is_late
        Whether the time limit left runs out.
    """

    finished: list[Result]
    skipped: dict[str, str]
    submission: Path | None
    report: Path | None
    better: Result | None
    is_late: bool


def train_named(
    prepared: Prepared, runs: Sequence[str] = (), log: Log | None = None, note: str | None = None
) -> list[Result]:
    """Cross-validate runs, grids named as one run each among them; all where none is named.

    `log` takes every run as soon as it is finished, and no report; `kit.runs.track.make_logger` makes one. A `note`
    stays with every run that is finished, and of runs that are named also with those that were finished before.

    InputError where there is no such run, MissingWeights where weights cannot be had, TimeIsUp at the time limit.
    """
    from kit.runs.store.ledger import note_again, noting
    from kit.runs.train import train_runs

    competition = prepared.competition
    names = names_of_runs(competition, runs)
    try:
        with noting(note):
            results = train_runs(prepared, names, strict=True, done=_without_report(log))[0]
    except MissingWeights as error:
        hint = f"; or leave such runs out: {competition.command('all')} does" if not runs else ""
        raise InputError(f"{error}{hint}") from error
    if note and runs:
        for result in results:
            note_again(result.folder, result.name, result.record.key, note)
    return results


def _without_report(log: Log | None) -> Callable[[Result], None] | None:
    """Return what logs a run before there is a report."""
    return None if log is None else lambda result: log(result, None)


def names_of_runs(competition: Any, runs: Sequence[str]) -> list[str]:
    """Return the runs that are named, of a grid all; without a name those that are trained by default."""
    names = [run for name in runs for run in competition.runs_of(name)] if runs else competition.default_runs
    if not names:
        raise InputError(f"{competition.file}: there is no [runs.NAME] table to train; a grid is trained by its name")
    return names


def list_finished(prepared: Prepared) -> list[Result]:
    """Return every finished run, imports and the ensemble among them; InputError where there is none."""
    from kit.runs.train import find_finished, way_to_runs

    competition, results = prepared.competition, find_finished(prepared)
    if not results:
        raise InputError(f"no finished run of {competition.name} yet; {way_to_runs(competition)}")
    return results


def compare(prepared: Prepared, results: Sequence[Result], skipped: dict[str, str] | None = None) -> Comparison:
    """Return the leaderboard of finished runs, and of others.

    `skipped` says of others why they could not be made; without it, as after a look, all that are not finished follow
    with their state.
    """
    from kit.report.board import leaderboard
    from kit.report.board.levels import score_levels
    from kit.runs.seen import count_looks
    from kit.runs.train import describe_unfinished

    states = describe_unfinished(prepared, list(results)) if skipped is None else None
    rows, looks = leaderboard(prepared, results, skipped or {}, states), count_looks(prepared, len(results))
    has_levels = prepared.hierarchy is not None
    return Comparison(rows, looks, {each.name: score_levels(prepared, each) for each in results if has_levels})


def after_looking(prepared: Prepared, results: Sequence[Result]) -> tuple[str, str]:
    """Return the command that is worth most once the results were looked at, and why.

    Triage is for models that are mostly right: of one that often errs the doubted labels are its own mistakes.
    """
    from kit.core.names import ENSEMBLE
    from kit.report.board import share_wrong

    sign = prepared.metric.sign
    judge = next((each for each in results if each.name == ENSEMBLE), None)
    judge = judge or max(results, key=lambda result: sign * result.record.cv)
    wrong = share_wrong(prepared, judge)
    if wrong <= MOST_WRONG:
        return "triage", f"{judge.name} is right about {1 - wrong:.0%} of the labels: look at those that it doubts"
    return "plan", f"{judge.name} is wrong about {wrong:.0%}: other runs are worth more now than cleaner labels"


def write_page(prepared: Prepared, png: bool = False) -> tuple[Path, list[Result]]:
    """Write the report of what is finished; return it and what it is of. InputError where nothing is finished."""
    from kit.report.page import write_report
    from kit.runs.train import find_finished, recall_skipped

    results = find_finished(prepared)
    return write_report(prepared, results, recall_skipped(prepared, results), png), results


def keep_copies_together(competition: Competition) -> None:
    """Find altered copies before the first folds are assigned, and write which labelled images stay together.

    Nothing is done where there are folds, or no run has an encoder. TimeIsUp where the time limit is reached before.
    """
    from kit.data.folds.file import copy_file
    from kit.data.prepared import committed_folds, prepare
    from kit.features.altered.telling import keep_together
    from kit.features.joint import encoders_of

    committed = committed_folds(competition)
    has_folds = competition.workspace.folds(competition.name).exists() or (committed and committed.exists())
    if has_folds or not any(encoders_of(run.options) for run in competition.runs.values()):
        return
    copy_file(competition).unlink(missing_ok=True)
    keep_together(prepare(competition, keep_folds=False))


def do_all(prepared: Prepared, watch: Stopwatch, strict: bool = False, log: Log | None = None) -> Everything:
    """Train all runs, combine them, verify, and write one submission and the report; what is there is re-used.

    `log` takes every run as soon as it is finished, and in the end the ensemble with the report.

    TimeIsUp where the time limit came before the first run was finished; with `strict`, also where it cut a run.
    """
    from kit.core import terminal
    from kit.features.altered.telling import look_for_copies, warn_of_copies
    from kit.kaggle.submission import make_submission, read_sample
    from kit.report.board import read_solution
    from kit.report.page import refresh_report
    from kit.runs.ensemble import check_members, ensemble
    from kit.runs.train import OutOfTime, find_better, find_finished, find_members, keep_skipped, train_runs
    from kit.runs.verify import verify

    competition, has_test = prepared.competition, bool(len(prepared.split("test")))
    check_members(prepared)
    if has_test:
        read_sample(prepared)  # what does not fit must not be found out after hours of training
        read_solution(prepared)
    with watch.measure("train"):
        results, skipped = train_runs(prepared, competition.default_runs, strict, _without_report(log))
    keep_skipped(prepared, skipped)
    with suppress(TimeIsUp):  # then the next call looks
        warn_of_copies(prepared, look_for_copies(prepared) or [])
    is_late = any(isinstance(reason, OutOfTime) for reason in skipped.values())
    if is_late and not results:
        raise TimeIsUp("time limit reached before any run was finished; the next call goes on")
    with watch.measure("ensemble"):
        combined = ensemble(prepared, find_members(prepared, told=skipped))
    with watch.measure("verify"):
        checks = verify(prepared, [*results, combined], with_weights=False)  # heads were fitted just now
    terminal.stage("verify", f"{len(checks)} checks held")
    path = make_submission(prepared, combined) if has_test else None
    watch.write(competition.workspace.runs(competition.name))
    finished = find_finished(prepared)
    page = refresh_report(prepared, finished, skipped) if not is_lacking("plotly") else None
    if log is not None:
        log(combined, page)
    better = find_better(prepared, finished, combined) if path else None
    return Everything(finished, skipped, path, page, better, is_late)
