"""The command of that name: plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.api.starting import read_wishes
from kit.cli.app import START, command
from kit.cli.call import DEFAULT, Comp, holding, read, say, suggest

if TYPE_CHECKING:
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
        kept = write_plan(competition, planned) if write else None
    show_plan(planned)
    if kept:
        terminal.note(f"kept, for they are your own: {', '.join(kept)}")
    if write:
        terminal.stage("plan", f"written to {competition.file}")
        suggest("all", comp)
    else:
        given = ["--preset", preset, *(["--time", time] if time else [])]
        given += ["--weights", str(weights)] if weights else []
        suggest("plan", comp, *given, *([] if test_images else ["--no-test-images"]), "--write")


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
