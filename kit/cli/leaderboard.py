"""Commands on finished runs: leaderboard, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.api.place import check_begun
from kit.cli.app import LOOK, command
from kit.cli.call import DEFAULT, Comp, complete_result, holding, looking, make_board, read, ready, say, suggest
from kit.core.errors import InputError, nearest
from kit.core.names import ENSEMBLE

if TYPE_CHECKING:
    from kit.data.prepared import Prepared
    from kit.runs.store import Result


@command("leaderboard", panel=LOOK, example="leaderboard digits --per-class probe")
def leaderboard_(
    comp: Comp = DEFAULT,
    per_class: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Show one run class by class in place of all runs.", autocompletion=complete_result
        ),
    ] = None,
) -> None:
    """Compare the finished runs: CV +- SE, paired tests, local and Kaggle scores; or one of them class by class."""
    from kit.api.stages import list_finished

    competition = read(comp)
    check_begun(competition)
    with looking(competition):
        prepared = ready(competition, held=True)
        results = list_finished(prepared)
        if per_class is None:
            shown, follow = make_board(prepared, results), _follow_leaderboard(prepared, comp, results)
        else:
            shown, follow = _list_classes(prepared, results, per_class), ("report", comp)
    say(*shown)
    suggest(*follow)


def _follow_leaderboard(prepared: Prepared, comp: str, results: list[Result]) -> tuple[str, ...]:
    """Return what the finished runs still lack: an ensemble, its CSV, the CSV's score at Kaggle, or the report."""
    from kit.kaggle.submission import is_of, read_ledger

    names, rows = {result.name for result in results}, read_ledger(prepared.competition)
    if ENSEMBLE not in names and len(names) > 1:
        return ENSEMBLE, comp
    if not len(prepared.split("test")):
        return "report", comp
    result = next((result for result in results if result.name == ENSEMBLE), results[0])
    run = result.base
    row = next((row for row in reversed(rows) if is_of(prepared, result, row)), None)
    if row is None:
        return "submission", comp, run
    if prepared.competition.facts.slug and not row["ref"]:
        return "submit", comp, run, "-m", row["file"].removesuffix(".csv")
    return "report", comp


def _list_classes(prepared: Prepared, results: list[Result], run: str) -> tuple[Any, dict[str, Any]]:
    """Return one run class by class, as `say` takes it; a run with rounds counts as one."""
    from kit.core import terminal
    from kit.report.board import render_classes, score_classes

    by_name = {result.base: result for result in results} | {result.name: result for result in results}
    if run not in by_name:
        raise InputError(f"--per-class {run}: no finished run of this name; {nearest(run, by_name)}")
    result = by_name[run]
    scores = score_classes(prepared, result)
    classes = [score.as_dict() for score in scores]
    document = {"competition": prepared.competition.name, "run": result.name, "classes": classes}
    return render_classes(prepared, result, scores, terminal.out.width), document


@command("verify", panel=LOOK, example="verify digits --refit 1")
def verify_(
    comp: Comp = DEFAULT,
    refit: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Fit N folds of every run again, with the fold's labels hidden."),
    ] = 0,
) -> None:
    """Re-derive folds, oof and the provenance of pseudo labels; a leak is named, exit code 1."""
    from kit.core import terminal
    from kit.runs.alarm import find_doubts
    from kit.runs.train import find_finished, list_untrained
    from kit.runs.verify import verify
    from kit.runs.verify.refit import refit_folds

    competition = read(comp)
    with holding(competition):  # a `clean` in between would look like damage
        prepared = ready(competition, held=True)
        results = find_finished(prepared)
        if not results:
            raise InputError(
                f"no finished run of {competition.name} yet, so nothing to verify but the folds, which hold; "
                f"{competition.command('all')}"
            )
        checks, missing = verify(prepared, results), list_untrained(prepared, results)
        doubts = {doubt.run: str(doubt) for doubt in find_doubts(prepared, results)}
        checks += refit_folds(prepared, results, refit) if refit else []
    for name, doubt in doubts.items():
        terminal.warn(f"{name} is doubtful: {doubt}")
    if missing:
        remedy = f"{competition.command('train')} trains them"
        terminal.note(f"not trained, so not verified: {', '.join(missing)}; {remedy}")
    say("\n".join(checks), {"checks": checks, "doubts": doubts, "not_trained": missing})
    suggest("leaderboard", comp)
