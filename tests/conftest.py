"""Shared fixtures: small real competitions on the disk."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library is loaded: tests share the cores, and sums keep one order
os.environ.pop("COLUMNS", None)  # a worker of pytest-xdist is told 80; the kit's own width of a pipe is what is tested
os.environ.pop("JPY_PARENT_PID", None)  # messages are those of a shell and a checkout, wherever the tests run
os.environ.pop("KAGGLE_KERNEL_RUN_TYPE", None)
os.environ.pop("COLAB_RELEASE_TAG", None)
os.environ.pop("MPLBACKEND", None)
os.environ.pop("KIT_PROGRAM", None)

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.channels import LISTED, TESTED, THREE_FOLDS, make_by_chance, make_by_turns
from support.colours import EMBEDDED, FOREST_AND_SVM, N_IMAGES, RUNS, lay_out, write_toml
from support.folders import touch, write
from support.journal import FITS, MEMORY
from support.pools import make_half_grey
from support.tiles import make_tiles
from support.toys import Dialled, Memoriser, Peeping, Stubborn

from kit.cli import main
from kit.cli.call import options
from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core import terminal
from kit.core.deadline import set_deadline
from kit.core.errors import MissingWeights
from kit.core.files import Workspace
from kit.core.installed import OPTIONAL, is_lacking, spell_lack
from kit.data.images import Pool
from kit.data.prepared import Prepared, prepare
from kit.kaggle.client import session
from kit.kaggle.client.credentials import child_environment
from kit.models import MODELS
from kit.runs.fit.crossval import crossval
from kit.runs.store import Result

pytest_plugins = ["support.looks"]

os.fsync = lambda _: None  # no test cuts the power, and a disk takes milliseconds for each of many thousand files
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["KAGGLE_API_ENVIRONMENT"] = "LOCALHOST"  # no test reaches the real Kaggle, whatever it forgets
LOOPBACK = Path(__file__).with_name("support") / "loopback"
runpy.run_path(str(LOOPBACK / "sitecustomize.py"))  # nor any other machine
session.child_environment = lambda given: child_environment(given) | {"PYTHONPATH": str(LOOPBACK)}


def _skip_what_lacks_a_package(error: Exception) -> None:
    """Skip a test that meets a package which may be absent and is."""
    lacking = [module for module in OPTIONAL if is_lacking(module)]
    is_lack = isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] in lacking
    if is_lack or (isinstance(error, MissingWeights) and any(spell_lack(module) in str(error) for module in lacking)):
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Skip a test whose fixture lacks a package."""
    try:
        return (yield)
    except (MissingWeights, ModuleNotFoundError) as error:
        _skip_what_lacks_a_package(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip a test that lacks a package."""
    try:
        return (yield)
    except (MissingWeights, ModuleNotFoundError) as error:
        _skip_what_lacks_a_package(error)
        raise


@pytest.fixture(autouse=True)
def _from_anew() -> Iterator[None]:
    """Let every test be heard, in words and without haste: --quiet, --json or a time limit would change later ones."""
    terminal.err.quiet, options.json = False, False
    yield
    set_deadline(None)


@pytest.fixture
def run_command(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command of the kit in this process: exit code, stdout, stderr."""

    def run(workspace: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kit", *arguments, "--workspace", str(workspace)])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return run


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
def prepared(colours: Callable[..., Competition]) -> Prepared:
    """The competition `colours`, ready."""
    return prepare(colours())


@pytest.fixture
def trained(colours: Callable[..., Competition]) -> tuple[Prepared, Result]:
    """The competition `colours` with two light runs, and the result of one."""
    prepared = prepare(colours(FOREST_AND_SVM))
    return prepared, crossval(prepared, "svm")


@pytest.fixture
def embedded(colours: Callable[..., Competition]) -> Callable[..., Competition]:
    """Return a function that makes `colours` with embeddings; other keys of [data] and [mining] may be given."""

    def make(runs: str, rest: str = "", data: str = EMBEDDED) -> Competition:
        competition = colours(runs, rest=rest, data=data)
        np.save(competition.root / "embeddings.npy", np.random.default_rng(0).normal(size=(N_IMAGES, 8)))
        return competition

    return make


@pytest.fixture
def paints(tmp_path: Path) -> tuple[Prepared, Result]:
    """Pictures whose channels are bright by chance, and a trained run."""
    prepared = make_by_chance(tmp_path, more='hierarchy = "/"')
    return prepared, crossval(prepared, "forest")


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Result]:
    """Pictures whose channels are bright by turns, in groups, and a trained run."""
    data, table = LISTED + TESTED + 'hierarchy = "/"', "id,label,g\n{id},{labels},{group}"
    prepared = make_by_turns(tmp_path_factory.mktemp("several"), table, THREE_FOLDS, data)
    return prepared, crossval(prepared, "forest")


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Pictures of up to three coloured tiles, and embeddings of them."""
    return make_tiles(tmp_path_factory.mktemp("tiles"))


@pytest.fixture
def half_grey(tmp_path: Path) -> Pool:
    """Images of two classes; the first twelve are grey, the last eight coloured."""
    return make_half_grey(tmp_path)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs name the toy models."""
    monkeypatch.setitem(MODELS, "memoriser", Memoriser)
    monkeypatch.setitem(MODELS, "dialled", Dialled)
    monkeypatch.setitem(MODELS, "stubborn", Stubborn)
    monkeypatch.setitem(MODELS, "peeping", Peeping)
    FITS.clear()
    MEMORY.clear()


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
    from support.kaggle_site import train

    workspace = tmp_path_factory.mktemp("trained") / "workspace"
    return workspace, train(workspace)


@pytest.fixture(scope="session")
def kaggle_server():
    """A stand-in Kaggle for all tests, and the clients that stay connected to it."""
    from support.kaggle_server import KaggleServer
    from support.kaggle_site import WarmKaggle

    with KaggleServer({}) as server:
        yield server
        WarmKaggle.end_all()


@pytest.fixture
def kaggle(kaggle_server, monkeypatch):
    """The stand-in as it was in the beginning, and nobody in a hurry that need not be."""
    from support.kaggle_site import WarmKaggle, hurry

    hurry(monkeypatch)
    monkeypatch.setattr("kit.kaggle.client.session.Kaggle", WarmKaggle)
    kaggle_server.begin()
    yield kaggle_server
    assert kaggle_server.foreign_hosts == []


@pytest.fixture(scope="session")
def kaggle_home(tmp_path_factory) -> Path:
    """The home of the clients that share a process."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def site(trained_workspace, kaggle, kaggle_home, tmp_path, monkeypatch, capsys):
    """The trained competition, and a stand-in Kaggle that this process' client reaches instead of the real one."""
    from support.kaggle_site import Site, copy_workspace, point_at

    template, solution = trained_workspace
    kaggle.begin(solution)
    point_at(kaggle, monkeypatch, kaggle_home)
    return Site(copy_workspace(template, tmp_path / "workspace"), kaggle, capsys)
