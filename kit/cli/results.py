"""Commands on results: submission, leaderboard, verify."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.call import DEFAULT, Comp, app, holding, read, ready, say, say_board
from kit.errors import InputError


@app.command()
def submission(
    comp: Comp = DEFAULT,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or the ensemble.")] = "ensemble",
) -> None:
    """Write the next validated CSV of a run into submissions/COMP, with a ledger row."""
    from kit.ensemble import ensemble
    from kit.pipeline import find_members
    from kit.runs import find_result
    from kit.submission import make_submission

    prepared = ready(read(comp))
    with holding(prepared.competition):
        if run == "ensemble":
            result = ensemble(prepared, find_members(prepared))
        else:
            prepared.competition.run(run)
            result = find_result(prepared, run)
        if result is None:
            raise InputError(f"run {run} has not been trained; ./run.sh train {comp} {run}")
        path = make_submission(prepared, result)
    say(str(path), {"file": str(path), "run": run, "cv": result.facts["cv"], "se": result.facts["se"]})


@app.command("leaderboard")
def leaderboard_(comp: Comp = DEFAULT) -> None:
    """Compare the finished runs: CV +- SE, paired tests, local and Kaggle scores."""
    from kit.pipeline import find_finished

    prepared = ready(read(comp))
    results = find_finished(prepared)
    if not results:
        raise InputError(f"no finished run of {prepared.competition.name} yet; ./run.sh all {comp}")
    say_board(prepared, results, {})


@app.command("verify")
def verify_(comp: Comp = DEFAULT) -> None:
    """Re-derive folds, oof and the provenance of pseudo labels; a leak is named, exit code 1."""
    from kit.pipeline import find_finished
    from kit.verify import verify

    prepared = ready(read(comp))
    said = verify(prepared, find_finished(prepared))
    say("\n".join(said), {"checks": said})
