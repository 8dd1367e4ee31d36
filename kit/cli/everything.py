"""The command that does everything: all."""

from __future__ import annotations

import typer

from kit.cli.app import START, command
from kit.cli.call import (
    DEFAULT,
    Comp,
    Note,
    TimeLimit,
    Track,
    follow_up,
    holding,
    make_board,
    options,
    read,
    ready,
    say,
    suggest,
)
from kit.core.installed import spell_lack


@command("all", panel=START, example="all digits --time-limit 30m")
def all_(comp: Comp = DEFAULT, time_limit: TimeLimit = None, note: Note = None, track: Track = None) -> None:
    """Do everything: check, folds, all runs, ensemble, one submission, leaderboard, verify, report."""
    from kit.core import terminal
    from kit.core.stopwatch import Stopwatch

    with holding(competition := read(comp)):  # `status` knows of it while the modules below are imported
        from kit.api.stages import do_all
        from kit.runs.store.ledger import noting
        from kit.runs.track import make_logger, read_trackers
        from kit.runs.train import describe_skipped

        watch, trackers = Stopwatch(), read_trackers(track or ())
        with watch.measure("images"):
            prepared = ready(competition, time_limit, held=True, look_again=True)
        with noting(note):
            made = do_all(prepared, watch, options.strict, make_logger(prepared, trackers))
        board = make_board(prepared, made.finished, made.skipped, submission=made.submission, report=made.report)
    say(*board)
    for line in describe_skipped(made.skipped):
        terminal.warn(line)
    if made.report is None:
        terminal.note(f"no report: {spell_lack('plotly')} brings it")
    if made.submission is None:
        terminal.stage("submission", "none: the competition has no test images")
    if made.better:
        terminal.note(f"{made.better.base} alone is better than the ensemble: it may be sent in its place")
    if made.is_late:
        suggest("all", comp, *(["--time-limit", time_limit] if time_limit else []))
    elif made.better:
        suggest("submission", comp, made.better.base)
    elif made.submission and competition.facts.slug:
        suggest("submit", comp, "-m", made.submission.stem)
    else:
        suggest(*follow_up(prepared, made.finished, comp))
    if made.is_late:
        done = "what was finished is in the " + ("submission" if made.submission else "table")
        terminal.note(f"stopped at the time limit: {done}; the same command goes on with the rest (exit code 1)")
        raise typer.Exit(1)
