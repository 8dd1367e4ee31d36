"""Take the runs of a shared file: refused by name where anything does not fit, whole where everything does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kit.core.errors import InputError, LeakFound, some
from kit.core.files import Workspace, hash_file, write_json
from kit.core.terminal import track
from kit.data.prepared import Prepared
from kit.runs.clean import REMOVED
from kit.runs.share.manifest import FOLDS, IMAGES, MANIFEST, PLACE, Manifest, SharedFile, check_fit
from kit.runs.share.same import is_same
from kit.runs.store.find import find_usable
from kit.runs.store.ledger import note_finished, read_chain, read_ledger
from kit.runs.store.result import IMPORTED, NEXT, Result, read_record, read_result
from kit.runs.verify import verify
from kit.runs.verify.claims import verify_identity
from kit.runs.verify.sources import find_settings

UNPACKING = ".merging"
MOST_FACTS = 2**28  # bytes of the manifest and the tables
BLOCK = 2**20
KINDS = (stat.S_IFREG, 0)  # of a member of the zip: a plain file, or none said


@dataclass(frozen=True)
class Merged:
    """Hold what became of one shared run.

    Parameters
    ----------
    is_new
        It was not here.
    counts
        Today's run of that name has this result.
    remark
        What must be known or done; empty where nothing must.
    """

    name: str
    key: str
    cv: float
    se: float
    is_new: bool
    counts: bool
    remark: str


def merge_runs(prepared: Prepared, file: Path) -> tuple[list[Merged], list[str]]:
    """Take the runs of a file into ``runs/NAME``; return what became of each, and what `verify` says of them.

    Nothing is taken where one of them is refused.

    Raises
    ------
    InputError
        When the file is no such file, was changed, leads outside, or its classes, folds or images are not ours.
    LeakFound
        When a run saw labels that it must not have seen.
    """
    home = prepared.competition.workspace.runs(prepared.competition.name)
    with _opened(file) as packed:
        manifest = _read_manifest(file, packed)
        with _blaming(file):
            check_fit(prepared, manifest, _read_facts(packed, FOLDS), _read_facts(packed, IMAGES))
            _check_names(prepared, manifest)
        root = home / UNPACKING
        shutil.rmtree(root, ignore_errors=True)
        try:
            shadow = _unpack(file, packed, manifest, prepared, root)
            results = [_read_run(file, shadow, run.name, run.folder, run.key) for run in manifest.runs]
            try:
                for result in results:
                    verify_identity(prepared, result, find_settings(prepared, result))
                checks = verify(shadow, results)
            except LeakFound as error:
                raise LeakFound(f"{file}: refused: {error}") from error
            moved = {(result.name, result.record.key): _move(home, result, file) for result in results}
        finally:
            shutil.rmtree(root, ignore_errors=True)
    asked = [run for run in manifest.runs if run.is_asked_for]
    merged = [_describe(prepared, run.name, run.key, moved[run.name, run.key]) for run in asked]
    return merged, checks[1:-1]  # the folds and the log are ours


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip; one that is none, or is cut off, is refused by name."""
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        with zipfile.ZipFile(file) as packed:
            yield packed
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InputError(
            f"{file}: cannot be read as shared runs ({error}); have it sent again. A table of predictions is taken by"
            " `import`"
        ) from error


@contextlib.contextmanager
def _blaming(file: Path) -> Iterator[None]:
    """Name the file in what is refused."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _read_facts(packed: zipfile.ZipFile, name: str) -> bytes:
    """Return one of the small files."""
    if name not in packed.namelist() or packed.getinfo(name).file_size > MOST_FACTS:
        raise InputError(f"holds no {name}: it is not what `share` writes")
    return packed.read(name)


def _read_manifest(file: Path, packed: zipfile.ZipFile) -> Manifest:
    """Return the manifest, after what the zip holds is exactly what it names, and nothing leads elsewhere."""
    with _blaming(file):
        try:
            manifest = Manifest.model_validate_json(_read_facts(packed, MANIFEST))
        except ValidationError as error:
            raise InputError(f"its {MANIFEST} is not as `share` writes it ({error.errors()[0]['msg']})") from error
        names = [info.filename for info in packed.infolist()]
        known = {MANIFEST, FOLDS, IMAGES, *manifest.files}
        if odd := sorted({*names} ^ known) or sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"does not hold what its {MANIFEST} names: {some(odd)}")
        of_run = {f"runs/{run.name}/{run.folder}/" for run in manifest.runs}
        if lost := sorted(f"{place}run.json" for place in of_run if f"{place}run.json" not in manifest.files):
            raise InputError(f"{lost[0]!r} is not in it, or is no file of a run; nothing was taken")
        for info in packed.infolist():
            is_fact = info.filename in (MANIFEST, FOLDS, IMAGES)
            is_placed = PLACE.fullmatch(info.filename) and info.filename.startswith(tuple(of_run))
            if not (is_fact or is_placed) or stat.S_IFMT(info.external_attr >> 16) not in KINDS:
                raise InputError(f"{info.filename!r} is no file of a run; nothing was taken")
    return manifest


def _check_names(prepared: Prepared, manifest: Manifest) -> None:
    """Refuse an import whose name is taken here."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    for run in manifest.runs:
        if run.folder != IMPORTED:
            continue
        here = read_record(home / run.name / IMPORTED)
        if run.name in prepared.competition.runs or (here is not None and here.key != run.key):
            raise InputError(f"the import {run.name} has the name of another run here; rename one of them")


def _unpack(file: Path, packed: zipfile.ZipFile, manifest: Manifest, prepared: Prepared, root: Path) -> Prepared:
    """Unpack the runs into a workspace of their own; return the competition as it stands there.

    It has no runs there: what is derived from features is left to `verify`, for other hardware rounds them otherwise.
    """
    needed, free = sum(each.size for each in manifest.files.values()), shutil.disk_usage(root.parent).free
    if needed > free:
        raise InputError(
            f"{file}: holds {needed / 2**20:,.0f} MB, but {free / 2**20:,.0f} MB are free; free some space"
        )
    workspace = Workspace(root)
    home = workspace.runs(prepared.competition.name)
    for place, known in track(manifest.files.items(), "merge", len(manifest.files)):
        _unpack_file(file, packed, place, known, home.parent.parent / place.replace("runs/", f"runs/{home.name}/", 1))
    return replace(prepared, competition=prepared.competition.model_copy(update={"workspace": workspace, "runs": {}}))


def _unpack_file(file: Path, packed: zipfile.ZipFile, place: str, known: SharedFile, target: Path) -> None:
    """Unpack one file as large as it says, and refuse it where its content is not what it says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), known.size
    with packed.open(place) as source, open(target, "wb") as written:
        while left >= 0 and (block := source.read(min(BLOCK, left + 1))):
            digest.update(block)
            written.write(block)
            left -= len(block)
    if left != 0 or digest.hexdigest() != known.sha256:
        raise InputError(f"{file}: {place} was changed since it was packed (SHA-256); have it sent again")


def _read_run(file: Path, shadow: Prepared, name: str, folder: str, key: str) -> Result:
    """Return an unpacked run; one that is not finished, or is another than it says, is refused."""
    result = read_result(name, shadow.competition.workspace.runs(shadow.competition.name) / name / folder)
    if result is None or result.record.key != key or folder not in (key, IMPORTED):
        raise InputError(f"{file}: {name} {key} is not a finished run of that key; nothing was taken")
    return result


def _move(home: Path, result: Result, file: Path) -> bool:
    """Move a run to its place; False where it is here already, as the log has it.

    One that the log does not know so was trained here and its line lost, or copied here by hand, or edited. Where it is
    the one that was checked, it stays with all that it has; else it makes way. A kill leaves what the next call mends:
    a run that is not here, or one that the log does not know.
    """
    target = home / result.name / result.folder.name
    here = read_result(result.name, target)
    if here is not None and _is_known(home, here):
        return False
    if here is not None and is_same(here, result):
        prepared = target / NEXT
        note = _write(home, here.record.document, file, prepared)
        os.replace(prepared, target / "run.json")
        note_finished(home, note | {"name": result.name}, target / "run.json")
        return True
    document = {key: value for key, value in result.record.document.items() if key != "features"}  # cached elsewhere
    document = _write(home, document, file, result.folder / "run.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}{REMOVED}")
    if target.exists():  # begun here and not finished, or another one
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    note_finished(home, document | {"name": result.name}, result.folder / "run.json")
    os.replace(result.folder, target)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _is_known(home: Path, here: Result) -> bool:
    """Return whether the log knows a run with this very run.json; an earlier kit did not note its SHA-256."""
    ledger, place = read_ledger(home), (here.name, here.record.key)
    seals = ledger.seals.get(place)
    return place in ledger.runs and (not seals or hash_file(here.folder / "run.json") in seals)


def _write(home: Path, document: dict[str, Any], file: Path, target: Path) -> dict[str, Any]:
    """Write the run.json of a run that came from a file; return it."""
    document = document | {"from": file.name, "log": read_chain(home).newest}  # of our looks, not of theirs
    write_json(target, document)
    return document


def _describe(prepared: Prepared, name: str, key: str, is_new: bool) -> Merged:
    """Say whether a run counts here, and what to do where it does not."""
    competition = prepared.competition
    home = competition.workspace.runs(competition.name)
    folder = home / name / key if (home / name / key).exists() else home / name / IMPORTED
    record = read_record(folder)
    assert record is not None
    found = find_usable(prepared, name) if folder.name == IMPORTED or name in competition.runs else None
    counts = found is not None and found.record.key == key
    remark = "" if is_new else "here already"
    if not counts:
        is_taken = name in competition.runs
        why = f"[runs.{name}] has other settings here" if is_taken else "no run of this name here"
        remark = f"{why}: {competition.command('adopt', key)} writes its settings, then it counts"
        if is_taken:
            beside = competition.command("adopt", key, "--as", f"{name}_theirs")
            remark += f" in place of ours, untrained; {beside} writes them beside ours, and it is trained again"
    return Merged(name, key, record.cv, record.se, is_new, counts, remark)
