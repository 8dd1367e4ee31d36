"""Write mined labels: per threshold a CSV and a contact sheet, and the file that runs learn from.

Writes ``runs/NAME/mined/``: for every threshold ``T.csv`` (`id,label,similarity`) and ``T.png``, a contact sheet of
what it adds to the next higher one, and ``sweep.json``; on request the CSV that ``[data] labeled`` names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from kit.config.competition import Competition
from kit.config.data import Listing
from kit.config.reader import suggest_labeled
from kit.core.errors import InputError, some
from kit.core.files import csv_text, write_atomic, write_csv, write_json
from kit.core.shapes import Rows
from kit.core.terminal import warn
from kit.curate.mining.mined import Mined
from kit.data.sheet import SheetTile, write_sheet
from kit.data.table import MIN_IMAGES_PER_CLASS
from kit.data.table.scan import read_csv, strip_suffix
from kit.data.table.sources import find_folder, name_key

ItemT = TypeVar("ItemT")
MINED_COLUMNS = ("id", "label", "similarity")
PER_ROW = 12  # images shown of a class
MAX_SHEET_CLASSES = 60  # on a contact sheet, those that most images are added to: a taller picture no viewer opens


def write_mined(mined: Mined) -> Path:
    """Write labels, contact sheet and counts of every threshold; return their folder."""
    folder = mined.competition.workspace.runs(mined.competition.name) / "mined"
    above: set[int] = set()
    for threshold in reversed(mined.thresholds):
        write_csv(folder / f"{threshold:g}.csv", MINED_COLUMNS, mined.rows(threshold))
        chosen = mined.at(threshold)
        added = [row for row in chosen.tolist() if row not in above]
        above |= set(added)
        _write_sheet(folder / f"{threshold:g}.png", mined, threshold, np.array(added, dtype=np.int64))
        if not len(chosen):
            warn(f"threshold {threshold:g} labels nothing; the nearest image is at {mined.nearest.cosine.max():.3f}")
    write_json(folder / "sweep.json", mined.sweep())
    return folder


def write_labels(mined: Mined) -> Path:
    """Write the labels at the competition's threshold where ``[data] labeled`` reads them.

    Raises
    ------
    InputError
        When a class has fewer images than cross-validation needs, images do not lie in the folder that ``labeled``
        names, or `check_writable` refuses.
    """
    competition = mined.competition
    listing, threshold = check_writable(competition), mined.plan.threshold
    rows = _name_below(mined, listing, threshold)
    counts = Counter(label for _, label, _ in rows)
    if small := [f"{name!r} ({counts[name]})" for name in mined.classes if counts[name] < MIN_IMAGES_PER_CLASS]:
        raise InputError(
            f"threshold {threshold:g} mines too few images of {some(small)} to cross-validate; lower [mining] "
            "threshold, or name more exemplars"
        )
    file = competition.root / listing.title
    text = csv_text(_header(listing), rows)
    folds = competition.workspace.folds(competition.name)
    if folds.exists() and not (file.is_file() and file.read_bytes() == text):
        warn(f"{folds} was made for other labels; delete it to assign new folds, with which no earlier CV compares")
    with write_atomic(file) as out:
        out.write(text)
    return file


def check_writable(competition: Competition) -> Listing:
    """Return the listing that mined labels are written to; refuse it where nothing reads it, or a foreign file lies.

    Raises
    ------
    InputError
        When ``[data]`` does not say that labels are mined, or another file lies there.
    """
    listing = competition.data.labeled
    if not competition.data.labels_are_mined or not isinstance(listing, Listing):
        raise InputError(
            f"{competition.file}: [data] does not say where mined labels are kept; write "
            f"{suggest_labeled(competition.data)} and labels_are_mined = true"
        )
    file = competition.root / listing.title
    if file.is_file() and tuple((foreign := read_csv(file)).columns) != _header(listing):
        raise InputError(
            f"{file}: is there and was not mined (its columns are {some(foreign.columns)}); name another file in "
            f"{name_key(competition, 'labeled.csv')}"
        )
    return listing


def _header(listing: Listing) -> tuple[str, str, str]:
    """Return the columns of the CSV that runs learn from."""
    return (listing.id or "id", listing.label if isinstance(listing.label, str) else "label", MINED_COLUMNS[2])


def _name_below(mined: Mined, listing: Listing, threshold: float) -> list[tuple[str, str, str]]:
    """Return `Mined.rows` with ids as the labelled listing wants them: paths below its folder."""
    folder = f"{find_folder(mined.competition, 'labeled.images', listing.folders[0])}/"
    if outside := [path for path in mined.paths if not path.startswith(folder)]:
        key = name_key(mined.competition, "labeled.images")
        raise InputError(f"{key} = {listing.images!r}: does not hold {some(outside, 1)}; name the pool's folder")
    whole = [path.removeprefix(folder) for path in mined.paths]
    n_alike = Counter(map(strip_suffix, whole))
    below = {
        image_id: stem if n_alike[stem := strip_suffix(name)] == 1 else name
        for image_id, name in zip(mined.ids, whole, strict=True)
    }
    return sorted((below[image_id], label, similarity) for image_id, label, similarity in mined.rows(threshold))


def _write_sheet(file: Path, mined: Mined, threshold: float, added: Rows) -> None:
    """Write the contact sheet of the images that a threshold adds, after each class's exemplars."""
    rows, n_classes = [], len(mined.classes)
    n_added = np.bincount(mined.nearest.codes[added], minlength=n_classes)
    shown = np.sort(np.argsort(-n_added, kind="stable")[:MAX_SHEET_CLASSES])
    for code in shown.tolist():
        name = mined.classes[code]
        of_class = added[mined.nearest.codes[added] == code].tolist()
        images = [SheetTile(str(mined.paths[row]), [f"{mined.nearest.cosine[row]:.3f}"]) for row in _spread(of_class)]
        exemplars = [SheetTile(path, ["1.000"]) for path in _spread(mined.exemplar_paths[name])]
        rows += [(f"{name}: exemplars", exemplars), (f"{name}: {len(of_class)} images added", images)]
    of_all = f" ({len(shown)} of {n_classes} classes)" if len(shown) < n_classes else ""
    write_sheet(file, f"{mined.competition.name}: what threshold {threshold:g} adds{of_all}", rows, n_columns=PER_ROW)


def _spread(images: Sequence[ItemT]) -> list[ItemT]:
    """Return at most `PER_ROW` images, evenly from the nearest to the farthest, both among them."""
    if len(images) <= PER_ROW:
        return list(images)
    return [images[i] for i in np.linspace(0, len(images) - 1, PER_ROW).round().astype(int)]
