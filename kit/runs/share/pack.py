"""Pack finished runs, with all that they were made from, into one file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kit import __version__
from kit.core.files import hash_file, write_atomic
from kit.core.terminal import track
from kit.data.prepared import Prepared
from kit.runs.share.manifest import (
    FOLDS,
    FORMAT,
    IMAGES,
    MANIFEST,
    PLACE,
    Manifest,
    SharedFile,
    SharedRun,
    describe_folds,
    describe_images,
)
from kit.runs.store.find import result_at
from kit.runs.store.imported import list_imported
from kit.runs.store.result import IMPORTED, Result

DRAWN = ("correlation", "decisions")  # files that a command drew of a run, not the run's own


def share_runs(prepared: Prepared, results: Sequence[Result], file: Path) -> Manifest:
    """Write finished runs and their teachers into a zip; the file is there whole or not at all.

    InputError where a teacher is not there any more.
    """
    asked = {(result.name, result.record.key) for result in results}
    packed = _with_sources(prepared, results)
    places = {place: path for result in packed for place, path in _files_of(result)}
    manifest = Manifest(
        format=FORMAT,
        kit=__version__,
        competition=prepared.competition.name,
        task=prepared.competition.facts.task,
        classes=list(prepared.classes),
        fold_key=prepared.fold_key,
        pool_key=prepared.pool.key,
        runs=[
            SharedRun(
                name=result.name,
                key=result.record.key,
                folder=result.folder.name,
                is_asked_for=(result.name, result.record.key) in asked,
            )
            for result in packed
        ],
        files={place: SharedFile(size=path.stat().st_size, sha256=hash_file(path)) for place, path in places.items()},
    )
    with write_atomic(file) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packing:
        packing.writestr(MANIFEST, json.dumps(manifest.model_dump(), indent=1, ensure_ascii=False))
        packing.writestr(FOLDS, describe_folds(prepared))
        packing.writestr(IMAGES, describe_images(prepared))
        for place, path in track(places.items(), "share", len(places)):
            packing.write(path, place)
    return manifest


def _with_sources(prepared: Prepared, results: Sequence[Result]) -> list[Result]:
    """Return runs and all that they were made from, each once."""
    found: dict[tuple[str, str], Result] = {}
    ahead, imported = list(results), list_imported(prepared)
    while ahead:
        result = ahead.pop(0)
        if (result.name, result.record.key) in found:
            continue
        found[result.name, result.record.key] = result
        sources = result.record.sources.items()
        ahead += [result_at(prepared, name, IMPORTED if name in imported else key) for name, key in sources]
    return list(found.values())


def _files_of(result: Result) -> Iterator[tuple[str, Path]]:
    """Give the files of a run with their places in the zip."""
    for path in sorted(result.folder.rglob("*")):
        place = f"runs/{result.name}/{result.folder.name}/{path.relative_to(result.folder).as_posix()}"
        if path.is_file() and PLACE.fullmatch(place) and not path.name.startswith(DRAWN):
            yield place, path
