"""Nearest rows of many: compared one by one, or by an index where they are many.

On a CPU the time of comparing all pairs grows with their number squared. Above `MOST_EXACT` rows faiss, where it is
installed, sorts them into lists, compares a query with the rows of the nearest lists by short codes, and the best of
those by their features. How many lists are looked into is settled on a sample of these very rows, whose neighbours are
found exactly: so many that `RECALL` of them are found again. Where no number of lists pays, all pairs are compared.
Nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from kit.core.shapes import Rows, Scores, Vectors
from kit.core.terminal import note, stage

if TYPE_CHECKING:
    import faiss

Search: TypeAlias = Callable[[Rows], tuple[Rows, Scores]]
"""Of (n,) rows: the nearest ones and their cosines, nearest first, (n, k) each."""

MOST_EXACT = 30_000  # rows: below, a matrix product is done before an index is built
RECALL = 0.975  # share of the exact neighbours that the sample must find
N_SAMPLE = 512  # queries whose neighbours are found exactly
FIRST_LISTS = 8  # looked into at first; then so many times as many, until the sample is content
STEP = 1.4
MOST_LISTS = 0.6  # share of all lists; beyond, an index takes as long as comparing all
CODED = 4  # numbers of a feature that one code of four bits stands for
N_BEST = 24  # rows per neighbour that are compared by their features
PER_LIST = 64  # rows per list that the lists are learned from
COMPARED = 2**26  # pairs whose cosines are held at a time: 256 MB
ADDED = 32_768  # rows put into an index at a time
SEED = 0
INDEXED = ("index", RECALL, N_SAMPLE, FIRST_LISTS, STEP, MOST_LISTS, CODED, N_BEST, PER_LIST, SEED)  # what it finds
NO_GROUP = -2  # of a row that asks: no row has this code
BARRED = -2.0  # cosine of what must not be a neighbour


def choose_search(values: Vectors, allowed: Rows, groups: Rows | None, k: int) -> Search:
    """Return how the neighbours of rows are found.

    Parameters
    ----------
    values
        (n_rows, n_dims) float32 of unit length.
    allowed
        Rows that may be neighbours; none is a neighbour of itself.
    groups
        (n_rows,) codes: rows of one code, 0 or more, are not neighbours of each other; -1 of a row that may have any
        neighbour. None where all may. Rows of a group are compared with all.
    """
    exact = search_exact(values, allowed, groups, k)
    if not is_indexed(len(allowed)):
        return exact
    return search_indexed(values, allowed, groups, k, exact) or exact


def is_indexed(n_allowed: int) -> bool:
    """Return whether so many rows are put into an index here: of a GPU all pairs cost seconds."""
    from kit.features.device import device_name

    return n_allowed > MOST_EXACT and device_name() == "cpu" and _has_faiss()


def _has_faiss() -> bool:
    try:
        import faiss
    except ImportError:
        note("faiss is not installed, all pairs of images are compared: faiss-cpu is several times faster")
        return False
    return bool(faiss.__version__)


def search_exact(values: Vectors, allowed: Rows, groups: Rows | None, k: int) -> Search:
    """Return a search that compares with all allowed rows, by a matrix product."""
    import torch

    from kit.features.device import device_name

    everything = torch.from_numpy(values).to(device_name())  # (n_rows, n_dims)
    if len(allowed) <= MOST_EXACT:
        among, at, hidden = everything[torch.from_numpy(allowed).to(everything.device)], allowed, np.zeros(0, dtype=int)
    else:  # a copy of most rows would fill the memory
        at = np.arange(len(values))
        among, hidden = everything, np.setdiff1d(at, allowed)
    place = np.full(len(values), -1)
    place[at] = np.arange(len(at))
    codes = np.full(len(values), -1) if groups is None else groups
    codes_at = torch.from_numpy(codes[at]).to(everything.device)

    def search_few(rows: Rows) -> tuple[Rows, Scores]:
        with torch.no_grad():
            cosine = everything[torch.from_numpy(rows).to(everything.device)] @ among.T  # (n_block, n_allowed)
            itself = np.flatnonzero(place[rows] >= 0)
            cosine[itself, place[rows][itself]] = BARRED
            if (codes[rows] >= 0).any():
                asking = torch.from_numpy(np.where(codes[rows] < 0, NO_GROUP, codes[rows])).to(everything.device)
                cosine.masked_fill_(asking[:, None] == codes_at, BARRED)
            cosine[:, hidden] = BARRED
            nearest: torch.return_types.topk = cosine.topk(k, dim=1)
        return at[nearest.indices.cpu().numpy()], nearest.values.cpu().numpy()

    def search(rows: Rows) -> tuple[Rows, Scores]:
        n_few = max(1, COMPARED // len(at)) if len(at) > MOST_EXACT else len(rows)
        if len(rows) <= n_few:
            return search_few(rows)
        found, cosines = zip(
            *(search_few(part) for part in np.split(rows, range(n_few, len(rows), n_few))), strict=True
        )
        return np.concatenate(found), np.concatenate(cosines)

    return search


def search_indexed(values: Vectors, allowed: Rows, groups: Rows | None, k: int, exact: Search) -> Search | None:
    """Return a search in an index that finds `RECALL` of a sample's neighbours; None where no index does in time.

    The lists and codes are learned with a fixed seed; threads do not change what is found.
    """
    import faiss

    is_barred = np.zeros(len(values), dtype=bool) if groups is None else groups >= 0
    lacking = -values.shape[1] % CODED
    padded = np.pad(values, ((0, 0), (0, lacking))) if lacking else values
    index, n_lists = _build(padded.astype(np.float32, copy=False), allowed)

    def ask(rows: Rows) -> tuple[Rows, Scores]:
        cosine, found = index.search(np.ascontiguousarray(padded[rows]), k + 1)
        nearest = np.where(found < 0, rows[:, None], allowed[found])  # too few found: itself, which is barred
        cosine = np.where(nearest == rows[:, None], BARRED, cosine)
        best = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(nearest, best, axis=1), np.take_along_axis(cosine, best, axis=1)

    def search(rows: Rows) -> tuple[Rows, Scores]:
        found, cosine = ask(rows)
        alone = np.flatnonzero(is_barred[rows])
        if len(alone):
            found[alone], cosine[alone] = exact(rows[alone])
        return found, cosine

    sample = np.sort(np.random.default_rng(SEED).choice(len(values), min(N_SAMPLE, len(values)), replace=False))
    sample = sample[~is_barred[sample]]
    truth, _ = exact(sample)
    looked = FIRST_LISTS
    while looked <= max(MOST_LISTS * n_lists, FIRST_LISTS):
        faiss.ParameterSpace().set_index_parameter(index, "nprobe", looked)
        found = (ask(sample)[0][:, :, None] == truth[:, None, :]).any(axis=1).mean()
        if found >= RECALL:
            stage("neighbours", f"an index of {n_lists:,} lists, {looked} looked into: {found:.1%} of a sample's found")
            return search
        looked = int(np.ceil(STEP * looked))
    note(f"an index of {n_lists:,} lists finds too few neighbours of these features: all pairs are compared")
    return None


def _build(values: Vectors, allowed: Rows) -> tuple[faiss.Index, int]:
    """Return an index of the allowed rows, and its number of lists."""
    import faiss

    n_rows, n_dims = len(allowed), values.shape[1]
    n_lists = max(int(2 * np.sqrt(n_rows)), 1)
    index = faiss.index_factory(
        n_dims, f"IVF{n_lists},PQ{n_dims // CODED}x4fs,Refine(SQfp16)", faiss.METRIC_INNER_PRODUCT
    )
    faiss.extract_index_ivf(index).cp.min_points_per_centroid = 1  # a warning else, where there are few rows
    shown = np.sort(np.random.default_rng(SEED).permutation(n_rows)[: PER_LIST * n_lists])
    index.train(values[allowed[shown]])
    for start in range(0, n_rows, ADDED):
        index.add(values[allowed[start : start + ADDED]])
    faiss.ParameterSpace().set_index_parameter(index, "k_factor_rf", N_BEST)
    return index, n_lists
