"""What lies in a folder: the names of its images, those in archives too, and the rows of its tables. Each is read once.

Archives are listed, not unpacked; the one that is given as the data is unpacked.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kit.core.errors import InputError, some
from kit.core.terminal import note
from kit.curate.start.match import ImageIndex
from kit.curate.start.roles import FolderTree, role_of
from kit.curate.start.tables import is_table, read_table_rows
from kit.data.table.archives import is_archive, strip_archive
from kit.data.table.scan import IMAGE_SUFFIXES, extract_archive, is_image, is_visible, list_archive, scan_files

MAX_DEPTH = 2  # folders between the root and a table


@dataclass(frozen=True)
class Survey:
    """Hold what lies in a folder of images.

    Parameters
    ----------
    files
        All files, relative to `root`.
    names
        All images, relative to `root`; those in an archive as if it were a folder.
    tables
        Rows of every table: CSV files, and JSON files of images and annotations.
    pixels
        Of the tables that hold an image in each row, the columns of its pixels; their rows lack these columns.
    complaints
        What is wrong with the tables that cannot be read.
    """

    root: Path
    files: tuple[str, ...]
    names: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame]
    pixels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    complaints: Mapping[str, InputError] = field(default_factory=dict)

    @functools.cached_property
    def tree(self) -> FolderTree:
        """Return the folders that hold images."""
        return FolderTree.of(self.names)

    @functools.cached_property
    def index(self) -> ImageIndex:
        """Return the images by what an id may call them."""
        return ImageIndex(self.names)

    @functools.cached_property
    def n_others(self) -> Counter[str]:
        """Return how many files there are by suffix that are neither image nor table nor archive."""
        others = [file for file in self.files if not (is_image(file) or is_archive(file) or is_table(file))]
        return Counter(Path(file).suffix.lower() or "no suffix" for file in others)

    def show(self) -> str:
        """Return the first entries of the folder, for a message."""
        return some(sorted(f"{path.name}/" if path.is_dir() else path.name for path in self.root.iterdir()), 8)


def survey_folder(data: Path, unpack_to: Path | None = None) -> Survey:
    """Look through a folder, or an archive that is unpacked to `unpack_to`.

    Raises
    ------
    InputError
        When there is no such folder, or it holds no image.
    """
    root = _open_root(_only_archive(data, unpack_to), unpack_to)
    files = sorted(scan_files(root))
    names = [*filter(is_image, files), *_list_archived(root, files)]
    tables, pixels, complaints = _read_tables(root, files)
    survey = Survey(root, tuple(files), tuple(names), tables, pixels, complaints)
    if not names and not pixels:
        what = f"no images ({', '.join(IMAGE_SUFFIXES)}); found {survey.show()}" if files else "no files"
        raise InputError(f"{root}: holds {what}; give the folder that holds the competition's images")
    return survey


def _only_archive(data: Path, unpack_to: Path | None) -> Path:
    """Return the archive that is alone in a folder, as a download leaves it, where it may be unpacked; else `data`."""
    inside = [path for path in data.iterdir() if is_visible(path.name)] if data.is_dir() and unpack_to else []
    is_all = len(inside) == 1 and inside[0].is_file() and is_archive(inside[0].name)
    return inside[0] if is_all and role_of(inside[0].name) is None else data


def _open_root(data: Path, unpack_to: Path | None) -> Path:
    """Return the folder to look at; an archive is unpacked."""
    if data.is_dir():
        return data.resolve()
    if not data.exists():
        raise InputError(f"{data}: no such folder or archive")
    if not is_archive(data.name) or unpack_to is None:
        raise InputError(f"{data}: is a file; give a folder of images{' or an archive' if unpack_to else ''}")
    if unpack_to.exists():
        note(f"{unpack_to} is there already and read as it is; remove it to unpack {data.name} again")
    return extract_archive(data, unpack_to).resolve()


def _list_archived(root: Path, files: list[str]) -> list[str]:
    """Return the images inside archives, as if each were a folder; those unpacked beside are left out."""
    images = []
    for archive in filter(is_archive, files):
        if not is_table(archive) and not any(name.startswith(f"{strip_archive(archive)}/") for name in files):
            images += [f"{archive}/{name}" for name in list_archive(root / archive) if is_image(name)]
    return images


def _read_tables(
    root: Path, files: list[str]
) -> tuple[dict[str, pd.DataFrame], dict[str, tuple[str, ...]], dict[str, InputError]]:
    """Read the tables; also return which columns hold pixels, and what is wrong with unreadable ones."""
    tables, pixels, complaints = {}, {}, {}
    for file in files:
        if not is_table(file) or file.count("/") > MAX_DEPTH:
            continue
        try:
            tables[file], of_file = read_table_rows(root / file)
            if of_file:
                pixels[file] = of_file
        except InputError as error:
            complaints[file] = error
    return tables, pixels, complaints
