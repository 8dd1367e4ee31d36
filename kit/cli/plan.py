"""The command of that name: plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.api.starting import read_wishes
from kit.cli.app import START, command
from kit.cli.call import DEFAULT, Comp, holding, read, ready, say, suggest
from kit.core.errors import some
from kit.core.terminal import count

if TYPE_CHECKING:
    from kit.config.competition import Competition
    from kit.curate.plan import Plan

Preset = Annotated[str, typer.Option(help="quick, good or best.")]
Time = Annotated[str | None, typer.Option(help="Time to spend (2h, 30m); the preset's by default.")]
WeightsFolder = Annotated[Path | None, typer.Option(help="A folder of weights: .safetensors, local-dirs, snapshots.")]
TestImages = Annotated[
    bool, typer.Option("--test-images/--no-test-images", help="May test images serve as unlabelled ones?")
]


@command(panel=START, example="plan digits --preset best --time 2h")
def plan(
    comp: Comp = DEFAULT,
    preset: Preset = "good",
    time: Time = None,
    weights: WeightsFolder = None,
    test_images: TestImages = True,
    write: Annotated[bool, typer.Option("--write", help="Put it into competition.toml; your own runs stay.")] = False,
) -> None:
    """Plan the runs for this machine: encoders, heads, fine-tunes, with minutes, memory and a reason for each."""
    from kit.core import terminal
    from kit.curate.plan import plan_competition, write_plan
    from kit.data.prepared import make_data

    competition = read(comp)
    wishes = read_wishes(preset, time, weights, test_images)
    with holding(competition):
        make_data(competition)
        planned = plan_competition(competition, wishes)
        present = describe_present(competition, planned)
        kept = write_plan(competition, planned) if write else None
    show_plan(planned)
    if present:
        terminal.note(present)
    if kept:
        terminal.note(f"kept, for they are your own: {', '.join(kept)}")
    if write:
        terminal.stage("plan", f"written to {competition.file}")
        suggest("all", comp)
    else:
        given = ["--preset", preset, *(["--time", time] if time else [])]
        given += ["--weights", str(weights)] if weights else []
        suggest("plan", comp, *given, *([] if test_images else ["--no-test-images"]), "--write")


def describe_present(competition: Competition, planned: Plan) -> str:
    """Say what the runs that are finished reach, and what becomes of them; empty where none is."""
    from kit.curate.plan import list_replaced
    from kit.runs.train import find_finished

    if not competition.workspace.folds(competition.name).exists():
        return ""
    prepared = ready(competition, held=True)
    if not (results := find_finished(prepared)):
        return ""
    best = max(results, key=lambda result: prepared.metric.sign * result.record.cv)
    finished = {result.name for result in results}
    replaced = [
        name for name in list_replaced(competition.file.read_text(encoding="utf-8-sig"), planned) if name in finished
    ]
    way = f"but {some(replaced)}, which an earlier plan wrote; history keeps what they reached" if replaced else "all"
    return (
        f"{count(len(results), 'run')} of today finished: {best.name} reaches {prepared.metric.name} "
        f"{best.record.cv:.4f} +- {best.record.se:.4f}; --write keeps them {way}"
    )


def show_plan(planned: Plan) -> None:
    """Print a plan: its notes on stderr, its table and what it would take elsewhere as the result, or one document."""
    from dataclasses import asdict

    from rich.console import Group

    from kit.core import terminal
    from kit.curate.plan import GUESSES, describe_plan, estimate_places, render_places

    places = estimate_places(planned)
    for note in (*planned.notes, GUESSES):
        terminal.note(note)
    document = {"preset": planned.wishes.preset, "seconds": planned.seconds, "notes": [*planned.notes, GUESSES]}
    document |= {"runs": [asdict(run) for run in planned.runs], "places": [asdict(each) for each in places]}
    say(Group(describe_plan(planned), "", render_places(places)), document)
