"""Clean: what may be deleted under runs/NAME - the cache, half-made runs, runs of settings no longer in use."""

from __future__ import annotations

import shutil
from pathlib import Path

from kit.competition import Competition
from kit.ensemble import find_ensemble
from kit.prepare import Prepared
from kit.runs import IMPORTED, find_result, result_at


def list_removable(competition: Competition, prepared: Prepared | None) -> list[tuple[Path, int]]:
    """Return folders that may go, with their size in bytes.

    Parameters
    ----------
    competition
        The competition.
    prepared
        The same made ready, to know which runs are in use; None to remove all but imports.
    """
    home = competition.workspace.runs(competition.name)
    kept = set() if prepared is None else _in_use(prepared)
    folders = [home / "cache", home / "unpacked"] if (home / "cache").is_dir() else []
    for run in sorted(
        path for path in home.glob("*/*") if path.is_dir() and path.parent.name not in ("cache", "unpacked")
    ):
        if run not in kept and run.name != IMPORTED:
            folders.append(run)
    return [(folder, _size(folder)) for folder in folders if folder.is_dir()]


def remove(folders: list[tuple[Path, int]]) -> None:
    """Delete folders."""
    for folder, _ in folders:
        shutil.rmtree(folder)


def _in_use(prepared: Prepared) -> set[Path]:
    """Return the folders of the current runs, of their teachers, and of the ensemble."""
    found = [result for name in prepared.competition.runs if (result := find_result(prepared, name))]
    members = [result for result in found if result.name.partition(".")[0] in prepared.competition.members]
    combined = find_ensemble(prepared, members) if members else None
    folders, ahead = set(), [*found, *([combined] if combined else [])]
    while ahead:
        result = ahead.pop()
        folders.add(result.folder)
        ahead += [result_at(prepared, name, key) for name, key in result.facts.get("teachers", {}).items()]
    return folders


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
