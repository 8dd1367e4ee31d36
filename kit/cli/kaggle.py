"""Commands on submissions: submission writes one, submit sends it, submissions lists what came of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli.app import KAGGLE, command
from kit.cli.call import DEFAULT, Comp, ResultName, holding, looking, options, read, ready, say, suggest
from kit.core.errors import InputError
from kit.core.names import ENSEMBLE

if TYPE_CHECKING:
    from kit.config.competition import Competition
    from kit.data.prepared import Prepared
    from kit.kaggle.client.session import Kaggle
    from kit.kaggle.submission import LedgerRow, Package
    from kit.runs.store import Result

SLUG_REMEDY = 'slug = "..." in [competition] names the competition at Kaggle'


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
    from kit.core import terminal
    from kit.kaggle.client.session import Kaggle
    from kit.kaggle.client.slug import read_slug
    from kit.kaggle.submission import check_open, hold_ledger, pack_kernel, wait_for_score

    if (kernel is None) != (version is None):
        raise InputError("-k OWNER/KERNEL and -v VERSION go together")
    competition = read(comp)
    if kernel is not None and competition.facts.slug is None:
        raise InputError(
            f"-k {kernel}: {comp} is a practice competition, of which no notebook is sent; leave -k and -v out, or "
            f"{SLUG_REMEDY}"
        )
    prepared = ready(competition)
    if competition.facts.slug is None:
        _score_locally(prepared, comp, run)
        return
    with Kaggle(read_slug(competition.facts.slug)) as kaggle:
        if kernel is not None and version is not None:
            package = pack_kernel(prepared, kernel, version, run, _find_result(prepared, run))
        elif (package := _find_package(prepared, run)) is None:
            _check_asking(yes or dry_run)
            check_open(kaggle, is_kernel=False)  # what would be refused leaves no file behind
            package = _write_package(prepared, run)
        with hold_ledger(competition):
            row = _send(kaggle, competition, package, message or package.row["file"], yes, dry_run)
        if row is None:
            again = ["-k", kernel, "-v", str(version)] if kernel is not None else []
            suggest("submit", comp, run, *again, "-m", message or package.row["file"].removesuffix(".csv"))
            return
        terminal.stage("submitted", f"{row['file']}, Kaggle's number {row['ref']}")
        if wait:
            row = wait_for_score(kaggle, competition, row["ref"])
    scores = f"public {row['public'] or 'not known yet'}" + (f", private {row['private']}" if row["private"] else "")
    say(f"{row['file']}: {scores} (CV {row['cv'] or 'not known'})", {"sent": True, **_document(competition, row)})
    suggest("submissions", comp)


def _send(
    kaggle: Kaggle, competition: Competition, package: Package, message: str, yes: bool, dry_run: bool
) -> LedgerRow | None:
    """Send what has not arrived already; return its row, None for a dry run."""
    from kit.core import terminal
    from kit.kaggle.submission import check_open, find_arrived, send_submission, settle

    row = find_arrived(settle(kaggle, competition), package)
    if row is not None:
        terminal.note(f"{row['file']} had arrived by an earlier call; it is not sent again")
        return row
    limits = check_open(kaggle, is_kernel=package.path is None)
    _tell(competition, package, limits)
    if dry_run:
        terminal.note("--dry-run: nothing was sent")
        say(package.row["file"], {"sent": False, **_document(competition, package.row), "limits": limits})
        return None
    _confirm(yes)
    return send_submission(kaggle, competition, package, message, limits)


def _find_package(prepared: Prepared, run: str) -> Package | None:
    """Return the newest file of a run, checked; None where the run is finished and has none."""
    from kit.core import terminal
    from kit.kaggle.submission import find_row, is_of, pack_file

    command = prepared.competition.command
    result, row = _find_result(prepared, run), find_row(prepared.competition, run)
    if row is None:
        if result is None and run != ENSEMBLE:
            raise InputError(f"run {run} has not been trained; {command('train', run)}")
        return None
    if result is None:
        terminal.warn(
            f"{run} as it stands now has not been made: {row['file']} is of other settings; after {command('all')}, "
            f"{command('submission', run)} writes a file of these"
        )
    elif not is_of(prepared, result, row):
        terminal.warn(f"{run} has changed since {row['file']} was written; {command('submission', run)} writes it anew")
    return pack_file(prepared, row)


def _write_package(prepared: Prepared, run: str) -> Package:
    """Write the first file of a run, or of the ensemble; return it, checked."""
    from kit.kaggle.submission import find_row, make_submission, pack_file
    from kit.runs.ensemble import ensemble
    from kit.runs.train import find_members

    with holding(prepared.competition):
        result = _find_result(prepared, run) or ensemble(prepared, find_members(prepared))
        make_submission(prepared, result)
    row = find_row(prepared.competition, run)
    if row is None:
        raise RuntimeError(f"the ledger does not name the file that was written for {run}")
    return pack_file(prepared, row)


def _find_result(prepared: Prepared, run: str) -> Result | None:
    """Return the finished run, or the finished ensemble."""
    from kit.runs.ensemble import find_ensemble, members_of
    from kit.runs.store import find_result, list_imported

    if run == ENSEMBLE:
        return find_ensemble(prepared, members_of(prepared))
    if run not in list_imported(prepared):
        prepared.competition.run(run)
    return find_result(prepared, run)


def _tell(competition: Competition, package: Package, limits: dict[str, Any]) -> None:
    """Say what is going to be sent, what to expect and what is left; warn of what was sent before."""
    from kit.core import terminal
    from kit.kaggle.submission import describe_left, read_ledger

    row = package.row
    expected = (
        f"expect {float(row['cv']):.4f} ± {float(row['se']):.4f} (CV ± SE)" if row.get("cv") else "its CV is not known"
    )
    terminal.stage("submit", f"{row['file']} to {competition.facts.slug}: {expected}; {describe_left(limits)}")
    for earlier in read_ledger(competition):
        same = earlier["sha256"] == row["sha256"] if row.get("sha256") else earlier["file"] == row["file"]
        if earlier["ref"] and (same or earlier["file"] == row["file"]):
            when = earlier["sent"] or "at an unknown time"
            score = f", public {earlier['public']}" if earlier["public"] else ""
            terminal.warn(f"{earlier['file']} was sent before, {when} UTC{score}: the same again")


def _confirm(yes: bool) -> None:
    """Ask before a submission of the day is spent."""
    _check_asking(yes)
    if not yes and not typer.confirm("Send it?", err=True):
        raise typer.Exit(1)


def _check_asking(yes: bool) -> None:
    """Refuse to ask where nobody can answer."""
    if not yes and not sys.stdin.isatty():
        raise InputError("nobody to ask whether to send it: nothing was sent; --yes sends without asking")


def _document(competition: Competition, row: LedgerRow) -> dict[str, Any]:
    """Return a submission as JSON."""
    keys = ("file", "run", "cv", "se", "sha256", "ref", "status", "public", "private", "sent", "message")
    return {"competition": competition.name, "slug": competition.facts.slug} | {key: row.get(key, "") for key in keys}


def _score_locally(prepared: Prepared, comp: str, run: str) -> None:
    """Score a practice competition's submission here, by its solution."""
    from kit.core import terminal
    from kit.report.board import local_score, read_solution
    from kit.runs.decide.decisions import decided_test
    from kit.runs.store import result_at

    competition = prepared.competition
    solution = read_solution(prepared)
    if solution is None:
        raise InputError(f"{comp} has neither slug nor solution; {SLUG_REMEDY}")
    package = _find_package(prepared, run) or _write_package(prepared, run)
    result = result_at(prepared, package.row["run"], package.row["key"])
    score, error = local_score(prepared, solution, decided_test(prepared, result))[:2]
    terminal.note(f"{comp} is a practice competition: nothing is sent, its solution scores {package.row['file']} here")
    expected = f"CV {float(package.row['cv']):.4f} ± {float(package.row['se']):.4f}"
    document = _document(competition, package.row) | {"sent": False, "local": score, "local_se": error}
    say(f"{package.row['file']}: {competition.facts.metric} {score:.4f} ± {error:.4f} ({expected})", document)
    suggest("leaderboard", comp)


@command(panel=KAGGLE, example="submissions inf473v")
def submissions(
    comp: Comp = DEFAULT,
    public_share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the test images behind the public score.")
    ] = 0.3,
) -> None:
    """Show every submission's CV beside Kaggle's scores; the place, the noise, the two to choose."""
    from dataclasses import asdict

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
