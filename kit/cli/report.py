"""The command that writes the page to look at: report."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.call import DEFAULT, Comp, app, holding, read, ready, say, suggest


@app.command("report")
def report_(
    comp: Comp = DEFAULT,
    png: Annotated[bool, typer.Option("--png", help="Write every chart as a PNG too.")] = False,
) -> None:
    """Write one HTML page of what happened, and the numbers behind its charts."""
    from kit.pipeline import find_finished
    from kit.report import write_report

    prepared = ready(read(comp))
    with holding(prepared.competition):
        path = write_report(prepared, find_finished(prepared), {}, png)
    say(str(path), {"report": str(path), "figures": str(path.with_suffix(""))})
    suggest("triage", comp)
