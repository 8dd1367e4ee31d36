"""Commands that begin a competition: new, from a folder of images; download, from Kaggle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kit.api.place import competitions_home
from kit.api.starting import read_wishes, write_draft
from kit.cli.app import START, command
from kit.cli.call import complete_comp, options, read, say, suggest
from kit.cli.plan import Preset, TestImages, Time, WeightsFolder
from kit.core.errors import InputError


@command(panel=START, example="new flowers --data photos.zip")
def new(
    name: Annotated[str, typer.Argument(help="Name of the new competition.")],
    data: Annotated[Path, typer.Option(help="A folder of images, or a zip or tar of one.")],
    slug: Annotated[str | None, typer.Option(help="Kaggle's slug or URL.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the classes, or FILE:COLUMN.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Column of the images' names, in the same file.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column that no fold may part, such as a patient; or none.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What the Evaluation page names; no file does.")] = None,
    positive: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class that one number per image is the probability of.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="multiclass or multilabel: one label per image, or several.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a competition of that name.")] = False,
    preset: Preset = "good",
    time: Time = None,
    weights: WeightsFolder = None,
    test_images: TestImages = True,
) -> None:
    """Infer the layout of a folder of images; write competition.toml, its runs planned for this machine, and words."""
    from kit.api.starting import start_folder
    from kit.core.files import Workspace
    from kit.curate.start import Answers, list_choices

    wishes = read_wishes(preset, time, weights, test_images)
    answers = Answers(label, id_column, group, metric, positive, task, slug)
    layout, file = start_folder(name, data, Workspace(options.workspace), answers, wishes, force)
    document = {"competition": name, "file": str(file), "images": layout.counts, "left_aside": dict(layout.left_aside)}
    say(str(file.parent), document | {"choices": list_choices(layout)})
    suggest("all", name)


@command(panel=START, example="download inf473v-2023-challenge-v2")
def download(
    comp: Annotated[
        str,
        typer.Argument(
            metavar="COMP", help="Kaggle's slug or address, or a competition's name.", autocompletion=complete_comp
        ),
    ],
) -> None:
    """Fetch a competition's files from Kaggle, unpack them safely and write its competition.toml."""
    from kit.config.known import list_competitions
    from kit.core import terminal
    from kit.core.files import Workspace
    from kit.core.names import COMPETITION_FILE
    from kit.curate.start import check_competition_name, infer_layout
    from kit.kaggle.client.slug import read_slug

    if comp in list_competitions(Workspace(options.workspace)):
        competition = read(comp)
        if not competition.facts.slug:
            raise InputError(
                f"{comp} is a practice competition: there is nothing to download (no slug in its {COMPETITION_FILE})"
            )
        name, slug, folder, home = comp, read_slug(competition.facts.slug), competition.root, competition.folder.parent
    else:
        slug = name = read_slug(comp)
        home = competitions_home(options.workspace)
        check_competition_name(name, home)
        folder = options.workspace / "data" / name
    n_files = _fetch(slug, folder)
    file = home / name / COMPETITION_FILE
    if file.exists():
        terminal.note(f"{file} is there already and left as it is")
    else:
        write_draft(name, infer_layout(folder), Workspace(options.workspace), slug, read_wishes())
    say(str(folder), {"competition": name, "slug": slug, "data": str(folder), "file": str(file), "files": n_files})
    suggest("all", name)


def _fetch(slug: str, folder: Path) -> int:
    """Download and unpack what is not there; return the number of files fetched."""
    from kit.core import terminal
    from kit.core.held import hold
    from kit.kaggle.client.download import download_data
    from kit.kaggle.client.session import Kaggle

    if folder.is_dir():
        terminal.note(f"{folder} is there already, nothing is downloaded; remove it to fetch it again")
        return 0
    with Kaggle(slug) as kaggle, hold(folder.with_name(f".{folder.name}.download"), terminal.warn):
        if folder.is_dir():  # another call fetched it while this one waited
            return 0
        n_files = download_data(kaggle, folder)
    terminal.stage("download", f"{n_files:,} files in {folder}")
    return n_files
