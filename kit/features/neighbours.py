"""Neighbours: the nearest images of every image, found once per encoder, and labels diffused along them.

Writes ``runs/NAME/cache/neighbours/<key>.npy``, (n_pool, k) pairs of pool row and cosine similarity; a killed search
goes on at the next block. Which images a model may use is decided when a `Graph` is cut out of them, per fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.core.arrays import fill_array, read_array
from kit.core.deadline import check_deadline
from kit.core.files import key_of
from kit.core.shapes import Proba, Rows, Scores, Vectors, Weights
from kit.core.terminal import Progress
from kit.data.images import Gallery, Images, Pool, pool_behind
from kit.features.cache import encode_images, image_features, squashed
from kit.features.nearest import BARRED, INDEXED, choose_search, is_indexed
from kit.features.whitening import Whitening

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SEARCH_BLOCK = 1024  # images whose similarities to all others are held at a time
SPARE = 6  # neighbours kept beyond those asked for, in place of those that a fold may not use
NEIGHBOUR_SHARPNESS = 3.0  # power of the cosine similarity that weighs a neighbour
NEIGHBOUR = [("row", "<i4"), ("cosine", "<f4")]  # numpy's dtype of one
DIFFUSION_ERROR = 1e-3  # share of a diffused label still on its way when the iteration stops


class Graph:
    """Hold the nearest-neighbour graph of the images that one model may use: its nodes.

    Parameters
    ----------
    nodes
        The images; those with a label are the anchors.
    encoders
        Whose features decide who is near, each with its arguments; what several say is added up.
    whitenings
        Of each encoder's features; none where they are taken as they are.
    """

    def __init__(
        self,
        nodes: Images,
        encoders: Sequence[tuple[str, dict[str, Any]]],
        n_neighbors: int,
        whitenings: Sequence[Whitening] = (),
    ) -> None:
        with_test = bool((nodes.pool.splits[nodes.rows] == "test").any())
        self._all = [
            read_neighbours(nodes.pool, encoder, args, n_neighbors + SPARE, with_test, whitening)
            for (encoder, args), whitening in zip(encoders, whitenings or [None] * len(encoders), strict=True)
        ]
        self._position = np.full(len(nodes.pool), -1)
        self._position[nodes.rows] = np.arange(len(nodes))
        self.nodes, self.n_neighbors = nodes, n_neighbors
        one_way = self.attach(nodes)
        both = one_way + one_way.T
        degree = np.maximum(np.asarray(both.sum(axis=1)).ravel(), np.finfo(np.float32).tiny)
        self.affinity = _scale(both, degree**-0.5, degree**-0.5)  # S = D^-1/2 W D^-1/2

    def attach(self, images: Images) -> csr_array:
        """Return the weights of each image's nearest nodes, (n_images, n_nodes), not normalised: the encoders' sum."""
        first, *others = (self._attach_by(pairs[images.rows]) for pairs in self._all)
        return sum(others, first)

    def _attach_by(self, pairs: NDArray[np.void]) -> csr_array:
        """Return the weights that one encoder gives, by each image's pool rows and cosines, nearest first."""
        from scipy.sparse import csr_array

        rows, columns, cosines = pick_nearest(pairs, self._position, self.n_neighbors)
        weights = np.maximum(cosines, 0) ** NEIGHBOUR_SHARPNESS
        shape = (len(pairs), int((self._position >= 0).sum()))
        return csr_array((weights.astype(np.float32), (rows, columns)), shape=shape)

    def diffuse(self, proba: Proba, smooth: float) -> Proba:
        """Let the prediction of each node flow to its neighbours: (1 - smooth) (I - smooth S)^-1 proba.

        `smooth`, 0 or more and below 1, is the share that a node takes from its neighbours; 0 returns `proba` (Zhou et
        al. 2004, Learning with local and global consistency, equation 4).
        """
        if smooth == 0:
            return proba
        source = proba.astype(np.float32)
        flowed = source
        for _ in range(int(np.ceil(np.log(DIFFUSION_ERROR) / np.log(smooth)))):
            flowed = smooth * (self.affinity @ flowed) + (1 - smooth) * source
        return flowed / flowed.sum(axis=1, keepdims=True)

    def extend(self, images: Images, alone: Callable[[], Proba], of_nodes: Proba, smooth: float) -> Proba:
        """Return the predictions of any images: of a node the diffused one, else one step from its nearest nodes.

        `alone` gives what the model alone predicts of the images, which is not asked where all are nodes; `of_nodes` is
        diffused.
        """
        if smooth == 0:
            return alone()
        position = self._position[images.rows]
        is_node = position >= 0
        if is_node.all():
            return of_nodes[position].astype(np.float32)
        mixed = np.array(alone(), dtype=np.float32)
        mixed[is_node] = of_nodes[position[is_node]]
        others = np.flatnonzero(~is_node)
        near = self.attach(images.take(others))
        total = np.asarray(near.sum(axis=1)).ravel()
        reached = total > 0
        mean = (near @ of_nodes)[reached] / total[reached, None]
        mixed[others[reached]] = (1 - smooth) * mixed[others[reached]] + smooth * mean
        return mixed


def pick_nearest(pairs: NDArray[np.void], position: Rows, n_neighbors: int | Rows) -> tuple[Rows, Rows, Scores]:
    """Return which image, which node and what cosine: of every image its nearest nodes, one after the other.

    Parameters
    ----------
    pairs
        (n_images, k) neighbours of some images, nearest first.
    position
        (n_pool,) the place of each row of the pool among the nodes; -1 of what is no node.
    n_neighbors
        Nodes of each image at most; (n_images,) where they differ.
    """
    columns = position[pairs["row"]]
    usable = (columns >= 0) & (pairs["cosine"] > BARRED)
    usable &= np.cumsum(usable, axis=1) <= np.reshape(n_neighbors, (-1, 1))
    return np.repeat(np.arange(len(pairs)), usable.sum(axis=1)), columns[usable], pairs["cosine"][usable]


def read_neighbours(
    pool: Pool | Gallery,
    encoder: str,
    encoder_args: dict[str, Any],
    k: int,
    with_test: bool,
    whitening: Whitening | None = None,
) -> NDArray[np.void]:
    """Return the nearest images of every image of the pool, at most `k`; searched the first time.

    An image is no neighbour of itself. Unless test images may be neighbours, a labelled image also does without the
    labelled ones of its group: they share its fold, whose images are then no nodes, and would fill the places of those
    that are. Where test images are nodes, so is the held-out fold: the images of a burst support each other in it as
    they do in the test set.

    The array is (n_pool, k) of ``row`` (position in the pool) and ``cosine`` (-1..1), nearest first. With a `whitening`
    the cosines are those of the features that it gives.
    """
    pool = pool_behind(pool)
    features = encode_images(pool.select(np.arange(len(pool))), encoder, encoder_args)
    changed = [] if whitening is None else [whitening.key]

    def read() -> Vectors:
        return features.values if whitening is None else whitening(features.values)

    return _search_pool(pool, features.key, changed, read, k, with_test)


def read_pixel_neighbours(pool: Pool | Gallery, pixels: int, k: int, with_test: bool) -> NDArray[np.void]:
    """Return neighbours as `read_neighbours` does, by the pixels and histograms of `kit.features.cache.image_features`.

    Their pool's mean is taken off, and what is left is brought to unit length: brightness alone tells no images apart.
    """
    pool = pool_behind(pool)

    def read() -> Vectors:
        values = image_features(pool.select(np.arange(len(pool))), None, {}, pixels)
        values -= values.mean(axis=0, dtype=np.float64).astype(np.float32)
        for start in range(0, len(values), SEARCH_BLOCK):  # a second array as large would fill the memory
            block = values[start : start + SEARCH_BLOCK]
            block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), np.float32(1e-12))
        return values

    return _search_pool(pool, key_of(pool.key, squashed(pixels).key), [], read, k, with_test)


def _search_pool(
    pool: Pool, key: str, changed: list[str], read: Callable[[], Vectors], k: int, with_test: bool
) -> NDArray[np.void]:
    """Return the neighbours of every image of a pool, from their file or by the vectors that are read."""
    allowed = np.flatnonzero((pool.splits != "test") | with_test)
    k = min(k, len(allowed) - 1)
    groups = None if with_test else _group_labelled(pool)
    grouped = [] if groups is None else np.flatnonzero(groups >= 0)
    barred = [] if groups is None else np.stack([grouped, groups[grouped]]).T.tolist()
    indexed = [*INDEXED] if is_indexed(len(allowed)) else []
    path = pool.cache / "neighbours" / f"{key_of(key, k, with_test, barred, *changed, *indexed)}.npy"
    if (known := read_array(path, (len(pool), k), NEIGHBOUR)) is not None:
        return known
    with Progress("neighbours", len(pool)) as progress:
        search = choose_search(read(), allowed, groups, k)

        def fill(rows: NDArray[np.void], start: int, stop: int) -> None:
            progress.resume_at(start)
            rows["row"], rows["cosine"] = search(np.arange(start, stop))
            progress.advance(stop - start)

        return fill_array(path, (len(pool), k), NEIGHBOUR, fill, SEARCH_BLOCK, check_deadline)


def _group_labelled(pool: Pool) -> Rows:
    """Return a code per row of the pool, (n_pool,): one for the labelled images that share a group, -1 for others."""
    codes, labeled = np.full(len(pool), -1), np.flatnonzero(pool.splits == "labeled")
    _, of_labeled, counts = np.unique(pool.groups[labeled], return_inverse=True, return_counts=True)
    codes[labeled] = np.where(counts[of_labeled] > 1, of_labeled, -1)
    return codes


def _scale(matrix: csr_array, rows: Weights, columns: Weights) -> csr_array:
    """Return a sparse matrix with its rows and columns multiplied."""
    from scipy.sparse import csr_array, diags_array

    return csr_array(diags_array(rows) @ matrix @ diags_array(columns), dtype=np.float32)
