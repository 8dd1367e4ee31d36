"""Fixtures of runs."""

from __future__ import annotations

import pytest
from support.channels import make_with_sample

from kit.data.prepared import Prepared
from kit.runs.fit.crossval import crossval
from kit.runs.store import Result


@pytest.fixture(scope="session")
def forests(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, list[Result]]:
    """A competition of several labels with a sample submission, and two trained forests."""
    prepared = make_with_sample(tmp_path_factory.mktemp("several"), "id,label\n")
    return prepared, [crossval(prepared, name) for name in ("forest", "deep")]


@pytest.fixture
def no_worse_is_kept(monkeypatch):
    """Keep every round that is no worse than its base, as colours that all are told right never prove a gain."""
    monkeypatch.setattr("kit.runs.store.rounds.SURE", 0.0)
