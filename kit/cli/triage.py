"""The command that lays out suspicious labels: triage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.app import CURATE, command
from kit.cli.call import DEFAULT, Comp, complete_result, holding, read, ready, say, suggest

if TYPE_CHECKING:
    from kit.data.prepared import Prepared
    from kit.runs.store import Result

SHOWN = 10  # labels named in the terminal


@command("triage", panel=CURATE, example="triage digits")
def triage_(
    comp: Comp = DEFAULT,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Whose oof is asked; the ensemble's.", autocompletion=complete_result),
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="A CSV of ids: measure what it is worth not to train on them.")
    ] = None,
) -> None:
    """Rank the labels that are most likely wrong; nothing is edited."""
    from kit.runs.train import find_finished

    prepared = ready(read(comp))
    with holding(prepared.competition):
        results = find_finished(prepared)
        if exclude is None:
            n_issues = _lay_out(prepared, results, run)
            again = ("triage", comp, *([run] if run else []), "--exclude", "FILE")
            suggest(*(again if n_issues else ("leaderboard", comp)))
        else:
            _measure(prepared, results, run, exclude)
            suggest("all", comp)


def _lay_out(prepared: Prepared, results: list[Result], run: str | None) -> int:
    """Write the labels, the most suspicious first, and show some; return how many are taken for wrong."""
    from kit.core import terminal
    from kit.curate.triage import choose_run, describe_images, rank_labels, write_triage

    ranked = rank_labels(prepared, choose_run(prepared, results, run))
    path = write_triage(prepared, ranked)
    first = describe_images(prepared, ranked, ranked.suspicious[:SHOWN])
    lines = [
        f"{row['id']}: given {row['given']}, {ranked.run} says {row['suggested']} ({row['probability']})"
        for row in first
    ]
    n_issues = int(ranked.issue.sum())
    document = {
        "run": ranked.run,
        "file": str(path),
        "sheet": str(path.with_suffix(".png")),
        "n_labels": len(ranked.labels),
        "n_issues": n_issues,
        "contradictions": ranked.contradictions,
        "first": first,
    }
    if ranked.contradictions:
        lines.append(f"near-duplicates with different labels: {len(ranked.contradictions)} clusters, marked in the CSV")
    what = "labels" if ranked.labels.ndim == 1 else "images' labels, in one class or more,"
    terminal.stage("triage", f"confident learning takes {n_issues} of {len(ranked.labels)} {what} for wrong")
    if (n_more := len(ranked.suspicious) - len(first)) > 0:
        lines.append(f"and {n_more} more in the CSV")
    if ranked.error > n_issues / len(ranked.labels):
        terminal.note(
            f"{ranked.run} itself is wrong about {ranked.error:.0%} of them: many of these are its own mistakes"
        )
    say("\n".join([*lines, str(path), str(path.with_suffix(".png"))]), document)
    if n_issues:
        terminal.note("look at the sheet and copy the rows to leave out into a FILE of their own")
    return n_issues


def _measure(prepared: Prepared, results: list[Result], run: str | None, exclude: Path) -> None:
    from dataclasses import asdict

    from kit.core import terminal
    from kit.core.errors import InputError
    from kit.core.names import ENSEMBLE, PROGRAM
    from kit.curate.triage import choose_run, measure_exclusion

    if not exclude.is_file():
        raise InputError(
            f"{exclude}: no such file; {PROGRAM} triage {prepared.competition.name} writes one to choose from"
        )
    singles = [result for result in results if result.name in prepared.competition.runs]
    name = run or choose_run(prepared, singles, None).name
    if name == ENSEMBLE:
        raise InputError("the ensemble trains nothing itself; name one of its runs")
    effect = measure_exclusion(prepared, name, exclude)
    say(str(effect), asdict(effect))
    terminal.note(f'to keep it: [runs.{name}] exclude = "{exclude}"')
