"""The command that fetches a competition: download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.call import REPOSITORY, app, options, read, say, suggest
from kit.core.errors import InputError


@app.command()
def download(
    comp: Annotated[str, typer.Argument(metavar="COMP", help="Kaggle's slug or address, or a competition's name.")],
) -> None:
    """Fetch a competition's files from Kaggle, unpack them safely and write its competition.toml."""
    from kit.config.competition import HOME
    from kit.config.reader import list_competitions
    from kit.core import terminal
    from kit.core.files import Workspace
    from kit.core.names import COMPETITION_FILE
    from kit.curate.start import (
        check_competition_name,
        check_readable,
        describe_layout,
        infer_layout,
        write_competition,
    )
    from kit.kaggle.client.slug import read_slug

    workspace = Workspace(options.workspace)
    if comp in list_competitions(workspace):
        competition = read(comp)
        if not competition.facts.slug:
            raise InputError(
                f"{comp} is a practice competition: there is nothing to download (no slug in its {COMPETITION_FILE})"
            )
        name, slug, folder, home = comp, read_slug(competition.facts.slug), competition.root, competition.folder.parent
    else:
        slug = name = read_slug(comp)
        home = HOME if options.workspace == REPOSITORY else options.workspace / "competitions"
        check_competition_name(name, home)
        folder = options.workspace / "data" / name
    n_files = _fetch(slug, folder)
    file = home / name / COMPETITION_FILE
    if file.exists():
        terminal.note(f"{file} is there already and left as it is")
    else:
        layout = infer_layout(folder)
        terminal.err.print(describe_layout(layout))
        write_competition(name, layout, home, slug, workspace)
        check_readable(name, workspace)
        terminal.stage("new", f"look through {file}: was everything inferred as you mean it?")
    say(str(folder), {"competition": name, "slug": slug, "data": str(folder), "file": str(file), "files": n_files})
    suggest("all", name)


def _fetch(slug: str, folder: Path) -> int:
    """Download and unpack what is not there; return the number of files fetched."""
    from kit.core import terminal
    from kit.core.files import hold
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
