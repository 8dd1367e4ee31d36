"""Shared fixtures: small real competitions on the disk."""

from __future__ import annotations

import csv
import os

os.environ.pop("COLUMNS", None)  # a worker of pytest-xdist is told 80; the kit's own width of a pipe is what is tested

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from folders import touch, write
from PIL import Image

from kit import terminal
from kit.cli.call import options
from kit.competition import Competition
from kit.competition_file import read_competition
from kit.files import Workspace
from kit.kaggle_api import session
from kit.kaggle_api.credentials import child_environment

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["KAGGLE_API_ENVIRONMENT"] = "LOCALHOST"  # no test reaches the real Kaggle, whatever it forgets
LOOPBACK = Path(__file__).with_name("loopback")
runpy.run_path(str(LOOPBACK / "sitecustomize.py"))  # nor any other machine
session.child_environment = lambda given: child_environment(given) | {"PYTHONPATH": str(LOOPBACK)}


@pytest.fixture(autouse=True)
def _heard() -> None:
    """Let every test be heard, and in words: a command called with --quiet or --json would change those after it."""
    terminal.err.quiet, options.json = False, False


COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}
RUNS = """
[runs.forest]
model = "forest"
n_trees = 20

[runs.svm]
model = "svm"
"""


def draw(colour: tuple[int, int, int], draws: np.random.Generator, size: int = 40) -> Image.Image:
    """Draw a noisy picture of one colour."""
    noise = draws.normal(0, 60, (size, size, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def lay_out(root: Path, n_labeled: int = 6, n_unlabeled: int = 12, n_test: int = 9, seed: int = 0) -> None:
    """Write class folders, a pool, a test folder, a sample submission and a solution."""
    draws = np.random.default_rng(seed)
    number, solution = 0, []

    def save(folder: Path, name: str) -> str:
        nonlocal number
        number += 1
        folder.mkdir(parents=True, exist_ok=True)
        draw(COLOURS[name], draws).save(folder / f"{number:05d}.png")
        return f"{number:05d}"

    for name in COLOURS:
        for _ in range(n_labeled):
            save(root / "train" / name, name)
    names = list(COLOURS)
    for i in range(n_unlabeled):
        save(root / "unlabeled", names[i % 3])
    for i in range(n_test):
        solution.append((save(root / "test", names[i % 3]), names[i % 3]))
    for file, rows in (
        ("solution.csv", solution),
        ("sample_submission.csv", [(image_id, "red") for image_id, _ in reversed(solution)]),
    ):
        with open(root / file, "w", newline="") as text:
            csv.writer(text).writerows([("id", "label"), *rows])


def write_toml(folder: Path, runs: str = RUNS, data: str = "", rest: str = "") -> None:
    """Write a competition.toml for `lay_out`'s files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "competition.toml").write_text(
        f"""
[competition]
title = "colours"

[data]
root = "data/colours"
labeled = "train"
unlabeled = "unlabeled"
test = "test"
sample_submission = "sample_submission.csv"
solution = "solution.csv"
{data}

[folds]
n = 3
{runs}
{rest}
""",
        encoding="utf-8",
    )


@pytest.fixture
def colours(tmp_path: Path) -> Callable[..., Competition]:
    """Return a function that makes the competition `colours` in a workspace of its own."""

    def make(runs: str = RUNS, changes: tuple[str, ...] = (), rest: str = "", data: str = "") -> Competition:
        root = tmp_path / "data" / "colours"
        if not root.exists():
            lay_out(root)
        write_toml(tmp_path / "competitions" / "colours", runs, data, rest)
        return read_competition("colours", Workspace(tmp_path), changes)

    return make


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of two images, as class folders."""
    root = tmp_path / "data"
    touch(root, "train/cat/000001.jpg", "train/cat/000002.jpg", "train/dog/000003.png", "train/dog/000004.JPEG")
    return root


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Four images in one folder, labelled by a CSV."""
    root = tmp_path / "data"
    touch(root, *(f"images/00000{i}.jpg" for i in range(1, 5)))
    write(root / "train.csv", "id,label\n000003,dog\n000001,cat\n000002,cat\n000004,dog\n")
    return root


@pytest.fixture(scope="session")
def trained_workspace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A workspace whose competition `colours` is trained and has a slug; and the solution, which is not in it."""
    from kaggle_site import train

    workspace = tmp_path_factory.mktemp("trained") / "workspace"
    return workspace, train(workspace)


@pytest.fixture(scope="session")
def kaggle_server():
    """A stand-in Kaggle for all tests, and the clients that stay connected to it."""
    from kaggle_server import KaggleServer
    from kaggle_site import WarmKaggle

    with KaggleServer({}) as server:
        yield server
        WarmKaggle.end_all()


@pytest.fixture
def kaggle(kaggle_server, monkeypatch):
    """The stand-in as it was in the beginning, and nobody in a hurry that need not be."""
    from kaggle_site import WarmKaggle, hurry

    hurry(monkeypatch)
    monkeypatch.setattr("kit.kaggle_api.session.Kaggle", WarmKaggle)
    kaggle_server.begin()
    yield kaggle_server
    assert kaggle_server.strangers == []


@pytest.fixture(scope="session")
def kaggle_home(tmp_path_factory) -> Path:
    """The home of the clients that share a process."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def site(trained_workspace, kaggle, kaggle_home, tmp_path, monkeypatch, capsys):
    """The trained competition, and a stand-in Kaggle that this process' client reaches instead of the real one."""
    from kaggle_site import Site, copy_workspace, point_at

    template, solution = trained_workspace
    kaggle.begin(solution)
    point_at(kaggle, monkeypatch, kaggle_home)
    return Site(copy_workspace(template, tmp_path / "workspace"), kaggle, capsys)
