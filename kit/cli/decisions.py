"""The command on decisions: thresholds, none of these, and how well each class is told from the rest."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.call import DEFAULT, Comp, app, holding, read, ready, say, suggest
from kit.errors import InputError


@app.command()
def decisions(
    comp: Comp = DEFAULT,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or the ensemble.")] = "ensemble",
) -> None:
    """Show what is decided of a run's images: thresholds, none of these, ROC curve and confusions of each class."""
    from kit import terminal
    from kit.decided import describe_decisions, render_decisions, write_decisions
    from kit.ensemble import ensemble
    from kit.pipeline import find_members
    from kit.runs import find_result

    prepared = ready(read(comp))
    with holding(prepared.competition):
        if run == "ensemble":
            result = ensemble(prepared, find_members(prepared))
        else:
            prepared.competition.run(run)
            result = find_result(prepared, run)
        if result is None:
            raise InputError(f"run {run} has not been trained; ./run.sh train {comp} {run}")
        said = describe_decisions(prepared, result)
        picture = write_decisions(said, result)
    document = {"competition": prepared.competition.name, "picture": str(picture)} | said.as_dict()
    say(render_decisions(said), document)
    terminal.note(str(picture))
    suggest(*(("submission", comp, run) if len(prepared.split("test")) else ("leaderboard", comp)))
