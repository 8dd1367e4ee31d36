"""The command that does everything: all."""

from __future__ import annotations

from importlib.util import find_spec

import typer

from kit.cli.app import START, command
from kit.cli.call import DEFAULT, Comp, TimeLimit, holding, make_board, options, read, ready, say, suggest
from kit.core.errors import TimeIsUp


@command("all", panel=START, example="all digits --time-limit 30m")
def all_(comp: Comp = DEFAULT, time_limit: TimeLimit = None) -> None:
    """Do everything: check, folds, all runs, ensemble, one submission, leaderboard, verify, report."""
    from kit.core import terminal
    from kit.core.stopwatch import Stopwatch
    from kit.kaggle.submission import make_submission, read_sample
    from kit.report.board import read_solution
    from kit.report.page import refresh_report
    from kit.runs.ensemble import check_members, ensemble
    from kit.runs.train import (
        OutOfTime,
        describe_skipped,
        find_better,
        find_finished,
        find_members,
        keep_skipped,
        train_runs,
    )
    from kit.runs.verify import verify

    competition, watch = read(comp), Stopwatch()
    with holding(competition):
        with watch.measure("images"):
            prepared = ready(competition, time_limit, held=True)
        check_members(prepared)
        if len(prepared.split("test")):
            read_sample(prepared)  # what does not fit must not be found out after hours of training
            read_solution(prepared)
        with watch.measure("train"):
            results, skipped = train_runs(prepared, competition.default_runs, strict=options.strict)
        keep_skipped(prepared, skipped)
        is_late = any(isinstance(reason, OutOfTime) for reason in skipped.values())
        if is_late and not results:
            raise TimeIsUp("time limit reached before any run was finished; the next call goes on")
        with watch.measure("ensemble"):
            combined = ensemble(prepared, find_members(prepared, told=skipped))
        with watch.measure("verify"):
            checks = verify(prepared, [*results, combined])
        terminal.stage("verify", f"{len(checks)} checks held")
        path = make_submission(prepared, combined) if len(prepared.split("test")) else None
        watch.write(competition.workspace.runs(competition.name))
        finished = find_finished(prepared)
        page = refresh_report(prepared, finished, skipped) if find_spec("plotly") else None
        board = make_board(prepared, finished, skipped, submission=path, report=page)
        better = find_better(prepared, finished, combined) if path else None
    say(*board)
    for line in describe_skipped(skipped):
        terminal.warn(line)
    if page is None:
        terminal.note("no report: plotly is not installed; pip install 'kit[report]' brings it")
    if path is None:
        terminal.stage("submission", "none: the competition has no test images")
    if better:
        terminal.note(f"{better.base} alone is better than the ensemble: it may be sent in its place")
    if is_late:
        suggest("all", comp, *(["--time-limit", time_limit] if time_limit else []))
    elif better:
        suggest("submission", comp, better.base)
    elif path and competition.facts.slug:
        suggest("submit", comp, "-m", path.stem)
    else:
        suggest("triage", comp)
    if is_late:
        done = "what was finished is in the submission" if path else "what was finished is in the table"
        terminal.note(f"stopped at the time limit: {done}; the same command goes on with the rest (exit code 1)")
        raise typer.Exit(1)
