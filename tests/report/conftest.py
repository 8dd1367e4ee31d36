"""Fixtures of reports."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kit.config.competition import Competition
from kit.data.prepared import Prepared, prepare
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store import Result


@pytest.fixture
def board(colours: Callable[..., Competition]) -> tuple[Prepared, list[Result]]:
    """The competition `colours`, and the results of two runs and of their ensemble."""
    prepared = prepare(colours())
    results = [crossval(prepared, name) for name in ("forest", "svm")]
    return prepared, [*results, ensemble(prepared, results)]
