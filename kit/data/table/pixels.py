"""Images that stand in the rows of a CSV: in a column per pixel, or all in one cell.

Reads the CSV; writes each row's image as a PNG file into the workspace's cache, ``runs/NAME/cache/pixels/<key>``, once,
so that everything after reads files as ever.
"""

from __future__ import annotations

import io
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.files import key_of, write_folder
from kit.core.shapes import Vectors
from kit.core.terminal import Progress, note, stage
from kit.data.decoding import EIGHT_BITS, grey_range
from kit.data.table.scan import read_csv, read_text, separator_of
from kit.data.table.sources import id_column, is_named, name_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1  # of how rows become images
MIN_PIXELS = 16  # a row of fewer numbers is no image
NUMBERED = re.compile(r"(.*?)(\d+)")  # the name of a pixel's column: pixel0, 1x1, px_12
FIRST_ROW = 1  # the number of the first row, where no sample submission says it
WRITE_BLOCK = 1024  # images written between two signs of progress


def read_pixel_rows(
    competition: Competition, split: str, listing: Listing, file: Path
) -> tuple[pd.DataFrame, pd.Series]:
    """Read a CSV whose rows are images; write them as files, once.

    Without a column of ids the ids are row numbers, which begin where those of the sample submission do.

    Returns
    -------
    tuple
        The columns that hold no pixels, the id first, as text; and the file of every row's image.

    Raises
    ------
    InputError
        When no columns look like the pixels of a square image, grey or of three colours, or a cell is no number.
    """
    key = name_key(competition, split)
    columns = find_pixel_columns(file, listing)
    rows, values = _read_parts(file, columns)
    if listing.id is None:
        first = _first_number(competition)
        rows.insert(0, "row", [str(number) for number in range(first, first + len(rows))])
    else:
        rows.insert(0, listing.id, rows.pop(listing.id))
    status = file.stat()
    made_of = key_of(str(file), status.st_size, status.st_mtime_ns, columns, VERSION)
    folder = competition.workspace.cache(competition.name) / "pixels" / f"{split}-{made_of}"
    if not folder.is_dir():
        _write_images(_as_images(values, file, key), folder)
    paths = [f"{folder}/{number:07d}.png" for number in range(len(rows))]
    return rows, pd.Series(paths, index=rows.index, dtype=object)


def find_pixel_columns(file: Path, listing: Listing) -> list[str]:
    """Return the columns that hold the pixels: those with numbered names of one kind, or the one of long cells.

    InputError where there are none of a square image.
    """
    text = read_text(file)
    head = pd.read_csv(
        io.StringIO(text),
        sep=separator_of(text, file.name),
        dtype=object,
        keep_default_na=False,
        na_filter=False,
        nrows=1,
    )
    taken = {listing.id, listing.group, *(listing.label if isinstance(listing.label, list) else [listing.label])}
    names = [str(name) for name in head.columns if str(name) not in taken and is_named(str(name))]
    return _pixel_columns(names, head, file)


def looks_like_pixels(columns: list[str]) -> bool:
    """Tell by its columns' names whether a CSV holds an image in each row, a column per pixel."""
    return bool(_numbered(columns))


def _numbered(names: list[str]) -> list[str]:
    """Return the numbered columns of the commonest kind where they are as many as a square image has pixels."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        if match := NUMBERED.fullmatch(name.strip()):
            kinds.setdefault(re.sub(r"\d+", "#", match[1]), []).append(name)
    most = max(kinds.values(), key=len, default=[])
    return most if len(most) >= MIN_PIXELS and _shape_of(len(most)) else []


def _pixel_columns(names: list[str], head: pd.DataFrame, file: Path) -> list[str]:
    """Return the pixels' columns by their names, or by the first row's cells."""
    if numbered := _numbered(names):
        return numbered
    for name in names:
        if len(head) and _shape_of(n := len(_numbers(str(head[name].iloc[0])))) and n >= MIN_PIXELS:
            return [name]
    cause = f"no columns hold the pixels of a square image (columns {some(names)})"
    raise InputError(f"{file}: {cause}; they are numbered, as pixel0 and on, or one cell of numbers; name the others")


def _shape_of(n_values: int) -> tuple[int, ...] | None:
    """Return (side, side) or (side, side, 3) of an image of so many values; None where it would not be square."""
    for n_channels, more in ((1, ()), (3, (3,))):
        side = math.isqrt(n_values // n_channels)
        if side and side * side * n_channels == n_values:
            return (side, side, *more)
    return None


def _read_parts(file: Path, columns: list[str]) -> tuple[pd.DataFrame, Vectors]:
    """Return the columns without pixels as text, and the pixels (n_rows, n_values) as numbers."""
    if len(columns) == 1:
        rows = read_csv(file)
        values = [_numbers(cell) for cell in rows.pop(columns[0])]
        n_values = len(values[0]) if values else 0
        for row, numbers in zip(rows.index, values, strict=True):
            if len(numbers) != n_values:
                cause = f"{len(numbers)} pixels where the first row has {n_values}"
                raise InputError(f"{file}: row {row}: {cause}; all images of a CSV have one size")
        return rows, np.array(values, dtype=np.float32).reshape(len(values), n_values)
    text = read_text(file)
    separator = separator_of(text, file.name)
    wanted = set(columns)
    kept = {"dtype": object, "keep_default_na": False, "na_filter": False}
    try:
        rows = pd.read_csv(io.StringIO(text), sep=separator, usecols=lambda name: name not in wanted, **kept)
        numbers = pd.read_csv(io.StringIO(text), sep=separator, usecols=lambda name: name in wanted, dtype=np.float32)
    except ValueError as error:
        raise InputError(f"{file}: a pixel is no number ({' '.join(str(error).split())}); mend it") from error
    if numbers.isna().to_numpy().any():
        row = int(np.flatnonzero(numbers.isna().to_numpy().any(axis=1))[0]) + 2
        raise InputError(f"{file}: row {row}: a pixel is missing; fill it in or take the row out")
    rows = rows.set_axis([str(name).strip() for name in rows.columns], axis=1)
    return rows.reindex(numbers.index).set_axis(numbers.index + 2, axis=0), numbers.loc[:, columns].to_numpy()


def _numbers(cell: str) -> Vectors:
    """Return the numbers of a cell, whatever stands between them; none where it holds anything else."""
    try:
        return np.array(re.sub(r"[\[\](),;|]", " ", cell).split(), dtype=np.float32)
    except ValueError:
        return np.zeros(0, dtype=np.float32)


def _first_number(competition: Competition) -> int:
    """Return the number at which the sample submission begins to count."""
    name = competition.data.sample_submission
    if name is None or not (competition.root / name).is_file():
        return FIRST_ROW
    sample = read_csv(competition.root / name)
    ids = sample[id_column(sample, Listing(csv=name))].tolist()
    return int(ids[0]) if ids and ids[0].strip().isdigit() else FIRST_ROW


def _as_images(values: Vectors, file: Path, key: str) -> NDArray[np.uint8]:
    """Return pixels (n_rows, n_values) as images, (n_rows, side, side), or with 3 colours last: one range for all."""
    shape = _shape_of(values.shape[1])
    if shape is None or not len(values):
        raise InputError(f"{file}: {values.shape[1]} values in a row are no square image ({key})")
    if not np.isfinite(values).all():
        raise InputError(f"{file}: a pixel is not finite; mend it")
    low, high = grey_range(float(values.min()), float(values.max()), is_whole=bool((values == values.round()).all()))
    if high > EIGHT_BITS:  # the next full number of bits: the same for every split
        high = 2.0 ** math.ceil(math.log2(high + 1)) - 1
    if (low, high) != (0.0, 255.0):
        note(f"{file}: pixels of {low:g} to {high:g} are scaled to 0 to 255, all images alike")
    scaled = ((values - low) * (255 / (high - low))).round().astype(np.uint8)
    if len(shape) == 2:
        return scaled.reshape(-1, *shape)
    return _lay_colours(scaled, shape[0], file)


def _lay_colours(values: NDArray[np.uint8], side: int, file: Path) -> NDArray[np.uint8]:
    """Return colour images, (n_rows, side, side, 3): colours lie pixel by pixel or plane by plane, as is smoother."""
    by_pixel = values.reshape(-1, side, side, 3)
    by_plane = values.reshape(-1, 3, side, side).transpose(0, 2, 3, 1)
    rough = [np.abs(np.diff(images[:WRITE_BLOCK].astype(np.int16), axis=2)).mean() for images in (by_pixel, by_plane)]
    is_planes = rough[1] < rough[0]
    note(f"{file}: colours lie {'plane by plane' if is_planes else 'pixel by pixel'}, as the smoother images tell")
    return by_plane if is_planes else by_pixel


def _write_images(images: NDArray[np.uint8], folder: Path) -> None:
    """Write images as PNG files into a folder that appears when all of them are there."""
    from PIL import Image

    def write(number: int) -> None:
        Image.fromarray(np.ascontiguousarray(images[number])).save(part / f"{number:07d}.png", compress_level=1)

    progress = Progress("pixels", len(images))
    with write_folder(folder) as part, ThreadPoolExecutor(os.cpu_count()) as threads, progress:
        for start in range(0, len(images), WRITE_BLOCK):
            block = range(start, min(start + WRITE_BLOCK, len(images)))
            list(threads.map(write, block))
            progress.advance(len(block))
    stage("pixels", progress.summary("rows written as images"))
