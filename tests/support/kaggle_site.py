"""A trained competition, a stand-in Kaggle that knows its solution, and the command line pointed at it."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from support.colours import lay_out, write_toml
from support.kaggle_server import KaggleServer

from kit.cli import main
from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.kaggle.client.session import Child, Kaggle
from kit.kaggle.submission.ledger import read_ledger, write_ledger

RUNS = """
[runs.svm]
model = "svm"
pixels = 4

[runs.forest]
model = "forest"
n_trees = 5
pixels = 4
"""
SLUG = "colours-2025"


class WarmKaggle(Kaggle):
    """A session that leaves its client to the next one of the same environment: to start one costs 0.35 s of CPU."""

    _waiting: ClassVar[dict[tuple, Child]] = {}

    def _start(self) -> Child:
        child = self._waiting.pop(self._key, None)
        return super()._start() if child is None or child.process.poll() is not None else child

    def __exit__(self, *_: object) -> None:
        child = self._child
        if child is None or child.process.poll() is not None or child._unread or self._key in self._waiting:
            self._end()
        else:
            self._waiting[self._key] = child
            self._child = None

    @property
    def _key(self) -> tuple:
        return tuple(sorted(self.environment.items()))

    @classmethod
    def end_all(cls) -> None:
        """End the clients that wait."""
        for child in cls._waiting.values():
            child.end()
        cls._waiting.clear()


def point_at(server: KaggleServer, monkeypatch: pytest.MonkeyPatch, home: Path, **more: str) -> None:
    """Give this process the environment in which the client reaches the server and nothing else."""
    for name in list(os.environ):
        if name.startswith("KAGGLE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in server.environment(home, **more).items():
        monkeypatch.setenv(name, value)


def hurry(monkeypatch: pytest.MonkeyPatch, call_seconds: float = 20.0) -> None:
    """Wait milliseconds where a user waits seconds."""
    monkeypatch.setattr("kit.kaggle.client.session.BACKOFF_SECONDS", 0.005)
    monkeypatch.setattr("kit.kaggle.client.session.CALL_SECONDS", call_seconds)
    monkeypatch.setattr("kit.kaggle.submission.send.LOOK_SECONDS", 0.005)
    monkeypatch.setattr("kit.kaggle.submission.send.WAIT_SECONDS", 0.005)


def read_solution(root: Path) -> dict[str, str]:
    """Return the solution that `lay_out` wrote, and take it away: from here on the server alone knows it."""
    file = root / "solution.csv"
    with open(file, newline="") as opened:
        rows = list(csv.reader(opened))[1:]
    file.unlink()
    return dict(rows)


class Site:
    """Run commands against the server."""

    def __init__(self, workspace: Path, server: KaggleServer, capsys: pytest.CaptureFixture) -> None:
        self.workspace, self.server, self.capsys = workspace, server, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; return exit code, stdout and stderr."""
        sys.argv = ["kit", *arguments, "--workspace", str(self.workspace)]
        with pytest.raises(SystemExit) as stop:
            main()
        streams = self.capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    @property
    def competition(self) -> Competition:
        """Return the competition."""
        return read_competition("colours", Workspace(self.workspace))

    @property
    def ledger(self) -> list[dict[str, str]]:
        """Return the ledger."""
        return read_ledger(self.competition)


def train(workspace: Path) -> dict[str, str]:
    """Make the competition, train its runs, return its solution."""
    root = workspace / "data" / "colours"
    lay_out(root)
    solution = read_solution(root)
    write_toml(workspace / "competitions" / "colours", RUNS)
    toml = workspace / "competitions" / "colours" / "competition.toml"
    text = (
        toml.read_text()
        .replace('solution = "solution.csv"', "")
        .replace('title = "colours"', f'title = "colours"\nslug = "{SLUG}"')
    )
    toml.write_text(text)
    sys.argv = ["kit", "all", "colours", "--quiet", "--workspace", str(workspace)]
    with contextlib.suppress(SystemExit):
        main()
    return solution


def write_submissions(competition: Competition, n_files: int, solution: dict[str, str], seed: int = 0) -> list[dict]:
    """Write files that differ, and their ledger rows, as if so many runs had been made."""
    import random

    draws, rows = random.Random(seed), []
    folder = competition.workspace.submissions(competition.name)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(1, n_files + 1):
        labels = [label if draws.random() < 0.7 else "red" for label in solution.values()]
        text = "id,label\n" + "".join(f"{k},{v}\n" for k, v in zip(solution, labels, strict=True)) + "\n" * i
        path = folder / f"{i:03d}_run{i}.csv"
        path.write_text(text)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"file": path.name, "run": f"run{i}", "key": f"k{i}", "cv": "0.7", "se": "0.05", "sha256": digest})
    write_ledger(competition, rows)
    return read_ledger(competition)


def copy_workspace(template: Path, workspace: Path) -> Path:
    """Return a copy of a trained workspace."""
    return Path(shutil.copytree(template, workspace))


def below(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder but for locks."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file() and "lock" not in file.name}


def data_of(workspace: Path) -> dict[str, bytes]:
    """Return the files of the competition's data."""
    root = workspace / "data" / "colours"
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
