"""Shared fixtures: a workspace whose runs are trained in sessions of the stand-in Kaggle."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.kaggle_site import copy_workspace, point_at
from support.remote_site import RemoteSite, write_digits_cut


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A workspace that holds the cut-down digits, ready."""
    return write_digits_cut(tmp_path_factory.mktemp("digits") / "workspace")


@pytest.fixture
def far(template, kaggle, kaggle_home, tmp_path, monkeypatch, capsys) -> RemoteSite:
    """The cut-down digits in a workspace of its own, and a stand-in whose sessions wait until they are told."""
    monkeypatch.setattr("kit.kaggle.remote.sending.LOOK_SECONDS", 0.005)
    point_at(kaggle, monkeypatch, kaggle_home)
    kaggle.notebooks.place, kaggle.notebooks.is_waiting = tmp_path / "kaggle", True
    return RemoteSite(copy_workspace(template, tmp_path / "workspace"), kaggle, capsys)
