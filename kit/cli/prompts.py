"""Commands on words: prompts."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.app import CURATE, command
from kit.cli.call import DEFAULT, Comp, TimeLimit, holding, options, read, ready, suggest


@command("prompts", panel=CURATE, example="prompts digits --list crafted")
def prompts_(
    comp: Comp = DEFAULT,
    encoder: Annotated[
        str | None, typer.Option(help="An open_clip encoder; every one that a run names by default.")
    ] = None,
    shown: Annotated[
        str | None, typer.Option("--list", help="Show the words to edit of this list; of the best by default.")
    ] = None,
    time_limit: TimeLimit = None,
) -> None:
    """Score every prompt list zero-shot on the labelled images; name the words that could be better."""
    from kit.core import terminal
    from kit.curate.words import compare_prompts, print_report
    from kit.features.prompts import prompts_of

    prepared = ready(read(comp), time_limit)
    if shown is not None:
        prompts_of(prepared.pool, shown)  # refused before any work
    with holding(prepared.competition):
        report = compare_prompts(prepared, encoder, options.strict)
    if options.json:
        terminal.print_json(report.as_dict())
    else:
        print_report(report, terminal.out, shown)
    suggest("train", comp)
