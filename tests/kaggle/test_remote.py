"""Remote: runs are trained in a session of Kaggle and come back; nothing is sent twice, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.kaggle_site import Site, point_at

from kit.core.files import Workspace

TOML = """
[competition]
title = "digits, cut down"

[data]
root = "data/digits"
embedded = "digits"
labeled = { csv = "train.csv", images = "train", id = "id", label = "label" }
test = "test"
sample_submission = "sample_submission.csv"
solution = "solution.csv"

[folds]
n = 2

[runs.forest]
model = "forest"
n_trees = 5
pixels = 4

[runs.svm]
model = "svm"
pixels = 4
"""
NOTEBOOK, DATASET = "ada/kit-colours-remote", "ada/kit-colours-push"


def write_digits_toml(workspace: Path) -> None:
    """Make the cut-down digits a competition of a workspace."""
    file = workspace / "competitions" / "digits_cut" / "competition.toml"
    file.parent.mkdir(parents=True)
    file.write_text(TOML)


@pytest.fixture
def kaggle_site(kaggle, kaggle_home, tmp_path, monkeypatch, capsys) -> Site:
    """An empty workspace with the cut-down digits, and a stand-in that runs what is pushed."""
    monkeypatch.setattr("kit.kaggle.remote.sending.LOOK_SECONDS", 0.005)
    point_at(kaggle, monkeypatch, kaggle_home, TMPDIR=str(tmp_path))
    kaggle.notebooks.place = tmp_path / "kaggle"
    write_digits_toml(tmp_path / "workspace")
    return Site(tmp_path / "workspace", kaggle, capsys)


def test_the_circle_of_push_status_and_pull_gives_the_runs_of_this_machine(kaggle_site, tmp_path):
    site = kaggle_site
    code, out, err = site("remote", "push", "digits_cut", "--yes", "--json")
    assert code == 0, err
    push = json.loads(out)["push"]
    print(err)
    version = site.server.notebooks.wait(push["notebook"])
    print((version.folder / "log").read_text())
    code, out, err = site("remote", "status", "digits_cut", "--json")
    print(out, err)
    code, out, err = site("remote", "pull", "digits_cut")
    print(out, err)
    write_digits_toml(tmp_path / "here")
    here = Site(tmp_path / "here", site.server, site.capsys)
    assert here("train", "digits_cut")[0] == 0
    folders = [Workspace(tmp_path / name).runs("digits_cut") for name in ("here", "workspace")]
    for name in ("forest", "svm"):
        oofs = [next(folder.glob(f"{name}/*/oof.parquet")) for folder in folders]
        assert oofs[0].read_bytes() == oofs[1].read_bytes() and oofs[0].parent.name == oofs[1].parent.name
    code, out, err = site("leaderboard", "digits_cut", "--json")
    print(out[:500])
    assert site("verify", "digits_cut")[0] == 0
    assert 0
