"""Greys of more than 8 bits: one range for a whole set, so that a dim image stays dim beside a bright one.

Reads what the audit measured; writes each such image, in 8 bits, as a PNG file into the cache,
``runs/NAME/cache/greys``, so that everything after reads files as ever. Warns where pictures end up all but black.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.core.files import key_of, write_atomic
from kit.core.terminal import Progress, note, stage, warn
from kit.data.decoding import EIGHT_BITS, grey_range, read_greys, render_greys

if TYPE_CHECKING:
    import pandas as pd

DARK = 8.0  # of 255: the mean of a picture that is all but black
MANY_DARK = 0.05  # of the pictures: more are no chance
Range = tuple[float, float]


@dataclass(frozen=True)
class Settled:
    """Hold the images of a table once their greys have 8 bits.

    Parameters
    ----------
    paths, digests
        The file of each image, and the hash of what models see of it; of broken images as they were.
    originals
        The file that each written one was made of.
    range
        The values of black and white; None where no image has more than 8 bits.
    """

    paths: list[str]
    digests: list[str]
    originals: dict[str, str]
    range: Range | None


def settle_greys(table: pd.DataFrame, facts: pd.DataFrame, cache: Path, given: Range | None = None) -> Settled:
    """Write the greys of more than 8 bits in 8, all by one range: that `given`, else that of all images together.

    `facts` are those of `kit.data.audit.facts` on the table's index. Images that need nothing stay as they are.
    """
    usable = facts["problem"].isna().to_numpy()
    deep = usable & facts["highest"].notna().to_numpy()
    paths, digests = table["path"].tolist(), facts["digest"].tolist()
    means, originals, settled = facts["mean"].to_numpy(dtype=float), dict[str, str](), None
    if deep.any():
        settled = given or _find_range(facts.loc[deep])
        black, white = settled
        means = np.where(deep, (means - black) / (white - black) * EIGHT_BITS, means)
        rows = np.flatnonzero(deep).tolist()
        files = [cache / "greys" / f"{key_of(digests[row], black, white)}.png" for row in rows]
        _write_missing([paths[row] for row in rows], files, black, white)
        note(f"{len(rows)} images of more than 8 bits: {black:g} is black and {white:g} is white, in all of them")
        for row, file in zip(rows, files, strict=True):
            originals[str(file)], paths[row], digests[row] = paths[row], str(file), file.stem
    _warn_of_dark(means[usable], table.loc[usable, "path"].tolist())
    return Settled(paths, digests, originals, settled)


def _find_range(facts: pd.DataFrame) -> Range:
    """Return black and white of all images of more than 8 bits together."""
    is_whole = bool(facts["is_whole"].all())
    lowest, highest = (facts[name].to_numpy(dtype=float) for name in ("lowest", "highest"))
    black, white = grey_range(float(lowest.min()), float(highest.max()), is_whole)
    return black, max(white, black + 1)


def _write_missing(paths: Sequence[str], files: Sequence[Path], black: float, white: float) -> None:
    """Write the images that are not there yet."""
    todo = {file: path for path, file in zip(paths, files, strict=True) if not file.exists()}
    if not todo:
        return
    with ThreadPoolExecutor(os.cpu_count()) as threads, Progress("greys", len(todo)) as progress:
        for _ in threads.map(lambda item: _write_grey(item[1], item[0], black, white), todo.items()):
            progress.advance()
    stage("greys", progress.summary("images written in 8 bits"))


def _write_grey(path: str, file: Path, black: float, white: float) -> None:
    """Write one image in 8 bits."""
    from PIL import Image

    greys = read_greys(path)
    if greys is None:
        raise OSError(f"{path}: was changed while it was read; call again")
    with write_atomic(file) as opened:
        Image.fromarray(render_greys(greys, black, white)).save(opened, "PNG")


def _warn_of_dark(means: np.ndarray, paths: Sequence[str]) -> None:
    """Warn where many pictures are all but black."""
    dark = np.flatnonzero(means < DARK)
    if len(dark) and len(dark) >= MANY_DARK * len(means):
        example = paths[int(dark[0])]
        warn(
            f"{len(dark)} of {len(means)} pictures are all but black (their mean is below {DARK:g} of {EIGHT_BITS:g}), "
            f"such as {example}; if they hold codes and no greys, or another range, convert them first"
        )
