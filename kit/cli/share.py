"""Commands for teams: share, merge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import TRAIN, command
from kit.cli.call import Comp, complete_result, holding, looking, read, ready, say, suggest


@command(panel=TRAIN, example="share digits probe svm for-ann.zip")
def share(
    comp: Comp,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs; all that are finished by default.", autocompletion=complete_result),
    ] = None,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The zip to write.")] = None,
) -> None:
    """Pack finished runs, with folds and provenance, into one file for a teammate, who takes it by merge."""
    from kit.core.errors import InputError
    from kit.core.names import ENSEMBLE, PROGRAM
    from kit.runs.share import share_runs
    from kit.runs.train import find_finished, find_trained, way_to_runs

    if file is None or file.suffix != ".zip":
        raise InputError(f"share: the last word names the file and ends in .zip: {PROGRAM} share {comp} RUN {comp}.zip")
    competition = read(comp)
    with looking(competition):
        prepared = ready(competition, held=True)
        if ENSEMBLE in (runs or ()):
            raise InputError("share: an ensemble is made anew of its members; name those, or no run for all of them")
        found = [find_trained(prepared, name) for name in runs or ()] or find_finished(prepared)
        results = [result for result in found if result.name != ENSEMBLE]
        if not results:
            raise InputError(f"no finished run of {competition.name} yet; {way_to_runs(competition)}")
        manifest = share_runs(prepared, results, file)
    megabytes = file.stat().st_size / 2**20
    lines = [
        f"{result.name} {result.record.key}: {result.record.cv:.4f} +- {result.record.se:.4f}" for result in results
    ]
    document = {"file": str(file), "runs": [run.model_dump() for run in manifest.runs], "megabytes": megabytes}
    say("\n".join([*lines, f"{file}: {megabytes:.1f} MB"]), document)
    suggest("merge", comp, str(file))


@command(panel=TRAIN, example="merge digits for-ann.zip")
def merge(comp: Comp, file: Annotated[Path, typer.Argument(metavar="FILE", help="What share wrote.")]) -> None:
    """Take a teammate's runs, after the checks of verify: same classes, folds and images, nothing changed, no leak."""
    from kit.core import terminal
    from kit.runs.share import merge_runs

    competition = read(comp)
    with holding(competition):
        prepared = ready(competition, held=True)
        merged, checks = merge_runs(prepared, file)
    for check in checks:
        terminal.note(check)
    lines = []
    for run in merged:
        what = run.remark or "taken, and counts"
        lines.append(f"{run.name} {run.key}: {run.cv:.4f} +- {run.se:.4f}; {what}")
    say("\n".join(lines), {"runs": [asdict(run) for run in merged], "checks": checks})
    suggest("leaderboard" if any(run.counts for run in merged) else "history", comp)
