"""Near-duplicates: images that are one picture, whatever their size and compression.

Reads the facts of the files and their thumbnails, never the files; writes nothing. The clusters never straddle folds.
Copies that were mirrored, turned, cropped, framed or written on are found by features: `kit.features.altered`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.core import terminal
from kit.core.errors import some
from kit.core.pairs import join_pairs
from kit.core.shapes import Groups, Mask, Pixels, Rows, Scores, Texts, Vectors
from kit.data.audit.facts import read_thumbnails

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

# Chosen on 8,000 photographs so that what is found is the same shot or the next one of a burst; the
# hash alone joins any two small objects on a white table (2,302 pairs in 2,527 photographs, 25 of them real).
MIN_HASHED_SIDE = 32  # pixels; below, hashes chain half of a set of digits into one cluster
MAX_DISTANCE = 6  # bits of 64
N_BANDS, N_INTACT = 9, 3  # of 9 bands, 6 flipped bits leave 3 intact: 84 look-ups find every pair
BUCKET_WINDOW = 64  # images compared within one bucket of equal bands: bounds the work where all images look alike
MIN_PAIRS, PAIRS_PER_IMAGE = 500_000, 5  # where the search ends if all images look alike
MIN_BITS = 4  # set or unset bits of a hash that says anything: flat images have fewer
MIN_CONTRAST = 4.0  # grey levels, standard deviation of a thumbnail that says anything
MIN_CORRELATION = 0.9  # of the thumbnails' gradients, which a shared background cannot feign
MAX_STRETCH = 1.1  # ratio of aspect ratios
MAX_CHAIN_SHARE = 1 / 3  # of a class's labelled images: beyond, images that are near by way of others are cut apart
MAX_CLUSTER_SHARE = 0.05  # the same of images that are all near each other: beyond, they are a look, not a duplicate
MAX_CLUSTER = 5  # labelled images of a class that are always believed: a third of one with 15 labels
PAIR_BLOCK = 8192  # pairs compared at a time: 50 MB


def group_near_duplicates(table: pd.DataFrame, facts: pd.DataFrame, cache: Path) -> Groups:
    """Return the cluster of near-duplicates that each image belongs to, as `find_clusters`; warn of what is refused."""
    clusters, refused = find_clusters(table, facts, cache)
    for members in refused:
        names = name_some_images(list_images(table.iloc[members]))
        remedy = "if they belong together, give them a group ([folds] group)"
        terminal.warn(f"{len(members)} images look alike, too many to be grouped: {names}; {remedy}")
    return clusters


def find_clusters(table: pd.DataFrame, facts: pd.DataFrame, cache: Path) -> tuple[Groups, list[Rows]]:
    """Find the clusters of near-duplicates, and apart from them those that are too large to be believed.

    Files of equal bytes always share a cluster. Others are near when their difference hashes differ in few bits and
    the gradients of their thumbnails agree; off for images below 32 pixels. Labelled images that are near, be it by way
    of other labelled ones (a burst, a film), share a cluster unless it holds more than a third of a class. It is then
    cut into clusters of which every pair is near, as those are that reach beyond the labelled images. What still fills
    more than 5 % of a class is a look (a studio, a scanner), not a duplicate: it is not grouped.

    `facts`, and the thumbnails in `cache`, are those of `kit.data.audit.facts.audit_files`.

    Returns
    -------
    tuple
        The cluster of each image: the position of its first image, so an image's position where it is alone. And the
        positions of the images of each cluster that was too large and cut.

    References
    ----------
    Difference hash: N. Krawetz, "Kind of Like That", hackerfactor.com, 2013. Multi-index hashing: M. Norouzi et al.,
    "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012.
    """
    usable = facts["problem"].isna().to_numpy()
    large = facts[["width", "height"]].min(axis=1).to_numpy() >= MIN_HASHED_SIDE
    exact = _join_equal(facts, usable)
    clusters = np.arange(len(facts))
    candidates = np.flatnonzero((exact == clusters) & usable & large)
    pairs = _find_near(table["path"].to_numpy()[candidates], facts.iloc[candidates], cache)
    clusters[candidates] = candidates[_link_completely(len(candidates), *pairs)]
    clusters = clusters[exact]
    chains = _join_chains(clusters, candidates[pairs], (table["split"] == "labeled").to_numpy())
    for members in _find_oversized(table, clusters, exact, MAX_CLUSTER_SHARE):
        clusters[members] = exact[members]
    refused = _find_oversized(table, chains, exact, MAX_CHAIN_SHARE)
    for members in refused:
        chains[members] = clusters[members]
    return chains, refused


def list_images(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return `id`, `split` and `label` of images as JSON-like values, None where there is no label."""
    columns = rows.loc[:, ["id", "split", "label"]].astype(object)
    return columns.where(columns.notna(), None).to_dict("records")


def name_some_images(images: list[dict[str, Any]]) -> str:
    """Name the first few of a list of images for a person."""
    return some(
        f"{image['split']} {image['id']}" + (f" ({image['label']})" if image["label"] else "") for image in images
    )


def _join_equal(facts: pd.DataFrame, usable: Mask) -> Groups:
    """Return for each file the position of the first file of equal bytes; of a broken file its position."""
    import pandas as pd

    first = np.arange(len(facts))
    digests, _ = pd.factorize(facts.loc[usable, "digest"])
    first[usable] = pd.Series(first[usable]).groupby(digests).transform("min")
    return first


def _join_chains(clusters: Groups, pairs: Rows, is_labeled: Mask) -> Groups:
    """Join the clusters of labelled images that are near, named by the position of the first image."""
    first, second = clusters[pairs[:, is_labeled[pairs].all(axis=0)]]
    chains = join_pairs(len(clusters), first, second)
    _, start, chains = np.unique(chains[clusters], return_index=True, return_inverse=True)
    return start[chains]


def _find_oversized(table: pd.DataFrame, clusters: Groups, exact: Groups, share: float) -> list[Rows]:
    """Return the positions of each cluster of unequal files that holds too many of a class's labelled images."""
    import pandas as pd

    labels, _ = pd.factorize(table["label"].where(table["split"] == "labeled"))  # no label: -1
    sizes = np.bincount(labels[labels >= 0])
    several = np.flatnonzero(np.isin(clusters, clusters[exact != clusters]) & (labels >= 0))
    pairs, counts = np.unique(np.stack([clusters[several], labels[several]]), axis=1, return_counts=True)
    too_many = counts > np.maximum(MAX_CLUSTER, share * sizes[pairs[1]])
    return [np.flatnonzero(clusters == cluster) for cluster in np.unique(pairs[0, too_many])]


def _find_near(paths: Texts, facts: pd.DataFrame, cache: Path) -> Rows:
    """Return the positions (2, n_pairs) of images that are near, nearest first."""
    first, second = _find_pairs(facts["dhash"].to_numpy())
    aspect = (facts["width"] / facts["height"]).to_numpy()
    stretch = np.abs(np.log(aspect[first] / aspect[second]))
    first, second = first[stretch < np.log(MAX_STRETCH)], second[stretch < np.log(MAX_STRETCH)]
    paired, at = np.unique(np.stack([first, second]), return_inverse=True)
    correlation = _correlate(read_thumbnails(cache, paths[paired]), *at.reshape(2, -1))
    near = correlation >= MIN_CORRELATION
    order = np.lexsort((second[near], first[near], -correlation[near]))
    return np.stack([first[near][order], second[near][order]])


def _find_pairs(hashes: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """Return the positions (n_pairs,) and (n_pairs,) of hashes at most MAX_DISTANCE bits apart."""
    n_set = np.bitwise_count(hashes)
    telling = np.flatnonzero((n_set >= MIN_BITS) & (n_set <= 64 - MIN_BITS))
    most = max(MIN_PAIRS, PAIRS_PER_IMAGE * len(hashes))
    edges = np.linspace(0, 64, N_BANDS + 1).astype(int)
    bands = [(1 << int(stop)) - (1 << int(start)) for start, stop in itertools.pairwise(edges)]
    near = np.empty(0, dtype=np.int64)  # first * n_images + second
    for intact in itertools.combinations(bands, N_INTACT):
        pairs = _find_pairs_in_buckets(hashes[telling], np.uint64(sum(intact)), most)
        near = np.union1d(near, telling[pairs[0]] * len(hashes) + telling[pairs[1]])
        if len(near) >= most:
            terminal.note("the images look so alike that near-duplicates were searched for only in part")
            break
    return near // max(len(hashes), 1), near % max(len(hashes), 1)


def _find_pairs_in_buckets(hashes: NDArray[np.uint64], mask: np.uint64, most: int) -> tuple[Rows, Rows]:
    """Return the near pairs (first < second) among hashes that are equal under `mask`; stop soon after `most`."""
    keys = hashes & mask
    order = np.argsort(keys)
    keys, hashes = keys[order], hashes[order]
    at, parts, n_pairs = np.arange(len(keys)), [], 0
    for step in range(1, BUCKET_WINDOW + 1):
        at = at[at + step < len(keys)]
        at = at[keys[at] == keys[at + step]]
        if not len(at) or n_pairs >= most:
            break
        near = at[np.bitwise_count(hashes[at] ^ hashes[at + step]) <= MAX_DISTANCE]
        parts.append(np.stack([order[near], order[near + step]]))
        n_pairs += len(near)
    pairs = np.concatenate(parts, axis=1) if parts else np.empty((2, 0), dtype=np.int64)
    return pairs.min(axis=0), pairs.max(axis=0)


def _correlate(thumbnails: Pixels, first: Rows, second: Rows) -> Scores:
    """Return the correlation (n_pairs,) of two images' gradients, -1 where one of them is flat."""
    correlation = np.empty(len(first), dtype=np.float32)
    for start in terminal.track(range(0, len(first), PAIR_BLOCK), "duplicates"):
        block = slice(start, start + PAIR_BLOCK)
        ours, theirs = _take_gradients(thumbnails[first[block]]), _take_gradients(thumbnails[second[block]])
        correlation[block] = np.einsum("ij,ij->i", ours, theirs)
    return correlation


def _take_gradients(thumbnails: Pixels) -> Vectors:
    """Return the gradients of thumbnails as rows of unit length and mean 0; not a number where flat."""
    pixels = thumbnails.astype(np.float32)
    across, down = np.diff(pixels, axis=2), np.diff(pixels, axis=1)
    rows = np.concatenate([across.reshape(len(pixels), -1), down.reshape(len(pixels), -1)], axis=1)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    rows[pixels.std(axis=(1, 2, 3)) < MIN_CONTRAST] = 0
    return rows


def _link_completely(n_images: int, first: Rows, second: Rows) -> Groups:
    """Merge pairs, nearest first, where every pair across two clusters is near; return each image's first partner."""
    near: dict[int, set[int]] = {}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        near.setdefault(a, {a}).add(b)
        near.setdefault(b, {b}).add(a)
    cluster = {image: [image] for image in near}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        ours, theirs = cluster[a], cluster[b]
        if ours is not theirs and all(near[image].issuperset(theirs) for image in ours):
            ours.extend(theirs)
            cluster.update(dict.fromkeys(theirs, ours))
    partner = np.arange(n_images)
    for image, members in cluster.items():
        partner[image] = min(members)
    return partner
