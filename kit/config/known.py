"""Which competitions and runs there are, by name: what the shell completes, read in milliseconds and not checked."""

from __future__ import annotations

import tomllib
from pathlib import Path

from kit.config.grid import expand_grids
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.core.names import COMPETITION_FILE

HOME = Path(__file__).parents[1] / "competitions"


def list_competitions(workspace: Workspace) -> dict[str, Path]:
    """Return the folders of the known competitions by name: the kit's and those of the workspace, which win."""
    folders: dict[str, Path] = {}
    for home in (HOME, workspace.root / "competitions"):
        folders |= {file.parent.name: file.parent for file in sorted(home.glob(f"*/{COMPETITION_FILE}"))}
    return folders


def list_own(workspace: Workspace) -> list[str]:
    """Return the competitions that a workspace holds: begun in it, or the kit's own whose data are there."""
    held = []
    for name, folder in list_competitions(workspace).items():
        if folder.parent != HOME or _has_data(folder, workspace):
            held.append(name)
    return held


def _has_data(folder: Path, workspace: Workspace) -> bool:
    """Tell whether the data folder of a competition is there, or the kit brings its images."""
    try:
        data = tomllib.loads((folder / COMPETITION_FILE).read_text(encoding="utf-8-sig"))["data"]
        return "embedded" in data or (workspace.root / data["root"]).is_dir()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def list_runs(comp: str, workspace: Workspace) -> list[str]:
    """Return the runs and grids of a competition, given by name or folder; none where its file cannot be read."""
    file = list_competitions(workspace).get(comp, Path(comp).expanduser()) / COMPETITION_FILE
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))["runs"]
        return list(dict.fromkeys([*tables, *expand_grids(tables, file)]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError):
        return []
