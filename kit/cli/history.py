"""Commands on what was finished earlier: history, adopt."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.api.place import check_begun
from kit.cli.app import LOOK, command
from kit.cli.call import DEFAULT, Comp, complete_result, holding, looking, read, ready, say, suggest
from kit.core.errors import InputError

if TYPE_CHECKING:
    from kit.data.prepared import Prepared
    from kit.runs.history import Entry

Earlier = Annotated[
    str | None, typer.Argument(metavar="RUN", help="A run's name or key.", autocompletion=complete_result)
]


@command(panel=LOOK, example="history digits --sort cv")
def history(
    comp: Comp = DEFAULT,
    run: Earlier = None,
    against: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="Another: their settings and scores compared.")
    ] = None,
    sort: Annotated[str, typer.Option(help="date (the newest first), cv (the best first) or name.")] = "date",
    rounds: Annotated[bool, typer.Option("--rounds", help="Every round of pseudo labels too.")] = False,
) -> None:
    """List every run that was ever finished; show one in full, or compare two of them by a paired test."""
    competition = read(comp)
    check_begun(competition)
    with looking(competition):
        shown, follow = _look(ready(competition, held=True), comp, run, against, sort, rounds)
    say(*shown)
    suggest(*follow)


def _look(
    prepared: Prepared, comp: str, run: str | None, against: str | None, sort: str, rounds: bool
) -> tuple[tuple[Any, Any], tuple[str, ...]]:
    """Return what is shown, as `say` takes it, and the words of what to do next."""
    from kit.core import terminal
    from kit.runs.history import (
        compare,
        describe_entry,
        find_entry,
        list_entries,
        render_comparison,
        render_entries,
        sort_entries,
    )
    from kit.runs.train import way_to_runs

    competition = prepared.competition
    entries = list_entries(prepared, with_rounds=rounds or run is not None)
    if not entries:
        raise InputError(f"no run of {competition.name} was ever finished here; {way_to_runs(competition)}")
    if run is None:
        ordered = sort_entries(entries, sort, prepared.metric.sign)
        ordered = ordered[::-1] if sort == "date" else ordered
        table = render_entries(f"{competition.facts.title}: every finished run", ordered, terminal.out.width)
        document = {"competition": competition.name, "runs": [entry.as_dict() for entry in ordered]}
        earlier = _find_better(prepared, ordered)
        return (table, document), ("adopt", comp, earlier.key) if earlier else ("leaderboard", comp)
    ours = find_entry(prepared, entries, run)
    if against is None:
        follow = ("leaderboard", comp) if ours.is_today else ("adopt", comp, ours.key)
        return (describe_entry(ours), ours.as_dict()), follow
    compared = compare(prepared, ours, find_entry(prepared, entries, against))
    return (render_comparison(compared), compared.as_dict()), ("history", comp)


def _find_better(prepared: Prepared, entries: list[Entry]) -> Entry | None:
    """Return a run of other settings that scored better than today's run of its name."""
    today = {entry.name: prepared.metric.sign * entry.cv for entry in entries if entry.is_today}
    better = (entry for entry in entries if entry.is_best and entry.differs and entry.name in today)
    return next((entry for entry in better if prepared.metric.sign * entry.cv > today[entry.name]), None)


@command(panel=LOOK, example="adopt digits 3f2a9c41")
def adopt(
    comp: Comp,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key of an earlier run, as history shows it.")],
    name: Annotated[str | None, typer.Option("--as", help="Write it as a run of this name.")] = None,
) -> None:
    """Write an earlier run's settings back into competition.toml; comments and other lines stay."""
    from kit.core import terminal
    from kit.runs.history import adopt as write_settings
    from kit.runs.history import find_one, list_entries

    competition = read(comp)
    with holding(competition):
        prepared = ready(competition, held=True)
        entries = list_entries(prepared, with_rounds=True)
        entry = find_one(prepared, entries, key)
        adopted = write_settings(prepared, entry, name)
    head = "written" if adopted.is_new else "changed" if adopted.changes else "as it was"
    lines = [f"{competition.file}: [runs.{adopted.name}] {head}, as {entry.name} {entry.key} has it"]
    for each in adopted.changes:
        before = "" if adopted.is_new else f" (was {each.theirs or 'not set'})"
        lines.append(f"  {each.key} = {each.ours}{before}" if each.ours else f"  {each.key} taken out{before}")
    say("\n".join(lines), asdict(adopted) | {"file": str(competition.file)})
    if key == entry.name and (others := {each.key for each in entries if each.name == key} - {entry.key}):
        terminal.note(f"other runs of this name scored the same: {', '.join(sorted(others))}")
    if adopted.is_found:
        terminal.note("its predictions are there, nothing has to be trained")
    elif entry.since:
        terminal.note(f"it will be trained anew, for since then {', '.join(entry.since)}")
    suggest(*(("leaderboard", comp) if adopted.is_found else ("train", comp, adopted.name)))
