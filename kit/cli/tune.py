"""The command that searches a run's settings: tune."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.call import Comp, app, holding, read, ready, say, suggest


@app.command()
def tune(
    comp: Comp,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run; its table runs.RUN.search may say what is tried.")
    ],
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, those of earlier calls among them.")] = 20,
    timeout: Annotated[
        str | None, typer.Option(help="Stop searching after this long (9h, 30m, 45s) and score what was found.")
    ] = None,
) -> None:
    """Search a run's settings on its folds; print the best as TOML, and whether they help on other folds."""
    from kit import terminal
    from kit.competition import FILE
    from kit.deadline import parse_duration
    from kit.tuning import read_space, render, tuned_name
    from kit.tuning import tune as search

    competition = read(comp)
    seconds = parse_duration(timeout, "--timeout") if timeout else None
    read_space(competition, competition.run(run))  # refused before any work
    prepared = ready(competition)
    with holding(competition):
        found = search(prepared, run, trials, seconds)
    say(render(found), found.as_dict())
    if found.is_own or not found.comparison.is_distinguishable or found.comparison.difference < 0:
        suggest("leaderboard", comp)
    else:
        terminal.note(f"the table above belongs into {competition.folder / FILE}")
        suggest("train", comp, tuned_name(found.run))
