"""Commands that fit: train, import, ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import TRAIN, command
from kit.cli.call import DEFAULT, Comp, Note, TimeLimit, Track, complete_run, holding, read, ready, say, suggest


@command(panel=TRAIN, example="train digits probe")
def train(
    comp: Comp = DEFAULT,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs or grids; all runs by default.", autocompletion=complete_run),
    ] = None,
    time_limit: TimeLimit = None,
    note: Note = None,
    track: Track = None,
) -> None:
    """Cross-validate runs: every run x every fold -> oof, test and unlabeled predictions."""
    from kit.api.stages import names_of_runs, train_named
    from kit.runs.track import make_logger, read_trackers

    competition = read(comp)
    names_of_runs(competition, runs or ())  # a name that is none is told before the images are read
    trackers = read_trackers(track or ())
    prepared = ready(competition, time_limit)
    with holding(competition):
        results = train_named(prepared, runs or (), make_logger(prepared, trackers), note)
    score = competition.data.score_name
    lines = [f"{result.name}: {score} {result.record.cv:.4f} +- {result.record.se:.4f}" for result in results]
    say("\n".join(lines), [result.record.document for result in results])
    suggest("leaderboard", comp)


@command("import", panel=TRAIN, example="import digits theirs --oof oof.csv --test test.csv")
def import_(
    comp: Comp,
    name: Annotated[str, typer.Argument(help="Name of the member.")],
    oof: Annotated[Path, typer.Option(help="Oof predictions: ids, a column per class (CSV, parquet, npy).")],
    test: Annotated[
        Path | None, typer.Option(help="Test predictions in such a form; without them it cannot join the ensemble.")
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="The column of ids.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes in the order of numbered columns: blue,green,red.")
    ] = None,
    ids: Annotated[Path | None, typer.Option(help="Of an npy: a file with the id of every row.")] = None,
    test_ids: Annotated[Path | None, typer.Option(help="The same of the test predictions.")] = None,
) -> None:
    """Take predictions made elsewhere as an ensemble member, after the same checks."""
    from kit.core import terminal
    from kit.runs.ensemble import find_twin
    from kit.runs.store.foreign import Reading
    from kit.runs.store.imported import import_predictions

    prepared = ready(read(comp))
    order = tuple(each.strip() for each in classes.split(",")) if classes else None
    with holding(prepared.competition):
        result = import_predictions(prepared, name, oof, test, Reading(id_column, order, ids, test_ids))
        if twin := find_twin(prepared, result):
            terminal.warn(f"{name} has the predictions of {twin}: one of the two is kept in the ensemble")
    terminal.note(f"{name} is made elsewhere; to be rid of it, delete {result.folder.parent}")
    score = prepared.competition.data.score_name
    say(f"{name}: {score} {result.record.cv:.4f} +- {result.record.se:.4f}", result.record.document)
    suggest("ensemble" if result.predicts_test else "leaderboard", comp)


@command("ensemble", panel=TRAIN, example="ensemble digits")
def ensemble_(comp: Comp = DEFAULT) -> None:
    """Learn temperatures and weights on oof predictions; the score is nested."""
    from kit.runs.ensemble import ensemble, list_weights
    from kit.runs.train import find_members

    prepared = ready(read(comp))
    with holding(prepared.competition):
        result = ensemble(prepared, find_members(prepared))
    score = f"{prepared.competition.data.score_name} {result.record.cv:.4f} +- {result.record.se:.4f} (nested)"
    say(f"ensemble: {score}\n{list_weights(result, chr(10))}", result.record.document)
    suggest(*(("submission", comp) if len(prepared.split("test")) else ("leaderboard", comp)))
