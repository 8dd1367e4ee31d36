"""The command that trains at Kaggle: remote push, status, pull, stop."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli.app import KAGGLE, command
from kit.cli.call import Comp, complete_run, holding, options, read, ready, say, suggest
from kit.core.errors import InputError

if TYPE_CHECKING:
    from kit.config.competition import Competition
    from kit.kaggle.client.session import Kaggle
    from kit.kaggle.remote import Plan, Push, Taken

NO_ACCELERATOR = "none"
WORDS = {"done": "all runs are finished", "cut": "the time ended before all runs were finished", "failed": "it failed"}


class What(StrEnum):
    """Name what is done with a push."""

    push = "push"
    status = "status"
    pull = "pull"
    stop = "stop"


@command(panel=KAGGLE, example="remote push digits probe")
def remote(
    what: Annotated[What, typer.Argument(help="Train there; see how far it is; take the runs; stop.")],
    comp: Comp,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Of push: runs or grids; all by default.", autocompletion=complete_run),
    ] = None,
    accelerator: Annotated[
        str, typer.Option(help="Of push: as Kaggle names it; the default is two T4; none for a CPU.")
    ] = "NvidiaTeslaT4",
    time_limit: Annotated[
        str, typer.Option(help="Of push: stop training after this long; a session of Kaggle ends after 12h.")
    ] = "11h",
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Of push: send the images too, in place of Kaggle's own.")
    ] = False,
    internet: Annotated[bool, typer.Option("--internet", help="Of push: let the session reach the internet.")] = False,
    lacks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE", help="Of push: what Kaggle's image lacks, in place of what is assumed; repeatable."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Of push: ask nothing.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Of push: in place of the ended session of another workspace.")
    ] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Of pull: keep the log, give up what the session left.")
    ] = False,
) -> None:
    """Train runs on Kaggle's GPUs by a private notebook, and take them back after the checks of verify."""
    competition = read(comp)
    if what is not What.push and runs:
        raise InputError(f"remote {what}: takes no RUN; it is about all that was pushed")
    if what is What.push:
        _push(competition, runs or [], accelerator, time_limit, with_data, internet, lacks, yes, replace)
    elif what is What.pull and discard:
        _discard(competition)
    else:
        {What.status: _status, What.pull: _pull, What.stop: _stop}[what](competition)


def _open(competition: Competition) -> Kaggle:
    """Return a session with Kaggle."""
    from kit.kaggle.client.session import Kaggle

    return Kaggle(competition.facts.slug or "")


def _push(
    competition: Competition,
    runs: list[str],
    accelerator: str,
    time_limit: str,
    with_data: bool,
    internet: bool,
    lacks: list[str] | None,
    yes: bool,
    replace: bool,
) -> None:
    """Show what is left of the quota, ask, pack and push."""
    from kit.api.stages import names_of_runs
    from kit.core.deadline import parse_duration
    from kit.kaggle.remote import (
        ask_quota,
        check_earlier,
        describe_quota,
        find_earlier,
        pack,
        plan_push,
        pushing,
        read_hours,
        send_push,
        write_push,
    )

    if accelerator.casefold().startswith("tpu"):
        raise InputError(f"--accelerator {accelerator}: the kit trains on GPUs and CPUs, not on TPUs")
    names, hours = names_of_runs(competition, runs), parse_duration(time_limit) / 3600
    with_gpu = accelerator.casefold() != NO_ACCELERATOR
    read_hours(None, hours, with_gpu)  # a limit that is too long is told before the images are read
    with pushing(competition), _open(competition) as kaggle:
        with holding(competition):
            prepared = ready(competition, held=True)
            plan = plan_push(prepared, names, with_data, strict=bool(runs))
        kaggle.connect()
        earlier = find_earlier(kaggle, competition)
        if earlier.push is not None:
            write_push(competition, earlier.push)
        check_earlier(competition, earlier, replace)
        quota = ask_quota(kaggle)
        hours = read_hours(quota, hours, with_gpu)
        _ask(competition, plan, accelerator, hours, describe_quota(quota), yes)
        given = options.changes, options.seed
        with holding(competition):
            file = pack(prepared, plan, *given, lacks)
        wanted = hours, accelerator if with_gpu else "", internet
        push = send_push(kaggle, prepared, plan, file, *wanted, *given, before=earlier.version)
    text = f"{', '.join(push.runs)}: pushed as version {push.notebook_version} of {push.notebook}\n{push.url}"
    say(text, {"push": push.model_dump(), "quota": quota})
    suggest("remote", "status", competition.name if competition.is_known else str(competition.folder))


def _ask(competition: Competition, plan: Plan, accelerator: str, hours: float, quota: str, yes: bool) -> None:
    """Say what will be pushed and what it costs; ask, unless that was answered."""
    from kit.core import terminal

    data = "with the images" if plan.carries_data else f"on Kaggle's data of {competition.facts.slug}"
    terminal.stage("push", f"{', '.join(plan.runs)}, {data}, on {accelerator}, {hours:g} h at most, privately")
    terminal.stage("quota", quota)
    if yes:
        return
    if not sys.stdin.isatty():
        again = competition.command("remote push", *plan.runs, "--yes")
        raise InputError(f"nobody to ask whether to push: nothing was sent; {again} pushes without asking")
    if not typer.confirm("Push it?", err=True):
        raise typer.Exit(1)


def _status(competition: Competition) -> None:
    """Show how the session is, the last that it printed, and the quota."""
    from kit.core import terminal
    from kit.kaggle.remote import ask_quota, describe_quota, find_push, look_at

    push = find_push(competition)
    with _open(competition) as kaggle:
        look, quota = look_at(kaggle, push), ask_quota(kaggle)
    for line in look.lines:
        terminal.note(line)
    terminal.stage("quota", describe_quota(quota))
    told = f" ({look.message})" if look.message else ""
    text = (
        f"{', '.join(push.runs)}: {look.status}{told}, pushed {push.begun} UTC as version {push.notebook_version} of "
    )
    document = {"push": push.model_dump(), "status": look.status, "message": look.message, "lines": look.lines}
    say(text + push.notebook, document | {"quota": quota})
    if not look.is_active and push.stage not in ("taken", "discarded"):
        suggest("remote", "pull", competition.name if competition.is_known else str(competition.folder))


def _pull(competition: Competition) -> None:
    """Take what the session left; a session that failed is told with its last lines."""
    from kit.core import terminal
    from kit.kaggle.remote import fetch_output, find_push, pushing, take_output

    with pushing(competition), _open(competition) as kaggle:
        push = find_push(competition)
        output = fetch_output(kaggle, competition, push)
        with holding(competition):
            taken = take_output(ready(competition, held=True), push, output)
    for check in taken.checks:
        terminal.note(check)
    if taken.place and taken.merged:
        apart = ", ".join(f"{name} {told}" for name, told in taken.place.items())
        terminal.note(f"the last digits may be others than if trained here, as the session computed with {apart}")
    for line in taken.lines:
        terminal.note(f"| {line}")
    say("\n".join(_describe(taken)), asdict(taken) | {"push": push.at("taken").model_dump()})
    if taken.ended == "failed":
        again = competition.command("remote push", *push.runs)
        raise RuntimeError(f"the session failed: {taken.message}; its log: {taken.log}. Mend that, then {again}")
    _suggest_after(competition, push, taken)


def _discard(competition: Competition) -> None:
    """Give a push up, so that the next one can be sent."""
    from kit.kaggle.remote import discard_push, find_push, pushing

    with pushing(competition), _open(competition) as kaggle:
        push = find_push(competition)
        log = discard_push(kaggle, competition, push)
    text = f"{', '.join(push.runs)}: given up; at Kaggle all is as it was, and until the next push it can be pulled"
    say(f"{text}\n{log}", {"push": push.at("discarded").model_dump(), "log": log})
    suggest("remote", "push", competition.name if competition.is_known else str(competition.folder))


def _describe(taken: Taken) -> list[str]:
    """Say what was taken, a line each."""
    lines = [
        f"{run.name} {run.key}: {run.cv:.4f} +- {run.se:.4f}; {run.remark or 'taken, and counts'}"
        for run in taken.merged
    ]
    lines += [f"{name}: not finished; {n} files of its folds and checkpoints taken" for name, n in taken.kept.items()]
    why = f" ({taken.message})" if taken.message else ""
    return [*lines, f"{WORDS[taken.ended]}{why}"]


def _suggest_after(competition: Competition, push: Push, taken: Taken) -> None:
    """Say what is next: another push goes on where the time ended."""
    comp = competition.name if competition.is_known else str(competition.folder)
    if taken.ended == "cut":
        suggest("remote", "push", comp, *push.runs)
    else:
        suggest("leaderboard" if any(run.counts for run in taken.merged) else "history", comp)


def _stop(competition: Competition) -> None:
    """Stop the session, or say how the site does."""
    from kit.kaggle.remote import find_push, look_at, stop_session

    push = find_push(competition)
    with _open(competition) as kaggle:
        look = look_at(kaggle, push)
        told = f"{look.status}, so there is nothing to stop"
        if look.is_active:
            look = stop_session(kaggle, push)
            told = f"{look.status}; {competition.command('remote pull')} takes what it had packed once it has ended"
    document: dict[str, Any] = {"push": push.model_dump(), "status": look.status}
    say(f"{', '.join(push.runs)}: {told}", document | {"is_stopped": not look.is_active})
