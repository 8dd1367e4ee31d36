"""Groups of things that hang together by pairs of them."""

from __future__ import annotations

import numpy as np

from kit.core.shapes import Groups, Rows


def join_pairs(n: int, first: Rows, second: Rows) -> Groups:
    """Return which of `n` things hang together by pairs of them, (n,): groups, numbered by their first thing."""
    if not len(first):
        return np.arange(n)

    from scipy.sparse import coo_array  # a third of a second to import
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    return connected_components(edges, directed=False)[1].astype(np.int64)
