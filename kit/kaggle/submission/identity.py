"""Tell which test image the organisers' id of a row means: ids differ in suffix, folder, case, zeros or Unicode form.

Works on lists of ids; reads and writes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import numpy as np

from kit.core.shapes import Ids

SUFFIX = re.compile(r"\.(jpe?g|jfif|jpe|png|bmp|gif|webp|tiff?|avif|jp2|heic|dcm)$", re.IGNORECASE)
WHOLE = re.compile(r"0*(\d+)(\.0*)?")


def meant_ids(ids: Sequence[str] | Ids, known: Collection[str] | Ids) -> Ids:
    """Return the `known` test ids that the organisers' `ids` mean, (n_rows,).

    Theirs may have the suffix of an image file or lack it, stand in a folder, be written in another case or Unicode
    form, with spaces around, as ``123.0``, or without leading zeros. Each is taken for the one known id that is the
    same but for as little as possible; where two are, or none is, it stays as it is, so that a message can name it.
    """
    tested = set(known)
    meant, left = list(ids), [row for row, image_id in enumerate(ids) if image_id not in tested]
    if not left or tested <= set(ids):
        return np.array(meant, dtype=object)
    for form in FORMS:
        counts = Counter(map(form, tested))
        by_form = {key: image_id for image_id in tested if counts[key := form(image_id)] == 1}
        still = []
        for row in left:
            if (image_id := by_form.get(form(meant[row]))) is None:
                still.append(row)
            else:
                meant[row] = image_id
        left = still
        if not left:
            break
    return np.array(meant, dtype=object)


def _path(image_id: str) -> str:
    """Return an id without suffix and spaces around, slashes one way, in one Unicode form."""
    path = unicodedata.normalize("NFC", image_id.strip()).replace("\\", "/").removeprefix("./")
    return SUFFIX.sub("", path)


def _name(image_id: str) -> str:
    """Return the last part of it."""
    return _path(image_id).rpartition("/")[2]


def _number(image_id: str) -> str:
    """Return a number without leading zeros and without ``.0``; another name in lower case."""
    name = _name(image_id)
    return number[1] if (number := WHOLE.fullmatch(name)) else name.lower()


FORMS: tuple[Callable[[str], str], ...] = (
    lambda image_id: unicodedata.normalize("NFC", image_id),
    _path,
    lambda image_id: _path(image_id).lower(),
    _name,
    lambda image_id: _name(image_id).lower(),
    _number,
)
