"""Tell which test image the organisers' id of a row means: ids differ in suffix, folder, case, zeros or Unicode form.

Works on lists of ids; reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from kit.core.shapes import Ids
from kit.data.table.matching import ID_FORMS


def meant_ids(ids: Sequence[str] | Ids, known: Collection[str] | Ids) -> Ids:
    """Return the `known` test ids that the organisers' `ids` mean, (n_rows,).

    Theirs may have the suffix of an image file or lack it, stand in a folder, be written in another case or Unicode
    form, with spaces around, as ``123.0``, or without leading zeros: as ids are matched with files. Each is taken for
    the one known id that differs in as little as possible; where two do, or none, it stays as it is, so that a message
    can name it.
    """
    tested = set(known)
    meant, left = list(ids), [row for row, image_id in enumerate(ids) if image_id not in tested]
    for form in ID_FORMS:
        if not left or tested <= set(meant):
            break
        free = tested - set(meant)
        counts = Counter(map(form, free))
        by_form = {key: image_id for image_id in free if counts[key := form(image_id)] == 1}
        still = []
        for row in left:
            if (image_id := by_form.get(form(meant[row]))) is None:
                still.append(row)
            else:
                meant[row] = image_id
        left = still
    return np.array(meant, dtype=object)
