"""The command that searches a run's settings: tune."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.app import TRAIN, command
from kit.cli.call import Comp, complete_run, holding, read, ready, say, suggest


@command("tune", panel=TRAIN, example="tune digits probe --trials 20")
def tune_(
    comp: Comp,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run; its table runs.RUN.search may say what is tried.", autocompletion=complete_run
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, those of earlier calls among them.")] = 20,
    timeout: Annotated[
        str | None, typer.Option(help="Stop searching after this long (9h, 30m, 45s) and score what was found.")
    ] = None,
    toml: Annotated[
        bool, typer.Option("--toml", help="Print the best values as TOML though they may not help.")
    ] = False,
) -> None:
    """Search a run's settings on its folds; say whether they help on other folds, and print those that do as TOML."""
    from kit.core import terminal
    from kit.core.deadline import parse_duration
    from kit.runs.tuning import read_space, render, tune, tuned_name

    competition = read(comp)
    seconds = parse_duration(timeout, "--timeout") if timeout else None
    read_space(competition, competition.run(run))  # refused before any work
    prepared = ready(competition)
    with holding(competition):
        tuned = tune(prepared, run, trials, seconds)
    say(render(tuned, with_toml=toml), tuned.as_dict())
    if tuned.has_helped:
        terminal.note(f"the table above belongs into {competition.file}")
        suggest("train", comp, tuned_name(tuned.run))
    else:
        if not tuned.is_own and not toml:
            terminal.note(
                "--toml prints the best values all the same; more trials or a wider space may find better ones"
            )
        suggest("leaderboard", comp)
