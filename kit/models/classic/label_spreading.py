"""Label spreading: scikit-learn's transductive baseline, which semi-supervised runs are measured against.

The images of a small pool scikit-learn compares with each other itself, by their Euclidean distance. Of a large one the
neighbours are those of `kit.features.neighbours`, by their cosine, found once for all folds, exactly or by an index;
scikit-learn gets them as a sparse matrix. The size of the whole pool decides, so that all folds and the refit are of
one kind, however many nodes each has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kit.core.shapes import Proba, Rows
from kit.data.images import Images
from kit.features.neighbours import SPARE, pick_nearest, read_neighbours, read_pixel_neighbours
from kit.models.classic.on_pixels import OnPixels
from kit.models.search import Between

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FEW = 5_000  # images of a pool that scikit-learn compares with each other, anew for every fold


@dataclass
class LabelSpreading(OnPixels):
    """Let labels flow along a nearest-neighbour graph of labelled and unlabelled images (Zhou et al. 2004).

    Parameters
    ----------
    n_neighbors
        Neighbours of each image in the graph, itself among them.
    alpha
        Share of its label that an image takes from its neighbours, above 0 and below 1.
    seed
        Changes nothing, for nothing is drawn: copies by `seeds` cost their time and are all alike, those by `bags`
        learn from other images.
    """

    encoder: str | None = None
    encoder_args: dict[str, Any] = field(default_factory=dict)
    pixels: Annotated[int, Field(ge=2, le=256)] = 16
    n_neighbors: Annotated[int, Field(ge=1), Between(2, 50, log=True)] = 7
    alpha: Annotated[float, Field(gt=0, lt=1), Between(0.01, 0.99)] = 0.2
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> LabelSpreading:
        """Build the graph of labelled and unlabelled images and spread the labels."""
        from sklearn import semi_supervised

        others = unlabeled.take(np.flatnonzero(~np.isin(unlabeled.rows, labeled.rows)))  # pseudo-labelled ones once
        drawn = np.unique(labeled.rows, return_index=True)[1]  # of a bag's images each is one node
        both = labeled.take(np.sort(drawn)).join(others)
        self._pairs = self._find_neighbours(both) if len(both.pool) > FEW else None
        kernel: Any = "knn" if self._pairs is None else PoolKernel(self._pairs, self.n_neighbors)  # its hint: str alone
        spreading = semi_supervised.LabelSpreading(
            kernel=kernel,
            n_neighbors=min(self.n_neighbors, len(both)),
            alpha=self.alpha,
            max_iter=200,
        )
        self.spreading_ = spreading.fit(self._read(both), both.labels)
        return self

    def predict_proba(self, images: Images) -> Proba:
        """Return the mean label of each image's neighbours in the graph, (n_images, n_classes)."""
        with np.errstate(invalid="ignore"):  # an image that no label reached: 0 / 0
            values = self.spreading_.predict_proba(self._read(images))
        proba = np.zeros((len(images), images.n_classes))
        proba[:, self.spreading_.classes_] = _fill_unreached(values)
        return proba

    def _read(self, images: Images) -> NDArray[Any]:
        """Return what scikit-learn gets of images: what the model reads of them, of many their rows in the pool."""
        return self._features(images) if self._pairs is None else images.rows[:, None]

    def _find_neighbours(self, nodes: Images) -> NDArray[np.void]:
        """Return the neighbours of all images of the pool."""
        with_test, k = bool((nodes.pool.splits[nodes.rows] == "test").any()), self.n_neighbors + SPARE
        if self.encoder is None:
            return read_pixel_neighbours(nodes.pool, self.pixels, k, with_test)
        return read_neighbours(nodes.pool, self.encoder, self.encoder_args, k, with_test)


@dataclass(frozen=True)
class PoolKernel:
    """Be scikit-learn's kernel of images that are known by their rows in the pool: 1 of an image's nearest nodes.

    Parameters
    ----------
    pairs
        (n_pool, k) neighbours, as `kit.features.neighbours.read_neighbours` gives them.
    n_neighbors
        Nodes of each image; a node is its own first one.
    """

    pairs: NDArray[np.void]
    n_neighbors: int

    def __call__(self, nodes: Rows, images: Rows) -> csr_array:
        """Return (n_nodes, n_images) of (n_nodes, 1) and (n_images, 1) rows; of the nodes themselves the transpose.

        scikit-learn builds its graph with a row for each node that asks, and predicts with a column for each image.
        """
        from scipy.sparse import csr_array

        position = np.full(len(self.pairs), -1)
        position[nodes[:, 0]] = np.arange(len(nodes))
        itself = position[images[:, 0]]
        is_node = itself >= 0
        asking, columns, _ = pick_nearest(self.pairs[images[:, 0]], position, self.n_neighbors - is_node)
        asking, columns = np.append(asking, np.flatnonzero(is_node)), np.append(columns, itself[is_node])
        near = csr_array((np.ones(len(asking)), (asking, columns)), shape=(len(images), len(nodes)))
        return near if images is nodes else near.T


def _fill_unreached(proba: Proba) -> Proba:
    """Give images that no label reached the uniform distribution over the classes that were seen."""
    reached = np.isfinite(proba).all(axis=1) & (proba.sum(axis=1) > 0)
    proba[~reached] = 1.0
    return proba / proba.sum(axis=1, keepdims=True)
