"""The command that writes the page to look at: report."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.app import LOOK, command
from kit.cli.call import DEFAULT, Comp, follow_up, looking, read, ready, say, suggest


@command("report", panel=LOOK, example="report digits --png")
def report_(
    comp: Comp = DEFAULT,
    png: Annotated[bool, typer.Option("--png", help="Write every chart as a PNG too.")] = False,
) -> None:
    """Write one HTML page of what happened, and the numbers behind its charts."""
    from kit.api.stages import write_page

    competition = read(comp)
    with looking(competition):
        prepared = ready(competition, held=True)
        path, results = write_page(prepared, png)
    say(str(path), {"report": str(path), "figures": str(path.with_suffix(""))})
    suggest(*follow_up(prepared, results, comp))
