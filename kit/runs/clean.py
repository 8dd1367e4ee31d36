"""Clean: what may be deleted under runs/NAME - the cache, unpacked archives, runs and searches no longer in use.

Never listed are the runs of the present settings, finished or half made, all their rounds, their teachers, the present
ensemble and its members, and imports: what a later call would go on with, or could not make anew.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from kit.config.competition import Competition
from kit.core.errors import MissingWeights, TeacherMissing
from kit.core.files import KEY_LENGTH
from kit.core.names import ENSEMBLE
from kit.data.prepared import Prepared
from kit.runs.ensemble import find_ensemble, members_of
from kit.runs.seen import TUNE
from kit.runs.store.find import find_run, find_settled, rounds_of, run_key
from kit.runs.store.result import read_record, run_folder
from kit.runs.tuning import read_space, study_folder

KEY_OF_RUN = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
REMOVED = ".removed"  # suffix of a folder on its way out


def list_removable(competition: Competition, prepared: Prepared | None) -> list[tuple[Path, int]]:
    """Return folders that may go, with their size in bytes: those not in use, without `prepared` all but imports.

    An option that is refused and an unknown member of the ensemble raise InputError: what is in use is not known then.
    """
    home = competition.workspace.runs(competition.name)
    kept = set() if prepared is None else _in_use(prepared)
    # what an earlier call did not come to the end of is listed first
    left = [path for depth in ("", "*/", f"{TUNE}/*/") for path in sorted(home.glob(f"{depth}.*{REMOVED}"))]
    whole = [*left, home / "cache", home / "unpacked"]
    runs = [path for path in sorted(home.glob("*/*")) if KEY_OF_RUN.fullmatch(path.name) and path.parent not in whole]
    studies = [path for path in sorted(home.glob(f"{TUNE}/*/*")) if KEY_OF_RUN.fullmatch(path.name)]
    folders = [*whole, *(path for path in [*runs, *studies] if path not in kept)]
    return [(folder, _size(folder)) for folder in folders if folder.is_dir()]


def remove(folders: list[tuple[Path, int]]) -> None:
    """Delete folders.

    Each is renamed first, in one step, so that a kill in the middle leaves no run.json without its predictions and no
    archive that looks unpacked; the next call lists what is left, first.
    """
    for folder, _ in folders:
        leaving = folder if folder.name.endswith(REMOVED) else folder.with_name(f".{folder.name}{REMOVED}")
        folder.rename(leaving)
        shutil.rmtree(leaving)


def _in_use(prepared: Prepared) -> set[Path]:
    """Return the folders of the present runs, of the ensemble, and of all that these were made from."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    folders, unknown = set(), []
    for name in prepared.competition.runs:
        try:
            folders |= _round_folders(prepared, name)
            folders |= _study_folders(prepared, name)
        except (MissingWeights, TeacherMissing):  # its key cannot be told now, so none of its runs is known to be old
            unknown.append(name)
    if unknown:
        folders |= {path for name in unknown for path in home.glob(f"{TUNE}/{name}/*")}
        folders |= {path for name in (*unknown, ENSEMBLE) for path in home.glob(f"{name}/*")}
        folders |= {path for name in unknown for path in home.glob(f"{name}.*/*")}
    members = members_of(prepared)
    combined = find_ensemble(prepared, members) if members else None
    if combined:
        folders.add(combined.folder)
    return _with_sources(home, folders)


def _round_folders(prepared: Prepared, name: str) -> set[Path]:
    """Return the folders of all rounds of a run: dropped ones say that they were, a half-made one will go on."""
    folders = set()
    for run in rounds_of(prepared.competition.run(name)):
        folders.add(run_folder(prepared, run, run_key(prepared, run)))
        if find_run(prepared, run) is None:  # the key of the next round follows from this one
            break
    run = prepared.competition.run(name)
    if run.pseudo is not None and (settled := find_settled(prepared, run)):
        folders.add(settled.folder)
    return folders


def _study_folders(prepared: Prepared, name: str) -> set[Path]:
    """Return the folder of a run's present search, which the same call would go on with."""
    run = prepared.competition.run(name)
    if not (prepared.competition.workspace.runs(prepared.competition.name) / TUNE / name).is_dir():
        return set()
    return {study_folder(prepared, run, read_space(prepared.competition, run))}


def _with_sources(home: Path, folders: set[Path]) -> set[Path]:
    """Return folders of runs and of the teachers and members that they name, and so on."""
    known, ahead = set(), list(folders)
    while ahead:
        folder = ahead.pop()
        if folder in known:
            continue
        known.add(folder)
        if record := read_record(folder):
            ahead += [home / name / key for name, key in record.sources.items()]
    return known


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
