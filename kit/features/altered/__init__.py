"""Altered copies: labelled images that are there again mirrored, turned, cropped, framed, written on or recoloured.

An encoder's features name the candidates, the nearest images; thumbnails say how one may lie within the other; pixels,
placed exactly, decide. Reads features, thumbnails and the candidates' files; writes what was found into
``runs/NAME/cache/altered/<key>.json``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.deadline import check_deadline
from kit.core.errors import MissingWeights
from kit.core.files import key_of, read_object, write_json
from kit.core.process import open_threads
from kit.core.shapes import Groups, Mask, Pixels, Rows, Texts, Vectors
from kit.core.terminal import count, stage
from kit.data.audit.duplicates import MIN_CONTRAST, MIN_HASHED_SIDE
from kit.data.audit.facts import audit_files, read_thumbnails
from kit.data.decoding import read_small_grey
from kit.data.images import Pool
from kit.data.prepared import Prepared
from kit.data.store import BLOCK
from kit.features.altered.alignment import EXACT, ROUGH, SOURCE_SIDE, align
from kit.features.altered.symmetries import NAMES, lay
from kit.features.altered.windows import Placements, place
from kit.features.cache import GIVEN, encode_images, has_features
from kit.features.joint import Joined, encoders_of
from kit.features.nearest import choose_search

VERSION = 2  # of what is found; another one in the cache is found anew
N_NEAREST = 5  # images that each image is compared with: 99 % of planted copies are among them
MIN_FIT = ((0.97, 0.86), (0.78, 0.8), (0.0, 0.74))  # of thumbnails, by the share of the sides that a window has
MIN_AGREEMENT = 0.9  # of placed pixels; the caps and bottle tops of 2,527 photos, which all look alike, reach 0.89
WHOLE = 0.96  # share of the sides from which on a window is the whole
PIXELS = ("fine_tune", "clip_finetune")  # models whose encoder is trained, and whose features nobody keeps
HYPOTHESES = 2048  # placements that are looked at closely at a time: 40 MB of greys


@dataclass(frozen=True)
class AlteredCopy:
    """Hold two images that are one picture: positions in the pool, both labelled, or one of them a test image.

    Parameters
    ----------
    change
        What was done to the second, or to the first: words for a person.
    agreement
        Correlation of the pixels' gradients where the one lies in the other, 0.9..1.
    """

    first: int
    second: int
    change: str
    agreement: float


def list_encoders(prepared: Prepared) -> list[Joined]:
    """Return the encoders whose features the competition's runs read, each once; not the organisers' embeddings."""
    runs = [run for run in prepared.competition.runs.values() if run.model not in PIXELS]
    named = [encoder for run in runs for encoder in encoders_of(run.options) if encoder[0] != GIVEN]
    return [encoder for i, encoder in enumerate(named) if encoder not in named[:i]]


def find_encoded(prepared: Prepared) -> Joined | None:
    """Return the first encoder whose features of all images are there already, or None."""
    for each in list_encoders(prepared):
        with suppress(MissingWeights):
            if has_features(prepared.pool, *each):
                return each
    return None


def find_altered(prepared: Prepared, encoder: str, encoder_args: dict[str, Any]) -> list[AlteredCopy]:
    """Return the pairs of labelled images, or of a labelled and a test image, that are one picture; surest first.

    What the audit has found already, equal files and near-duplicates, is not named again. Images below 32 pixels and
    flat ones say too little. All images are encoded where they are not yet; what was found is kept.
    """
    if (known := read_altered(prepared, encoder, encoder_args)) is not None:
        return known
    pool = prepared.pool
    copies = _search(prepared, encode_images(pool.select(np.arange(len(pool))), encoder, encoder_args).values)
    write_json(_locate(pool, encoder, encoder_args), {"encoder": encoder, "copies": [asdict(copy) for copy in copies]})
    stage("altered", f"{count(len(copies), 'pair')} of altered copies found by {encoder}")
    return copies


def read_altered(prepared: Prepared, encoder: str, encoder_args: dict[str, Any]) -> list[AlteredCopy] | None:
    """Return what `find_altered` has found by an encoder, or None; all images are encoded where they are not yet."""
    known = read_object(_locate(prepared.pool, encoder, encoder_args), "copies")
    return None if known is None else [AlteredCopy(**copy) for copy in known["copies"]]


def _locate(pool: Pool, encoder: str, encoder_args: dict[str, Any]) -> Path:
    """Return the file of what is found by an encoder."""
    features = encode_images(pool.select(np.arange(0)), encoder, encoder_args)
    return pool.cache / "altered" / f"{key_of(VERSION, features.key, N_NEAREST, MIN_AGREEMENT)}.json"


def _search(prepared: Prepared, values: Vectors) -> list[AlteredCopy]:
    """Name the candidates by features, and confirm them by pixels; copies without a label do CV no harm."""
    pool = prepared.pool
    rows = np.flatnonzero(pool.splits != "unlabeled")
    thumbnails, is_telling = _read_thumbnails(prepared, rows)
    first, second = find_candidates(values[rows], pool.splits[rows] == "labeled")
    known = group_found(prepared)[rows]
    asked = is_telling[first] & is_telling[second] & (known[first] != known[second])
    found = confirm(pool.paths[rows], thumbnails, first[asked], second[asked])
    return [replace(copy, first=int(rows[copy.first]), second=int(rows[copy.second])) for copy in found]


def find_candidates(values: Vectors, is_labeled: Mask) -> tuple[Rows, Rows]:
    """Return pairs of images (n_pairs,), (n_pairs,), first < second: each labelled one and the nearest to it.

    Of the other images, the labelled ones that are nearest to them are candidates too.
    """
    labeled, others = np.flatnonzero(is_labeled), np.flatnonzero(~is_labeled)
    pairs = []
    for asking, allowed in ((labeled, np.arange(len(values))), (others, labeled)):
        k = min(N_NEAREST, len(allowed) - 1)
        if k < 1 or not len(asking):
            continue
        search = choose_search(values, allowed, None, k)
        for start in range(0, len(asking), BLOCK):
            rows = asking[start : start + BLOCK]
            pairs.append(np.stack([np.repeat(rows, k), search(rows)[0].ravel()]))
            check_deadline()
    both = np.concatenate([np.empty((2, 0), dtype=np.int64), *pairs], axis=1)
    first, second = np.unique(np.sort(both, axis=0), axis=1)
    return first, second


def confirm(paths: Texts, thumbnails: Pixels, first: Rows, second: Rows) -> list[AlteredCopy]:
    """Return those of the pairs that are one picture, surest first; all are positions in `paths` and `thumbnails`."""
    outer, inner = np.concatenate([first, second]), np.concatenate([second, first])
    fits = place(thumbnails, outer, inner)
    pair, tried = np.nonzero(fits.agreement >= _least_fit(fits))
    number = pair % max(len(first), 1)
    agreement, windows = np.full(len(pair), -1.0, dtype=np.float32), np.empty((len(pair), 4), dtype=np.float32)
    starts = _cut_between_pairs(order := np.argsort(number, kind="stable"), number)
    for start, stop in starts:
        rows = order[start:stop]
        agreement[rows], windows[rows] = _look_closely(paths, outer, inner, fits, pair[rows], tried[rows], number[rows])
        check_deadline()
    copies = []
    for row in np.flatnonzero(agreement >= MIN_AGREEMENT):
        change = _name_change(int(fits.ways[pair[row], tried[row]]), windows[row].tolist())
        a, b = int(outer[pair[row]]), int(inner[pair[row]])
        copies.append(AlteredCopy(a, b, change, round(float(agreement[row]), 3)))
    return sorted(copies, key=lambda copy: (-copy.agreement, copy.first, copy.second))


def _least_fit(fits: Placements) -> np.ndarray:
    """Return how well thumbnails must fit: where a window is small, chance and coarse pixels have more to say."""
    share = fits.windows[..., :2].min(axis=-1)
    return np.select([share >= least for least, _ in MIN_FIT], [fit for _, fit in MIN_FIT])


def _cut_between_pairs(order: Rows, number: Rows) -> Iterable[tuple[int, int]]:
    """Yield start and stop of blocks of `order` that hold all placements of the pairs in them."""
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    start = 0
    while start < len(order):
        after = starts[starts >= start + HYPOTHESES]
        stop = int(after[0]) if len(after) else len(order)
        yield start, stop
        start = stop


def _look_closely(
    paths: Texts, outer: Rows, inner: Rows, fits: Placements, pair: Rows, tried: Rows, number: Rows
) -> tuple[np.ndarray, np.ndarray]:
    """Return agreement (n,) and windows (n, 4) of placements, -1 for all but the best of each pair."""
    import torch

    used, at = np.unique(np.concatenate([outer[pair], inner[pair]]), return_inverse=True)
    greys = _read_greys(paths[used])
    wholes = greys[at[: len(pair)]]
    laid = torch.stack(
        [lay(greys[i], int(way)) for i, way in zip(at[len(pair) :], fits.ways[pair, tried], strict=True)]
    )
    rough, windows = align(wholes, laid, fits.windows[pair, tried], ROUGH)
    order = np.lexsort((-rough, number))
    best = order[np.flatnonzero(np.diff(number[order], prepend=-1))]
    best = best[rough[best] > 0]
    agreement = np.full(len(pair), -1.0, dtype=np.float32)
    agreement[best], windows[best] = align(wholes[best], laid[best], windows[best], EXACT)
    return agreement, windows


def _read_greys(paths: Iterable[str]) -> Any:
    """Return files as greys (n_paths, SOURCE_SIDE, SOURCE_SIDE), squashed."""
    import torch

    with open_threads(os.cpu_count() or 1) as threads:
        greys = list(threads.map(lambda path: read_small_grey(path, SOURCE_SIDE), paths))
    return torch.from_numpy(np.stack(greys).astype(np.float32))


def _read_thumbnails(prepared: Prepared, rows: Rows) -> tuple[Pixels, Mask]:
    """Return the thumbnails of images of the pool, and of which they say enough to be compared."""
    import pandas as pd

    pool = prepared.pool
    paths = np.array([prepared.originals.get(path, path) for path in pool.paths[rows]], dtype=object)
    thumbnails = read_thumbnails(pool.cache, paths)
    facts = audit_files(pd.DataFrame({"path": paths, "split": "", "label": None}), pool.cache)
    is_large = facts[["width", "height"]].min(axis=1).to_numpy() >= MIN_HASHED_SIDE
    return thumbnails, is_large & (thumbnails.std(axis=(1, 2, 3)) >= MIN_CONTRAST)


def group_found(prepared: Prepared) -> Groups:
    """Return for each image of the pool the number of the cluster that the audit has found it in, or its own."""
    names = list(zip(prepared.pool.splits.tolist(), prepared.pool.ids.tolist(), strict=True))
    number = np.arange(len(names))
    row_of = {name: row for row, name in enumerate(names)}
    findings = prepared.findings
    for cluster in [*findings.exact, *findings.near] if findings else []:
        rows = [row_of[key] for image in cluster if (key := (image["split"], image["id"])) in row_of]
        number[rows] = min(rows, default=0)
    return number


def _name_change(way: int, window: list[float]) -> str:
    """Return in words what was done to one of two images."""
    width, height = window[:2]
    within = f"within the other, over {width:.0%} of its width and {height:.0%} of its height: cropped or framed"
    size = "" if min(width, height) >= WHOLE else within
    return ", ".join(filter(None, [NAMES[way], size])) or "the same frame: recoloured, written on or compressed"
