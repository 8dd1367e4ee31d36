"""Fetch a competition's files: resumed where it stopped, checked, unpacked safely.

Writes ``data/.SLUG.download/SLUG.zip`` while it downloads, then the data folder; the zip is deleted with it.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from kit.core.terminal import Progress, note, warn
from kit.kaggle.client.archive import BadArchive, extract_zip
from kit.kaggle.client.failures import Failure, KaggleFailure
from kit.kaggle.client.session import Kaggle

MEGABYTE = 10**6
PAGE_BYTES = 512  # in which a web page shows itself


def download_data(kaggle: Kaggle, folder: Path) -> int:
    """Download and unpack all files of a competition into `folder`; return how many.

    A damaged zip is deleted, with the client's note of how far it came, and fetched again from the beginning, once: a
    link that is refused during a download leaves a file of the right size that is wrong inside.

    Raises
    ------
    InputError
        When credentials, rules or slug are not right, a member is refused or the disk is full.
    KaggleFailure
        When the download ends early; the next call goes on where it stopped.
    """
    place = folder.with_name(f".{folder.name}.download")
    archive = place / f"{kaggle.slug}.zip"
    is_last = False
    while True:
        try:
            _fetch(kaggle, archive, force=is_last)
        finally:
            if not archive.exists():  # nothing to go on from
                shutil.rmtree(place)
        try:
            n_files = extract_zip(archive, folder)
        except BadArchive as error:
            is_page = _is_page(archive)
            shutil.rmtree(place)
            if is_last and is_page:
                raise kaggle.explain(Failure("download", "not_json")) from error
            if is_last:
                message = f"{archive.name} came damaged twice ({error}); call again later"
                raise KaggleFailure(message, Failure("download", "other")) from error
            warn(f"{archive.name} is damaged ({error}); fetching it again from the beginning")
            is_last = True
        else:
            shutil.rmtree(place)
            return n_files


def _fetch(kaggle: Kaggle, archive: Path, force: bool) -> None:
    """Download the zip, showing how far it is."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    marker = archive.with_name(f"{archive.name}.kaggle-partial")  # the client's own note
    if archive.exists() and marker.exists() and not force:
        note(f"going on after {archive.stat().st_size / MEGABYTE:,.1f} MB of an earlier download")
    shown = 0
    with Progress("download MB", 1) as bar:

        def progress() -> int:
            nonlocal shown
            n_bytes = archive.stat().st_size if archive.exists() else 0
            if total := _total_bytes(marker):
                bar.total = max(1, total // MEGABYTE)
            if n_bytes // MEGABYTE > shown:
                bar.advance(n_bytes // MEGABYTE - shown)
                shown = n_bytes // MEGABYTE
            return n_bytes

        try:
            kaggle.read("download", progress=progress, slug=kaggle.slug, folder=str(archive.parent), force=force)
        except KaggleFailure as error:
            kept = archive.stat().st_size if archive.exists() else 0
            more = f". {kept / MEGABYTE:,.1f} MB are kept, the next call goes on" if kept else ""
            raise KaggleFailure(f"{error}{more}", error.failure) from error
    if not archive.exists():  # the client writes whatever it was given: a web page, under a name of its address
        raise kaggle.explain(Failure("download", "not_json"))


def _is_page(archive: Path) -> bool:
    """Return whether what came in place of a zip is a web page."""
    with open(archive, "rb") as file:
        return bool(re.match(rb"\s*<(!doctype html|html)", file.read(PAGE_BYTES), re.IGNORECASE))


def _total_bytes(marker: Path) -> int | None:
    """Return the size of the zip as the client noted it."""
    try:
        return json.loads(marker.read_text(encoding="utf-8")).get("size")
    except (OSError, ValueError, AttributeError):
        return None
