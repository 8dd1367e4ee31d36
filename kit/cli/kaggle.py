"""Commands on submissions: submission writes one, submit sends it, submissions lists what came of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from kit.cli.app import KAGGLE, command
from kit.cli.call import DEFAULT, Comp, ResultName, looking, options, read, ready, say, suggest
from kit.core.errors import InputError
from kit.core.names import ENSEMBLE


@command(panel=KAGGLE, example="submission digits probe")
def submission(comp: Comp = DEFAULT, run: ResultName = ENSEMBLE) -> None:
    """Write the next validated CSV of a run into submissions/COMP, with a ledger row."""
    from kit.kaggle.submission import make_submission
    from kit.runs.train import find_trained

    competition = read(comp)
    with looking(competition):
        prepared = ready(competition, held=True)
        result = find_trained(prepared, run)
        path = make_submission(prepared, result)
    say(str(path), {"file": str(path), "run": run, "cv": result.record.cv, "se": result.record.se})
    facts = competition.facts
    suggest(*(("submit", comp, run, "-m", path.stem) if facts.slug else ("leaderboard", comp)))


@command(panel=KAGGLE, example='submit digits probe -m "linear probe" --wait')
def submit(
    comp: Comp = DEFAULT,
    run: ResultName = ENSEMBLE,
    message: Annotated[str, typer.Option("--message", "-m", help="What Kaggle's list shows of it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; send also what was sent before.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the score.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do all but send; a run that has no file gets one.")
    ] = False,
    kernel: Annotated[str | None, typer.Option("--kernel", "-k", help="OWNER/KERNEL, for code competitions.")] = None,
    version: Annotated[int | None, typer.Option("--version", "-v", help="Version of the kernel.")] = None,
) -> None:
    """Send a run's submission to Kaggle: checked before, sent once, believed when Kaggle lists it."""
    from kit.api.sending import check_kernel, submit_run

    competition = read(comp)
    check_kernel(competition, kernel, version)
    told = submit_run(
        ready(competition), run, message, Asking(yes), wait=wait, dry_run=dry_run, kernel=kernel, version=version
    )
    row, document = told.row, told.document(competition)
    cv = f"{float(row['cv']):.4f} ± {float(row['se']):.4f}" if row.get("cv") else "not known"
    if told.local is not None:
        score, error = told.local
        say(f"{row['file']}: {competition.facts.metric} {score:.4f} ± {error:.4f} (CV {cv})", document)
        suggest("leaderboard", comp)
    elif not told.is_sent:
        say(row["file"], document)
        again = ["-k", kernel, "-v", str(version)] if kernel is not None else []
        suggest("submit", comp, run, *again, "-m", message or row["file"].removesuffix(".csv"))
    else:
        scores = f"public {row['public'] or 'not known yet'}"
        scores += f", private {row['private']}" if row["private"] else ""
        say(f"{row['file']}: {scores} (CV {row['cv'] or 'not known'})", document)
        suggest("submissions", comp)


@dataclass(frozen=True)
class Asking:
    """Ask in the terminal before a submission of the day is spent; with `yes` nobody is asked."""

    yes: bool

    def check(self) -> None:
        """Refuse to ask where nobody can answer."""
        if not self.yes and not sys.stdin.isatty():
            raise InputError("nobody to ask whether to send it: nothing was sent; --yes sends without asking")

    def ask(self, sent_before: list[str]) -> None:
        """Ask; what was sent before was told."""
        self.check()
        if not self.yes and not typer.confirm("Send it?", err=True):
            raise typer.Exit(1)


@command(panel=KAGGLE, example="submissions inf473v")
def submissions(
    comp: Comp = DEFAULT,
    public_share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the test images behind the public score.")
    ] = 0.3,
) -> None:
    """Show every submission's CV beside Kaggle's scores; the place, the noise, the two to choose."""
    from dataclasses import asdict

    from kit.api.sending import SLUG_REMEDY
    from kit.core import terminal
    from kit.kaggle.client.session import Kaggle
    from kit.kaggle.client.slug import read_slug
    from kit.kaggle.submission import (
        comparable,
        correlate_cv,
        describe_incomparable,
        describe_limits,
        describe_place,
        hold_ledger,
        pick_two,
        render_submissions,
        settle,
        warn_of_noise,
    )

    prepared = ready(read(comp))
    competition = prepared.competition
    if competition.facts.slug is None:
        if competition.data.solution is None:
            raise InputError(f"{comp} has neither slug nor solution; {SLUG_REMEDY}")
        raise InputError(
            f"{comp} is a practice competition: nothing was sent; {competition.command('leaderboard')} has its scores"
        )
    with Kaggle(read_slug(competition.facts.slug)) as kaggle:
        listed = kaggle.read("list_submissions", slug=kaggle.slug)
        with hold_ledger(competition):
            rows = [row for row in settle(kaggle, competition, listed) if row["ref"]]
        limits = kaggle.read("limits", slug=kaggle.slug)
        teams = [submitted["team"] for submitted in listed]
        place = kaggle.read("find_team", slug=kaggle.slug, teams=[*dict.fromkeys(filter(None, teams)), kaggle.username])
    compared = comparable(prepared, rows)
    picks = pick_two(prepared, compared)
    correlation, private = correlate_cv(compared), correlate_cv(compared, "private")
    warning, left_out = warn_of_noise(prepared, compared, public_share), describe_incomparable(rows, compared)
    if warning:
        terminal.warn(warning)
    document = {"competition": competition.name, "slug": competition.facts.slug, "submissions": rows, "limits": limits}
    document |= {"place": place, "correlation": asdict(correlation), "warning": warning}
    document["private_correlation"] = asdict(private)
    document["picks"] = [asdict(pick) for pick in picks]
    document["not_compared"] = left_out
    if rows and not options.json:
        terminal.out.print(render_submissions(rows, picks, f"{competition.facts.title} ({competition.facts.metric})"))
    lines = [str(correlation), *([str(private)] if private.n else []), describe_limits(limits), describe_place(place)]
    lines = [left_out, *lines] if left_out else lines
    lines += [f"choose {pick.file} (number {pick.ref}): {pick.why}" for pick in picks]
    if len(picks) == 1:
        lines.append("no second choice: no other run here is as good by a paired test and labels test images otherwise")
    say("\n".join(lines), document)
    suggest("leaderboard", comp)
