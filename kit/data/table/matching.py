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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.errors import some
from kit.core.shapes import Mask, Rows, Texts
from kit.data.table.scan import PLAIN_SUFFIXES, is_image, scan_files, strip_suffix

N_NEAR = 200  # names before and after an id, of which the nearest is told
VIEW = r"[ _.-][a-z0-9]{1,8}"  # behind an id, in the names of several images of it
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
    """Hold a way to compare ids with files: the next one's keys are made of the one's before.

    Parameters
    ----------
    how
        What is overlooked, for messages; empty where nothing worth saying is.
    of_id, of_file
        The key of an id, and of a file, made of its key on the rung before.
    by_folder
        Whether the key is a name without folders: these must agree as far as they are on the disk.
    """

    how: str
    of_id: Callable[[str], str]
    of_file: Callable[[str], str]
    by_folder: bool = False


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
    left, keys, used = np.arange(len(names)), as_texts(names), np.zeros(len(files), dtype=bool)
    rows, below = np.arange(len(files)), as_texts([name for _, name in files])
    for step, rung in enumerate(RUNGS):
        if not len(left):
            break
        if step == 1:  # what is named in full may be any file; all else is an image
            rows = np.flatnonzero([is_image(name) for name in below])
            below = below[rows]
        keys, below = as_texts(map(rung.of_id, keys)), as_texts(map(rung.of_file, below))
        free = ~used[rows] if rung.how else np.ones(len(rows), dtype=bool)
        single, several = _look_up(keys, below[free], rows[free])
        if rung.by_folder:
            _narrow_all([names[row] for row in left.tolist()], single, several, files)
        _settle(matches, left, single, several, files, used, rung.how)
        is_left = single < 0
        is_left[list(several)] = False
        left, keys = left[is_left], keys[is_left]
    return matches


def as_texts(values: Iterable[str]) -> Texts:
    """Return texts as an array of objects, whatever their lengths."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


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


def views_of(name: str, files: Iterable[str]) -> list[str]:
    """Return the images that an id fits but for a mark and a few characters behind it: ``id_1.png``, ``id-left.jpg``.

    Empty where there are not several of one folder.
    """
    wanted = re.compile(re.escape(_name(name).casefold()) + VIEW)
    views = sorted(file for file in files if is_image(file) and wanted.fullmatch(_folded(file)))
    folder = views[0].rpartition("/")[0] if views else ""
    views = [view for view in views if view.rpartition("/")[0] == folder]
    return views if len(views) > 1 else []


def describe_views(name: str, views: Sequence[str]) -> str:
    """Say that an id has several images, and what can be done."""
    shown = some(map(repr, views), 3)
    remedy = f"put those of an id side by side in one picture named {_name(name)!r}, or keep one of them by that name"
    return f"{name!r} has several images, {shown}, and a row is one image: {remedy}"


def _look_up(keys: Texts, below: Texts, rows: Rows) -> tuple[Rows, dict[int, list[int]]]:
    """Return for each id the row of the one file that has its key, else -1; and of those of several files these."""
    twice = pd.Index(below, dtype=object).duplicated(keep=False)
    at = pd.Index(below[~twice], dtype=object).get_indexer(pd.Index(keys, dtype=object))
    single = np.where(at >= 0, rows[~twice][at] if (~twice).any() else -1, -1)
    alike: dict[str, list[int]] = {}
    for row, key in zip(rows[twice].tolist(), below[twice].tolist(), strict=True):
        alike.setdefault(key, []).append(row)
    several = {i: alike[key] for i, key in enumerate(keys.tolist()) if key in alike} if alike else {}
    return single, several


def _settle(
    matches: Matches,
    left: Rows,
    single: Rows,
    several: dict[int, list[int]],
    files: Sequence[tuple[str, str]],
    used: Mask,
    how: str,
) -> None:
    """Note the one file of each id, the one chosen of several, or that nothing chooses."""
    hits = np.flatnonzero(single >= 0)
    for row, i in zip(left[hits].tolist(), single[hits].tolist(), strict=True):
        matches.paths[row] = "/".join(files[i])
        if how:
            matches.loose[row] = how
    used[single[hits]] = True
    if not several:
        return
    votes = Counter(_parent(files[i]) for i in np.flatnonzero(used).tolist())
    votes.update(_parent(files[i]) for fits in several.values() for i in fits)
    for i, fits in several.items():
        best, row = _choose(fits, files, votes), int(left[i])
        if len(best) > 1:
            matches.doubtful[row] = sorted("/".join(files[fit]) for fit in best)
            continue
        matches.paths[row] = "/".join(files[best[0]])
        matches.chosen.append(row)
        used[best[0]] = True


def _narrow_all(
    names: Sequence[str], single: Rows, several: dict[int, list[int]], files: Sequence[tuple[str, str]]
) -> None:
    """Leave of the files of each id those that lie in its folders, as far as an id has any."""
    with_folder = [i for i, name in enumerate(names) if "/" in name or "\\" in name]
    if not with_folder:
        return
    known = {parent.rpartition("/")[2].casefold() for parent in {_parent(file) for file in files}}
    for i in with_folder:
        fits = several.pop(i, None) or ([int(single[i])] if single[i] >= 0 else [])
        fits = _narrow(names[i], fits, files, known) if fits else []
        single[i] = fits[0] if len(fits) == 1 else -1
        if len(fits) > 1:
            several[i] = fits


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
    if name.isascii() and "\\" not in name and name[:1].isalnum() and name[-1:].isalnum():
        return name
    tidy = unicodedata.normalize("NFC", name).strip().replace("\\", "/")
    while tidy.startswith(("./", "/")):
        tidy = tidy.removeprefix(".").removeprefix("/")
    return tidy


def _whole(name: str) -> str:
    """Return a path tidied, without suffix."""
    return strip_suffix(_tidy(name)).rstrip()


def _last(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2].strip()


def _name(path: str) -> str:
    """Return the last part of a path tidied, without suffix."""
    return _last(_whole(path))


def _number(name: str) -> str:
    """Return a number without leading zeros and ``.0``; anything else as it is."""
    number = NUMBER.match(name)
    return number[1] if number else name


def _as_is(name: str) -> str:
    """Return a name as it is."""
    return name


RUNGS = (
    _Rung("", _as_is, _as_is),
    _Rung("", _as_is, strip_suffix),
    _Rung("suffix, spaces or slashes", _whole, _whole),
    _Rung("folder", _last, _last, by_folder=True),
    _Rung("case", str.casefold, str.casefold, by_folder=True),
    _Rung("number", _number, _number, by_folder=True),
)


def _folded(path: str) -> str:
    """Return the last part of a path tidied, without suffix and regard to case."""
    return _name(path).casefold()


def _as_number(path: str) -> str:
    """Return the last part of a path tidied, of a number without leading zeros and ``.0``."""
    return _number(_folded(path))


ID_FORMS = (_as_is, _whole, _name, _folded, _as_number)  # of an id, from the strictest: what all rungs so far overlook
