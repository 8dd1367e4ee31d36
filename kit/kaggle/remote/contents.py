"""What a push is made of: the runs that are chosen, and one file that holds all they need.

Reads the competition, its folds, weights and unfinished runs; writes ``runs/NAME/remote/outbox/``. The file is a zip
under a name of its own, so that Kaggle leaves it as it is; the same content is the same file, byte by byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit import __version__
from kit.config.competition import Run, order_runs
from kit.core.errors import InputError, MissingWeights, TeacherMissing, some
from kit.core.files import hash_file
from kit.core.names import COMPETITION_FILE
from kit.core.terminal import track, warn
from kit.core.wheel import write_wheel
from kit.data.images import SPLITS
from kit.data.prepared import Prepared
from kit.data.table.scan import scan_files
from kit.features.cache import GIVEN
from kit.features.weights import spec_of
from kit.kaggle.bundle.wheels import PINNED, fetch_wheels, pin
from kit.kaggle.remote.state import is_of_run, remote_folder
from kit.kaggle.remote.weights import list_weights
from kit.runs.fit.crossval import is_finished
from kit.runs.seen import FIRST_PROMPTS, SEEN_PROMPTS
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import find_excluded
from kit.runs.store.find import find_result, rounds_of, run_key
from kit.runs.store.ledger import FILE as LEDGER
from kit.runs.store.result import run_folder

FORMAT = 1
MANIFEST, SUFFIX = "push.json", ".pack"
OUTBOX = "outbox"
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest of a zip file
BLOCK = 2**20
OWN_FOLDERS = ("runs", "folds", "submissions")  # of a workspace
SECRET = re.compile(r"kaggle\.json|.*\.(?:env|pem|key)", re.IGNORECASE)
NAME_LENGTH = 16  # of the pack's SHA-256, in its name


@dataclass(frozen=True)
class Plan:
    """Hold which runs a push trains.

    Parameters
    ----------
    runs
        Teachers first; none of them is finished here.
    finished
        Those that were asked for and are finished here.
    carries_data
        Whether the images go with the push, as Kaggle does not have them.
    """

    runs: list[str]
    finished: list[str]
    carries_data: bool


def plan_push(prepared: Prepared, names: Sequence[str], with_data: bool, strict: bool = True) -> Plan:
    """Return what is to be trained of runs and the teachers they need; without `strict` those without weights stay.

    Raises
    ------
    InputError
        When nothing is to be trained.
    MissingWeights
        When `strict` and a run's weights are not on this machine.
    """
    competition = prepared.competition
    finished: list[str] = []
    waiting: list[str] = []
    for name in order_runs(competition, list(names)):
        try:
            is_made = is_finished(prepared, name)
            list(_list_written(prepared, [] if is_made else [name]))
        except MissingWeights as error:
            if strict:
                raise
            warn(f"{name} is left out: {error}")
            continue
        plan = competition.runs[name].pseudo
        without = [each for each in (plan.teachers if plan else ()) if each not in (*finished, *waiting)]
        if is_made:
            finished.append(name)
        elif without:
            warn(f"{name} is left out: its teacher {without[0]} is")
        else:
            waiting.append(name)
    if not waiting:
        here = f"{some(finished)}: finished here, so there is" if finished else "no run can be made, so there is"
        raise InputError(f"{here} nothing to push; {competition.command('leaderboard')}")
    return Plan(waiting, finished, with_data or competition.facts.slug is None)


def pack(prepared: Prepared, plan: Plan, changes: Sequence[str], seed: int | None, lacks: Sequence[str] | None) -> Path:
    """Write all that a push needs into one file; return it. The same content keeps the file that is there.

    InputError where weights or wheels cannot be had.
    """
    outbox = remote_folder(prepared.competition) / OUTBOX
    outbox.mkdir(parents=True, exist_ok=True)
    for left in (*outbox.parent.glob(".pack.*"), *outbox.parent.glob(".notebook.*")):  # of a call that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".pack.", dir=outbox.parent) as made:
        packed = Path(made) / "pack"
        _write(packed, _gather(prepared, plan, changes, seed, lacks, Path(made) / "wheels"))
        target = outbox / f"{hash_file(packed)[:NAME_LENGTH]}{SUFFIX}"
        if not target.exists():  # the one that is there has the same bytes, and an upload of it goes on
            for other in outbox.iterdir():
                other.unlink()
            os.replace(packed, target)
    return target


def _gather(
    prepared: Prepared,
    plan: Plan,
    changes: Sequence[str],
    seed: int | None,
    lacks: Sequence[str] | None,
    wheels: Path,
) -> dict[str, Path | bytes]:
    """Return the files of a push by their place in it."""
    files: dict[str, Path | bytes] = {}
    absolute: dict[str, str] = {}
    places: dict[Path, str] = {}
    home = f"workspace/competitions/{prepared.competition.name}"
    for place, written, file in _list_written(prepared, plan.runs):
        if place == "home":
            files[f"home/{written}"] = file
        elif Path(written).expanduser().is_absolute():
            absolute[written] = places.setdefault(file.resolve(), f"absolute/{len(places)}_{file.name}")
            files[absolute[written]] = file
        else:
            files[_below(f"{home}/{written}", written)] = file
    files |= {f"{home}/{name}": file for name, file in _list_competition(prepared)}
    files |= {f"workspace/{name}": file for name, file in _list_made(prepared, plan.runs)}
    if plan.carries_data:
        files |= {f"data/{name}": file for name, file in _list_data(prepared)}
    _make_wheels(prepared, plan.runs, lacks, wheels)
    files |= {f"wheels/{file.name}": file for file in sorted(wheels.glob("*.whl"))}
    manifest = {
        "format": FORMAT,
        "kit": __version__,
        "competition": prepared.competition.name,
        "slug": "" if plan.carries_data else prepared.competition.facts.slug,
        "runs": plan.runs,
        "changes": list(changes),
        "seed": seed,
        "absolute": absolute,
        "pool_key": prepared.pool.key,
        "fold_key": prepared.fold_key,
        "images": {split: len(prepared.split(split)) for split in SPLITS},
    }
    files[MANIFEST] = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
    return files


def _below(place: str, written: str) -> str:
    """Return a place in the push without ``..``; InputError where it leads out of the workspace."""
    normal = posixpath.normpath(Path(place).as_posix())
    if not normal.startswith("workspace/"):
        raise InputError(f"{written!r} leads out of the workspace, where no push can carry it; name the whole path")
    return normal


def _list_written(prepared: Prepared, names: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """Give what runs name as files, weights and lists of excluded images, as `list_weights` does."""
    for name in names:
        run = prepared.competition.run(name)
        model = build_model(prepared.competition, run)
        used = model.encoders_used if model.needs_weights else []
        for encoder, args in [*used, *run.encoders_of_cores]:
            if encoder != GIVEN:
                yield from list_weights(spec_of(prepared.pool, encoder, args))
        if run.exclude is not None:
            yield "path", run.exclude, find_excluded(prepared, run, run.exclude)


def _list_competition(prepared: Prepared) -> Iterator[tuple[str, Path]]:
    """Give competition.toml, its prompt lists and the Python file of its metric."""
    competition = prepared.competition
    yield COMPETITION_FILE, competition.file
    for file in sorted((competition.folder / "prompts").glob("*.toml")):
        yield f"prompts/{file.name}", file
    if (custom := competition.metric_file) is not None:
        folder, relative = custom
        yield relative.as_posix(), folder / relative


def _list_made(prepared: Prepared, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Give the folds, the looks that were had at the scores, and what runs and their teachers have left so far."""
    competition = prepared.competition
    folds = competition.workspace.folds(competition.name)
    for file in sorted(folds.parent.glob(f"{folds.stem}.*csv")):
        if file.name in (folds.name, f"{folds.stem}.groups.csv", f"{folds.stem}.copies.csv"):
            yield f"folds/{file.name}", file
    home = competition.workspace.runs(competition.name)
    for name in (LEDGER, SEEN_PROMPTS, FIRST_PROMPTS):
        if (home / name).is_file():
            yield f"runs/{competition.name}/{name}", home / name
    for place, file in list_files(prepared, list_folders(prepared, order_runs(competition, list(names)))):
        yield f"runs/{competition.name}/{place}", file


def list_files(prepared: Prepared, folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Give the files of runs' folders, by their place below those of all runs; never what is no run's."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            place = file.relative_to(home).as_posix()
            if file.is_file() and is_of_run(f"runs/{place}"):
                yield place, file


def list_folders(prepared: Prepared, names: Sequence[str]) -> list[Path]:
    """Return the folders of runs, finished or not, and of their rounds."""
    folders = []
    for name in names:
        if result := find_result(prepared, name):
            folders.append(result.folder)
        folders += [folder for each in rounds_of(prepared.competition.run(name)) if (folder := _folder(prepared, each))]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _folder(prepared: Prepared, run: Run) -> Path | None:
    """Return the folder of a run of today's settings; None where a teacher is yet to be trained."""
    with contextlib.suppress(TeacherMissing):
        return run_folder(prepared, run, run_key(prepared, run))
    return None


def _list_data(prepared: Prepared) -> Iterator[tuple[str, Path]]:
    """Give the files below the data folder; never credentials, the solution or a copy of it, nor the kit's own."""
    competition = prepared.competition
    root, home = competition.root, competition.workspace.root.resolve()
    solution = (root / competition.data.solution).resolve() if competition.data.solution else None
    secrets = []
    for name in sorted(scan_files(root)):
        file = (root / name).resolve()
        if SECRET.fullmatch(Path(name).name) or SECRET.fullmatch(file.name):
            secrets.append(name)
        elif not any(file.is_relative_to(home / each) for each in OWN_FOLDERS) and not _is_same(file, solution):
            yield name, file
    if secrets:
        warn(f"{some(secrets)}: left out of the images that are sent, as the name is one of credentials")


def _is_same(file: Path, other: Path | None) -> bool:
    """Return whether two files hold the same bytes."""
    if other is None or not other.is_file() or not file.is_file() or file.stat().st_size != other.stat().st_size:
        return False
    return file == other or hash_file(file) == hash_file(other)


def _make_wheels(prepared: Prepared, names: Sequence[str], lacks: Sequence[str] | None, folder: Path) -> None:
    """Write the kit's wheel, and fetch those that Kaggle's image lacks or has in another version that names a key."""
    write_wheel(folder)
    used = {encoder.partition(":")[0] for name in names for encoder in _encoders(prepared, name)}
    assumed = [name for library in sorted(used & set(PINNED)) for name in PINNED[library]]
    wanted = pin(assumed if lacks is None else lacks)
    if wanted:
        (folder / "requirements.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")
        fetch_wheels(folder, folder / "requirements.txt", "--lacks '' pushes without")


def _encoders(prepared: Prepared, name: str) -> list[str]:
    """Return the encoders that a run names."""
    return [encoder for encoder, _ in build_model(prepared.competition, prepared.competition.run(name)).encoders_used]


def _write(target: Path, files: dict[str, Path | bytes]) -> None:
    """Write files into a zip that depends on nothing but their names and bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packing:
        for place in track(sorted(files), "pack", len(files)):
            source, info = files[place], zipfile.ZipInfo(place, DATE)
            if isinstance(source, bytes):
                packing.writestr(info, source)
                continue
            add_file(packing, info, source)


def add_file(packing: zipfile.ZipFile, info: zipfile.ZipInfo, source: Path) -> None:
    """Copy a file of any size into a zip."""
    with open(source, "rb") as file, packing.open(info, "w", force_zip64=True) as member:
        shutil.copyfileobj(file, member, BLOCK)
