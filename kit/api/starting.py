"""Begin a competition: a folder, an archive or a table of images becomes a competition.toml with planned runs.

Writes ``competitions/NAME/``, and of a table ``data/NAME/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kit.api.place import competitions_home, holding
from kit.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from kit.config.competition import Competition
    from kit.core.files import Workspace
    from kit.curate.plan import Wishes
    from kit.curate.start import Answers
    from kit.curate.start.layout import Layout


def read_wishes(
    preset: str = "good", time: str | None = None, weights: Path | None = None, test_images: bool = True
) -> Wishes:
    """Return what `plan` and `new` are asked for; InputError where it cannot be."""
    from kit.core.deadline import parse_duration
    from kit.core.errors import nearest
    from kit.curate.plan import PRESETS, Wishes

    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: {nearest(preset, PRESETS)}")
    if weights is not None and not weights.expanduser().is_dir():
        raise InputError(f"--weights {weights}: there is no such folder; name one that holds .safetensors files")
    return Wishes(preset, parse_duration(time, "--time") if time else None, weights, test_images)


def start_folder(
    name: str, data: Path, workspace: Workspace, answers: Answers, wishes: Wishes, force: bool = False
) -> tuple[Layout, Path]:
    """Infer the layout of a folder or archive of images and write its draft; return the layout and competition.toml."""
    from kit.curate.start import check_competition_name, infer_layout

    check_competition_name(name, home := competitions_home(workspace.root))
    answers.check()
    if not force and any(workspace.runs(name).glob("*/*/run.json")):  # until then the same call may be repeated
        refuse_again(name, home, workspace)
    layout = infer_layout(data.expanduser(), workspace.root / "data" / name, answers)
    return layout, write_draft(name, layout, workspace, answers.slug, wishes, force)


def start_frame(
    name: str,
    frame: pd.DataFrame,
    workspace: Workspace,
    answers: Answers,
    wishes: Wishes,
    force: bool = False,
    test: pd.DataFrame | str | Path | None = None,
) -> tuple[Layout, Path]:
    """Write a table of image files and labels as the data of a competition, and its draft; images stay where they are.

    Rows without a label are unlabelled images; `test` is a table of test images, or their folder.
    """
    from kit.curate.start import check_competition_name
    from kit.curate.start.frames import lay_out_frame

    check_competition_name(name, home := competitions_home(workspace.root))
    answers.check()
    folder = workspace.root / "data" / name
    if not force:
        refuse_again(name, home, workspace)
    layout = lay_out_frame(frame, folder, answers, test)
    return layout, write_draft(name, layout, workspace, answers.slug, wishes, force)


def refuse_again(name: str, home: Path, workspace: Workspace) -> None:
    """Refuse to begin a competition that is there: InputError that says what is there and how to go on."""
    from kit.config.known import list_runs
    from kit.core import terminal
    from kit.core.names import COMPETITION_FILE, PROGRAM

    file = home / name / COMPETITION_FILE
    if not file.is_file():
        return
    n_runs = terminal.count(len(list_runs(name, workspace)), "run")
    made = sum(1 for _ in workspace.runs(name).glob("*/*/run.json"))
    so_far = f", {terminal.count(made, 'result')} below {workspace.runs(name)}" if made else ""
    raise InputError(
        f"{file} is there already ({n_runs}{so_far}) and was left as it is; {PROGRAM} all {name} goes on with it, "
        "--force infers and plans it anew, another name keeps both"
    )


def write_draft(
    name: str, layout: Layout, workspace: Workspace, slug: str | None, wishes: Wishes, force: bool = False
) -> Path:
    """Write a competition.toml with planned runs, say what was inferred, and return the file."""
    from kit.config.reader import read_competition
    from kit.core import terminal
    from kit.core.names import COMPETITION_FILE
    from kit.curate.start import check_readable, describe_choices, describe_layout, write_competition

    home = competitions_home(workspace.root)
    terminal.err.print(describe_layout(layout))
    terminal.err.print(describe_choices(layout))
    file = write_competition(name, layout, home, slug, workspace, force) / COMPETITION_FILE
    table = check_readable(name, workspace)
    write_first_plan(read_competition(name, workspace), wishes, table)
    terminal.stage("new", f"look through {file}: was everything inferred as you mean it?")
    return file


def write_first_plan(competition: Competition, wishes: Wishes, table: pd.DataFrame) -> None:
    """Put a plan in place of the runs of a competition.toml that was just drafted; show it on stderr.

    `table` is its image table, which was read to check the draft.
    """
    from kit.core import terminal
    from kit.curate.plan import describe_plan, plan_competition, write_plan

    with holding(competition):
        planned = plan_competition(competition, wishes, table)
    write_plan(competition, planned, is_draft=True)
    for note in planned.notes:
        terminal.note(note)
    terminal.err.print(describe_plan(planned))
