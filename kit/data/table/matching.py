"""Find the file of every id: as it is written, or else under another suffix, folder, case or number of zeros.

Works on names; asks the disk only for the size of files of which several fit. An id is matched where exactly one image
fits it by the strictest of the rungs that any fits by; two ids never share a file unless both were written so.
"""

from __future__ import annotations

import bisect
import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.data.table.scan import PLAIN_SUFFIXES, is_image, scan_files, strip_suffix

N_NEAR = 200  # names before and after an id, of which the nearest is told
NUMBER = re.compile(r"0*([0-9]+?)(?:\.0*)?\Z")


@dataclass(frozen=True)
class Matches:
    """Hold the files that ids were matched with.

    Parameters
    ----------
    paths
        The file of each id, absolute; None where none fits.
    loose
        Positions of ids whose files are named otherwise, beyond a suffix left out, each with how.
    chosen
        Positions of ids of which several files fit, and one was chosen.
    doubtful
        Positions of ids of which several files fit and nothing chooses, with those files.
    """

    paths: list[str | None]
    loose: dict[int, str] = field(default_factory=dict)
    chosen: list[int] = field(default_factory=list)
    doubtful: dict[int, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rung:
    """Hold a way to compare an id with a file: both become a key."""

    how: str
    key_of_id: Callable[[str], str]
    key_of_file: Callable[[str], str]
    images_only: bool = True
    by_folder: bool = False  # the key is the name alone; folders must agree as far as they are on the disk


def list_files(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """Return every file below some folders: the folder, and the path below it with slashes."""
    return [(str(folder), name) for folder in folders for name in scan_files(folder)]


def match_images(names: Sequence[str], files: Sequence[tuple[str, str]]) -> Matches:
    """Return the file of each name among `files`, as `list_files` lists them.

    In this order a name is compared as it is; without the file's suffix; without any suffix, outer spaces, ``./``, and
    with slashes for backslashes; without folders; without regard to case; as a number without leading zeros and ``.0``.
    Where several files fit, the choice falls on those that are not empty and of a usual format, then on the folder that
    holds most of the names.
    """
    matches = Matches([None] * len(names))
    left, used = list(range(len(names))), set[int]()
    for rung in RUNGS:
        if not left:
            break
        found = _look_up(names, left, files, rung, used)
        votes: Counter[str] = Counter()
        if any(len(fits) > 1 for fits in found.values()):
            votes.update(_parent(files[i]) for i in used)
            votes.update(_parent(files[i]) for fits in found.values() for i in fits)
        for row, fits in found.items():
            best = fits if len(fits) == 1 else _choose(fits, files, votes)
            if len(best) > 1:
                matches.doubtful[row] = sorted("/".join(files[i]) for i in best)
                continue
            matches.paths[row] = "/".join(files[best[0]])
            used.add(best[0])
            if len(fits) > 1:
                matches.chosen.append(row)
            elif rung.how:
                matches.loose[row] = rung.how
        left = [row for row in left if row not in found]
    return matches


def nearest_file(name: str, files: Sequence[tuple[str, str]]) -> str | None:
    """Return the file whose name is most like one that fits none; None where there is no file."""
    wanted = _name(name)
    for row in files:
        if _name(row[1]).casefold() == wanted.casefold():
            return row[1]
    by_name = sorted((_name(below), below) for _, below in files if is_image(below))
    at = bisect.bisect(by_name, (wanted, ""))
    near = by_name[max(0, at - N_NEAR) : at + N_NEAR]
    close = difflib.get_close_matches(wanted, [stem for stem, _ in near], n=1, cutoff=0.0)
    return next((below for stem, below in near if close and stem == close[0]), None)


def _look_up(
    names: Sequence[str], rows: Sequence[int], files: Sequence[tuple[str, str]], rung: _Rung, used: set[int]
) -> dict[int, list[int]]:
    """Return the files that fit the names of some rows by one rung; a loose one leaves files in use alone."""
    wanted: dict[str, list[int]] = {}
    for row in rows:
        wanted.setdefault(rung.key_of_id(names[row]), []).append(row)
    fits: dict[str, list[int]] = {}
    for i, (_, below) in enumerate(files):
        if rung.images_only and not is_image(below):
            continue
        key = rung.key_of_file(below)
        if key in wanted and not (rung.how and i in used):
            fits.setdefault(key, []).append(i)
    found = {row: among for key, among in fits.items() for row in wanted[key]}
    if rung.by_folder:
        known = {_parent(file).rpartition("/")[2].casefold() for file in files}
        found = {row: _narrow(names[row], among, files, known) for row, among in found.items()}
    return {row: among for row, among in found.items() if among}


def _narrow(name: str, fits: list[int], files: Sequence[tuple[str, str]], known: set[str]) -> list[int]:
    """Return the files that share most folders with a name, counted from its end; none where its folder is another."""
    above = [part.casefold() for part in _folders(_tidy(name))]
    if not above:
        return fits
    shared = [_n_shared(above, [part.casefold() for part in _folders("/".join(files[i]))]) for i in fits]
    if max(shared) == 0 and above[-1] in known:
        return []
    return [i for i, n in zip(fits, shared, strict=True) if n == max(shared)]


def _n_shared(one: list[str], other: list[str]) -> int:
    """Return how many folders two paths share, counted from the end."""
    n_shared = 0
    while n_shared < min(len(one), len(other)) and one[-1 - n_shared] == other[-1 - n_shared]:
        n_shared += 1
    return n_shared


def _choose(fits: list[int], files: Sequence[tuple[str, str]], votes: Counter[str]) -> list[int]:
    """Return those of several files that are readable, of a usual format, and in the folder that holds most."""
    full = [i for i in fits if _n_bytes(files[i]) > 0] or fits
    plain = [i for i in full if files[i][1].rpartition(".")[2].lower() in PLAIN_SUFFIXES] or full
    most = max(votes[_parent(files[i])] for i in plain)
    return [i for i in plain if votes[_parent(files[i])] == most]


def _n_bytes(file: tuple[str, str]) -> int:
    """Return a file's size; 0 where a link leads nowhere."""
    path = Path(*file)
    return path.stat().st_size if path.exists() else 0


def _parent(file: tuple[str, str]) -> str:
    """Return the folder that a file lies in."""
    return "/".join(file).rpartition("/")[0]


def _folders(path: str) -> list[str]:
    """Return the folders of a path, outermost first."""
    return [part for part in path.split("/")[:-1] if part]


def _tidy(name: str) -> str:
    """Return a path with slashes, in one Unicode form, without ``./`` and outer spaces."""
    tidy = unicodedata.normalize("NFC", name).strip().replace("\\", "/")
    while tidy.startswith(("./", "/")):
        tidy = tidy.removeprefix(".").removeprefix("/")
    return tidy


def _whole(name: str) -> str:
    """Return a path tidied, without suffix."""
    return strip_suffix(_tidy(name)).rstrip()


def _name(name: str) -> str:
    """Return the last part of a path tidied, without suffix."""
    return _whole(name).rpartition("/")[2].strip()


def _folded(name: str) -> str:
    """Return the last part of a path without regard to case."""
    return _name(name).casefold()


def _number(name: str) -> str:
    """Return the last part of a path; of a number without leading zeros and ``.0``."""
    number = NUMBER.match(_name(name))
    return number[1] if number else _folded(name)


def _as_is(name: str) -> str:
    """Return a name as it is."""
    return name


RUNGS = (
    _Rung("", _as_is, _as_is, images_only=False),
    _Rung("", _as_is, strip_suffix),
    _Rung("suffix, spaces or slashes", _whole, _whole),
    _Rung("folder", _name, _name, by_folder=True),
    _Rung("case", _folded, _folded, by_folder=True),
    _Rung("number", _number, _number, by_folder=True),
)
