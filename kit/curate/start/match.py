"""Which images the cells of a column name: with and without suffix, folder, or leading zeros; at any depth.

Works on names; reads and writes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kit.curate.start.roles import is_in
from kit.data.table.archives import is_archive
from kit.data.table.scan import PLAIN_SUFFIXES, strip_suffix

N_PROBES = 200  # cells of a column that tell whether it names images
MIN_SHARE = 0.5  # of them must be images; the image table then names those that are not
MAX_FOLDERS = 40


@dataclass(frozen=True)
class Match:
    """Hold which images a column names.

    Parameters
    ----------
    folders
        Folders in which each id is unique, at any depth.
    images
        By cell, the image it names.
    n_cells
        How many different cells there are, also those that name none.
    """

    folders: tuple[str, ...]
    images: dict[str, str]
    n_cells: int

    @property
    def names(self) -> set[str]:
        """Return the images."""
        return set(self.images.values())


class ImageIndex:
    """Find images by what an id may call them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.by_stem: dict[str, list[str]] = {}
        self.by_number: dict[str, list[str]] = {}
        for name in names:
            stem = _stem(name)
            self.by_stem.setdefault(stem, []).append(name)
            if stem.isdecimal():
                self.by_number.setdefault(stem.lstrip("0") or "0", []).append(name)

    def find(self, cell: str) -> list[str]:
        """Return the images that a cell may mean; where it has folders in front, those that lie in them if any."""
        text = cell.strip().replace("\\", "/").removeprefix("./")
        stem = _stem(text)
        hits = self.by_stem.get(stem, [])
        if not hits and (number := re.fullmatch(r"0*(\d+)(\.0+)?", stem)):
            hits = self.by_number.get(number[1], [])
        parts = text.split("/")[:-1]
        while len(hits) > 1 and parts:
            end = "/".join(parts)
            if within := [name for name in hits if f"/{name}".rpartition("/")[0].endswith(f"/{end}")]:
                return within
            parts = parts[1:]
        return hits

    def share(self, cells: Sequence[str]) -> float:
        """Return which share of a column's cells name an image; of a long column some are looked at."""
        probes = cells[:: max(1, len(cells) // N_PROBES)]
        return sum(bool(self.find(cell)) for cell in probes) / len(probes) if probes else 0.0

    def match(self, cells: Sequence[str], avoid: Collection[str] = (), prefer: Collection[str] = ()) -> Match | None:
        """Return the images that a column names; None where fewer than half of its cells name one.

        Images in the folders of `avoid` do not count; of several images of a cell, the one in the folder that holds
        most of them is meant, and in a folder of `prefer` where they are equal.
        """
        if self.share(cells) < MIN_SHARE:
            return None
        distinct = list(dict.fromkeys(cells))
        hits = {cell: [name for name in self.find(cell) if not is_in(name, avoid)] for cell in distinct}
        votes = Counter(folder for found in hits.values() for folder in {_folder_of(name) for name in found})
        if not votes:
            return None
        order = {folder: (not is_in(folder, prefer), -n, -size_of(folder), folder) for folder, n in votes.items()}
        images: dict[str, str] = {}
        for cell, found in hits.items():
            if found:
                images[cell] = min(found, key=lambda name: (not _is_plain(name), order[_folder_of(name)], name))
        if len(images) < MIN_SHARE * len(distinct):
            return None
        return Match(self._folders(images), images, len(distinct))

    def _folders(self, images: dict[str, str]) -> tuple[str, ...]:
        """Return the fewest folders below which each cell names one image."""
        used = sorted({_folder_of(name) for name in images.values()})
        common = common_folder(used)
        if "." in used:
            return (".",)
        if common != "." and self._is_unique(images, common):
            return (common,)
        tops = sorted({folder.partition("/")[0] for folder in used})
        if common == "." and all(self._is_unique(images, top) for top in tops):
            return tuple(tops)
        if len(used) > MAX_FOLDERS:
            return (common,)
        return tuple(folder for folder in used if not is_in(folder, [other for other in used if other != folder]))

    def _is_unique(self, images: dict[str, str], folder: str) -> bool:
        """Tell whether below a folder no cell names two images."""
        return all(sum(is_in(name, [folder]) for name in self.find(cell)) < 2 for cell in images)


def _is_plain(name: str) -> bool:
    """Tell an image that needs no library of its own: of a picture given twice, the one that is meant."""
    return name.rpartition(".")[2].lower() in PLAIN_SUFFIXES


def _stem(path: str) -> str:
    """Return the last part of a path without an image's suffix, no capitals."""
    return strip_suffix(path.rpartition("/")[2]).casefold()


def _folder_of(name: str) -> str:
    """Return the folder of an image; of one inside an archive the archive, which is unpacked as a whole."""
    parts = name.split("/")[:-1]
    inside = next((n for n, part in enumerate(parts, 1) if is_archive(part)), len(parts))
    return "/".join(parts[:inside]) or "."


def common_folder(folders: Iterable[str]) -> str:
    """Return the deepest folder that holds all of them."""
    paths = [[] if folder == "." else folder.split("/") for folder in folders]
    common = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common) or "."


def size_of(folder: str) -> int:
    """Return the number of pixels that a folder's name tells, as "jpeg-512x512" does; 0 where it tells none."""
    sizes = re.findall(r"(\d{2,5})x(\d{2,5})", folder)
    return int(sizes[-1][0]) * int(sizes[-1][1]) if sizes else 0
