"""Commands on results: submission, leaderboard, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.call import DEFAULT, Comp, app, holding, read, ready, say, say_board, suggest
from kit.errors import InputError, nearest

if TYPE_CHECKING:
    from kit.prepare import Prepared
    from kit.runs import Result


@app.command()
def submission(
    comp: Comp = DEFAULT,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or the ensemble.")] = "ensemble",
) -> None:
    """Write the next validated CSV of a run into submissions/COMP, with a ledger row."""
    from kit.pipeline import find_trained
    from kit.submission import make_submission

    prepared = ready(read(comp))
    with holding(prepared.competition):
        result = find_trained(prepared, run, comp)
        path = make_submission(prepared, result)
    say(str(path), {"file": str(path), "run": run, "cv": result.facts["cv"], "se": result.facts["se"]})
    facts = prepared.competition.facts
    suggest(*(("submit", comp, run, "-m", path.stem) if facts.slug else ("leaderboard", comp)))


@app.command("leaderboard")
def leaderboard_(
    comp: Comp = DEFAULT,
    per_class: Annotated[
        str | None, typer.Option(metavar="RUN", help="Show one run class by class in place of all runs.")
    ] = None,
) -> None:
    """Compare the finished runs: CV +- SE, paired tests, local and Kaggle scores; or one of them class by class."""
    from kit.pipeline import find_finished

    prepared = ready(read(comp))
    results = find_finished(prepared)
    if not results:
        raise InputError(f"no finished run of {prepared.competition.name} yet; ./run.sh all {comp}")
    if per_class is None:
        say_board(prepared, results, {})
        suggest(*_follow_leaderboard(prepared, comp, results))
    else:
        _say_classes(prepared, results, per_class)
        suggest("report", comp)


def _follow_leaderboard(prepared: Prepared, comp: str, results: list[Result]) -> tuple[str, ...]:
    """Return what the finished runs still lack: an ensemble, its CSV, the CSV's score at Kaggle, or the report."""
    from kit.competition import ENSEMBLE
    from kit.ledger import read_ledger

    names, rows = {result.name for result in results}, read_ledger(prepared.competition)
    if ENSEMBLE not in names and len(names) > 1:
        return "ensemble", comp
    if not len(prepared.split("test")):
        return "report", comp
    run = ENSEMBLE if ENSEMBLE in names else results[0].name.partition(".")[0]
    row = next((row for row in reversed(rows) if row["run"] == run), None)
    if row is None:
        return "submission", comp, run
    if prepared.competition.facts.slug and not row["ref"]:
        return "submit", comp, run, "-m", row["file"].removesuffix(".csv")
    return "report", comp


def _say_classes(prepared: Prepared, results: list[Result], run: str) -> None:
    """Print one run class by class; a run with rounds means its last kept one."""
    from dataclasses import asdict

    from kit import terminal
    from kit.leaderboard import render_classes, score_classes

    found = {result.name.partition(".")[0]: result for result in results} | {result.name: result for result in results}
    if run not in found:
        raise InputError(f"--per-class {run}: no finished run of this name; {nearest(run, found)}")
    scores = score_classes(prepared, found[run])
    document = {"competition": prepared.competition.name, "run": found[run].name, "classes": [*map(asdict, scores)]}
    say(render_classes(prepared, found[run], scores, terminal.out.width), document)


@app.command("verify")
def verify_(comp: Comp = DEFAULT) -> None:
    """Re-derive folds, oof and the provenance of pseudo labels; a leak is named, exit code 1."""
    from kit.pipeline import find_finished
    from kit.verify import verify

    prepared = ready(read(comp))
    said = verify(prepared, find_finished(prepared))
    say("\n".join(said), {"checks": said})
    suggest("leaderboard", comp)
