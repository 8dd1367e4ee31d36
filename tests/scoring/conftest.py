"""Fixtures of scores."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Labels of four of five classes, and probabilities that know nothing of them."""
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 4, 300)
    proba = draws.dirichlet(np.ones(5), 300)
    return labels, proba
