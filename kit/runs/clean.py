"""Clean: what may be deleted under runs/NAME - the cache, unpacked archives, runs and searches no longer in use.

What `history` needs of a run stays: its line, written now for runs of an earlier kit, and its oof predictions.
Never listed are the runs of the present settings, finished or half made, all their rounds, their teachers, the present
ensemble and its members, and imports: what a later call would go on with, or could not make anew.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from kit.config.competition import Competition
from kit.core.errors import MissingWeights, TeacherMissing
from kit.core.files import KEY_LENGTH, write_atomic
from kit.core.names import ENSEMBLE, round_of
from kit.data.prepared import Prepared
from kit.runs.ensemble import find_ensemble, members_of
from kit.runs.history.entries import kept_oof
from kit.runs.seen import TUNE
from kit.runs.store.find import find_run, find_settled, rounds_of, run_key
from kit.runs.store.ledger import note_finished, read_ledger
from kit.runs.store.result import RunRecord, read_record, run_folder
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
        if KEY_OF_RUN.fullmatch(folder.name) and (record := read_record(folder)):
            _keep_history(folder, record)
        leaving = folder if folder.name.endswith(REMOVED) else folder.with_name(f".{folder.name}{REMOVED}")
        folder.rename(leaving)
        shutil.rmtree(leaving)


def _keep_history(folder: Path, record: RunRecord) -> None:
    """Keep a run's line in the history, where an earlier kit wrote none, and its oof predictions."""
    home, name = folder.parents[1], folder.parent.name
    if (name, record.key) not in read_ledger(home).runs:
        note_finished(home, record.document | {"name": name}, folder / "run.json")
    if (folder / "oof.parquet").exists():
        kept = kept_oof(home, name, record.key)
        with write_atomic(kept) as file:
            file.write((folder / "oof.parquet").read_bytes())


def describe_removable(competition: Competition, folders: list[tuple[Path, int]]) -> dict[Path, str]:
    """Return the score of each folder that holds a finished run, and whether it is the best of its name.

    Compared are runs of one name on the same folds and in the same metric, those that stay among them.
    """
    home, sign = competition.workspace.runs(competition.name), competition.metric.sign
    read = ((file.parent, read_record(file.parent)) for file in sorted(home.glob("*/*/run.json")))
    records = {folder: record for folder, record in read if record is not None}
    described = {}
    for folder, _ in folders:
        if (record := records.get(folder)) is None:
            continue
        alike = [
            other for place, other in records.items() if place.parent == folder.parent and _is_alike(record, other)
        ]
        is_best = all(sign * record.cv >= sign * other.cv for other in alike)
        best = f", the best of {folder.parent.name}" if is_best and round_of(folder.parent.name) is None else ""
        described[folder] = f"{record.metric} {record.cv:.4f} +- {record.se:.4f}{best}"
    return described


def _is_alike(record: RunRecord, other: RunRecord) -> bool:
    """Return whether the scores of two runs can be compared."""
    return (record.fold_key, record.metric_key) == (other.fold_key, other.metric_key)


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
