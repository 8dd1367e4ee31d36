"""A cut-down digits, and what its pushes leave at the stand-in Kaggle."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path

from support.kaggle_notebooks import Version
from support.kaggle_site import Site

from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.digits import write_digits
from kit.data.prepared import prepare
from kit.kaggle.remote.session import Session

N_TRAIN, N_TEST = 6, 2  # images of each class
NAME = "digits_cut"
NOTEBOOK, DATASET = "ada/kit-digits-cut-remote", "ada/kit-digits-cut-push"
TOML = """
[competition]
title = "digits, cut down"

[data]
root = "data/digits_cut"
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


def write_digits_cut(workspace: Path) -> Path:
    """Make a few digits of every class a competition of a workspace; return the workspace."""
    root = workspace / "data" / NAME
    write_digits(root)
    shutil.rmtree(root / "unlabeled")
    for name, folder, n_kept in (("train", "train", N_TRAIN), ("solution", "test", N_TEST)):
        rows = list(csv.reader((root / f"{name}.csv").read_text().splitlines()))
        by_label: dict[str, list[str]] = {}
        for image, label in rows[1:]:
            by_label.setdefault(label, []).append(image)
        kept = {image for images in by_label.values() for image in images[:n_kept]}
        for listing in {name, "sample_submission"} if name == "solution" else {name}:
            lines = list(csv.reader((root / f"{listing}.csv").read_text().splitlines()))
            text = "".join(f"{a},{b}\n" for a, b in [lines[0], *(line for line in lines[1:] if line[0] in kept)])
            (root / f"{listing}.csv").write_text(text)
        for file in (root / folder).iterdir():
            if file.stem not in kept:
                file.unlink()
    file = workspace / "competitions" / NAME / "competition.toml"
    file.parent.mkdir(parents=True)
    file.write_text(TOML)
    prepare(read_competition(NAME, Workspace(workspace)))  # audited, folds assigned
    return workspace


def folder_of(workspace: Path, run: str) -> Path:
    """Return the folder of a run."""
    (folder,) = (path for path in Workspace(workspace).runs(NAME).glob(f"{run}/*") if path.is_dir())
    return folder


class RemoteSite(Site):
    """Run commands against the stand-in, whose sessions are told what to leave."""

    def remote(self, what: str, *words: str) -> tuple[int, str, str]:
        """Call ``remote WHAT`` on the cut-down digits."""
        return self("remote", what, NAME, *words)

    def push(self, *words: str) -> dict:
        """Push, which must succeed; return the push."""
        code, out, err = self.remote("push", "--yes", "--json", *words)
        assert code == 0, err
        return json.loads(out)["push"]

    def read(self, name: str) -> Competition:
        """Return a competition of the workspace."""
        return read_competition(name, Workspace(self.workspace))

    @property
    def calls(self) -> list[str]:
        """Return the methods that were called so far."""
        return self.server.calls

    def count(self, method: str) -> int:
        """Return how often a method was called."""
        return self.calls.count(method)

    def end_session(self, status: str = "COMPLETE", log: str = "", message: str = "") -> Version:
        """Let the newest session, which waits, end without having left anything."""
        version = self.server.notebooks.notebooks[NOTEBOOK][-1]
        version.folder = self.server.notebooks.place / f"ended_{version.began}"
        (version.folder / "working").mkdir(parents=True, exist_ok=True)
        (version.folder / "log").write_text(log)
        version.status, version.message = status, message
        return version

    def open_pack(self) -> zipfile.ZipFile:
        """Return the file that was pushed."""
        (data,) = self.server.notebooks.datasets[DATASET][-1]["files"].values()
        return zipfile.ZipFile(io.BytesIO(data))

    def train_session(self, seconds: float = 600.0, status: str = "COMPLETE", packs_again: bool = False) -> Path:
        """Train what was pushed in this process, as the session would; return the folder of what it leaves."""
        version = self.end_session(status)
        sent = version.folder / "sent"
        self.open_pack().extractall(sent)
        token = version.request["text"].split("'token': '")[1].split("'")[0]
        session = Session(token, sent, version.folder / "input", version.folder / "working")
        session.train(seconds)
        if packs_again:
            session.pack("done", "")
        shutil.rmtree(sent)
        return version.folder / "working"
