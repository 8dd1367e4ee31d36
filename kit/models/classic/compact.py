"""Forests over many classes, whose leaves keep only the classes that they hold.

scikit-learn keeps a number of every node for every class: of 1,000 classes and 15,000 images up to 240 MB in each of
1,000 trees. Here a few trees are grown at a time, by scikit-learn and with its draws; kept are their splits, and the
shares of the leaves as a sparse matrix. What is predicted is what scikit-learn predicts. Nothing is read or written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.core.shapes import Labels, Proba, Vectors, Weights

if TYPE_CHECKING:
    from scipy.sparse import csr_array

GROWN_BYTES = 2**28  # of the nodes' numbers for every class, of the trees that are grown at a time


@dataclass(frozen=True)
class CompactForest:
    """Hold the trees of a forest.

    Parameters
    ----------
    splits
        scikit-learn's trees without any class, which tell the leaf that an image falls into.
    firsts
        (n_trees,) the row of each tree's first node in `shares`.
    shares
        (n_nodes, n_seen) class shares of the leaves of all trees, 0..1; nothing of the other nodes.
    classes
        (n_seen,) codes of the classes that the forest has seen.
    """

    splits: tuple[Any, ...]
    firsts: Labels
    shares: csr_array
    classes: Labels

    def predict_proba(self, features: Vectors) -> Proba:
        """Return the mean of the trees' class shares, (n_images, n_seen) float64."""
        from concurrent.futures import ThreadPoolExecutor

        from scipy.sparse import csr_array

        features = np.ascontiguousarray(features, dtype=np.float32)
        with ThreadPoolExecutor() as threads:  # scikit-learn goes down a tree without Python's lock
            leaves = np.stack(list(threads.map(lambda tree: tree.apply(features), self.splits)), axis=1)
        columns = (leaves + self.firsts).ravel()
        starts = np.arange(len(features) + 1) * len(self.splits)
        n_nodes = sum(tree.node_count for tree in self.splits)
        falls_into = csr_array((np.ones(len(columns)), columns, starts), shape=(len(features), n_nodes))
        total: Any = falls_into @ self.shares
        return total.toarray() / len(self.splits)


@contextmanager
def own_warning_filters() -> Iterator[None]:
    """Give scikit-learn's threads a list of warning filters to themselves.

    Each of them puts its own in place of the list that all share and then the old one back; where two do so at once
    one of them may empty the list for good, and a third then warns of a `Parallel` that was not missing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`sklearn.utils.parallel.delayed` should be used", UserWarning)
        yield


def grow_forest(forest: Any, features: Vectors, labels: Labels, weights: Weights) -> CompactForest:
    """Fit a scikit-learn forest, a few trees at a time, and return what is needed of it.

    Parameters
    ----------
    forest
        A RandomForestClassifier or an ExtraTreesClassifier that is not fitted; it is used up.
    labels
        (n_images,) class codes.
    """
    from scipy.sparse import csr_array, vstack

    n_trees, seen = forest.n_estimators, np.unique(labels)
    at_a_time = int(np.clip(GROWN_BYTES // (16 * len(labels) * len(seen)), 1, n_trees))
    forest.set_params(warm_start=True)
    splits, shares = [], []
    for stop in [*range(at_a_time, n_trees, at_a_time), n_trees]:
        with own_warning_filters():
            forest.set_params(n_estimators=stop).fit(features, labels, sample_weight=weights)
        for grown in forest.estimators_[len(splits) :]:
            only_splits, of_leaves = _compact(grown.tree_)
            splits.append(only_splits)
            shares.append(of_leaves)
        forest.estimators_ = [None] * stop  # how many there are tells which draws come next
    firsts = np.cumsum([0, *(each.shape[0] for each in shares[:-1])])
    return CompactForest(tuple(splits), firsts, csr_array(vstack(shares)), seen)


def _compact(tree: Any) -> tuple[Any, csr_array]:
    """Return a tree's splits as a tree of one class, and the class shares of its leaves."""
    from scipy.sparse import csr_array

    is_leaf = tree.children_left < 0
    shares = csr_array(tree.value[:, 0] * is_leaf[:, None])  # (n_nodes, n_seen)
    only_splits = type(tree)(tree.n_features, np.ones(1, dtype=np.intp), 1)
    only_splits.__setstate__({**tree.__getstate__(), "values": np.zeros((tree.node_count, 1, 1))})
    return only_splits, shares
