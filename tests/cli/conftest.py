"""Fixtures of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.kaggle_site import Site, data_of


@pytest.fixture
def fresh(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A workspace with nothing in it, and a Kaggle that offers the competition's data."""
    site.server.pack(data_of(site.workspace))
    return Site(tmp_path / "fresh", site.server, capsys)
