"""Read a new competition as `check` and `train` will read it, so that what they refuse is told at once.

Reads the files that competition.toml names; unpacks archives as those commands do.
"""

from __future__ import annotations

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace, hold
from kit.core.terminal import warn
from kit.data.table import read_table


def check_readable(name: str, workspace: Workspace) -> None:
    """Refuse a competition, just written, whose image table cannot be read; no image is opened.

    Raises
    ------
    InputError
        What `check` would refuse, in its words: a row without an image, an empty class folder, a class of one image.
    """
    competition = read_competition(name, workspace)
    try:
        with hold(workspace.runs(name), warn):
            read_table(competition)
    except InputError as error:
        remedy = f"put that right there or in {competition.file}, which is written; then "
        remedy += competition.command("check")
        raise InputError(f"{error}; {remedy}") from error
