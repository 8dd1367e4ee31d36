"""The pool of images that networks learn from. A module may set POOL: its images, their size, how many are labelled."""

from __future__ import annotations

import numpy as np
import pytest
from support.pools import labels_of, make_pool

from kit.data.images import Images, Pool


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Coloured images of three classes; the first are labelled."""
    n_images, size, n_labeled = getattr(request.module, "POOL", (36, 32, 24))
    return make_pool(tmp_path_factory.mktemp("pool"), n_images, size, n_labeled)


@pytest.fixture
def labeled(pool: Pool) -> Images:
    """The labelled images with their labels."""
    rows = np.flatnonzero(pool.splits == "labeled")
    return pool.select(rows, labels_of(rows))


@pytest.fixture
def unlabeled(pool: Pool) -> Images:
    """The other images."""
    return pool.select(np.flatnonzero(pool.splits == "unlabeled"))
