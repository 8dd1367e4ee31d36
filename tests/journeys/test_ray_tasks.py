"""Ray: searches, draws, stores and weights give one process' bytes, be the workspace seen by the nodes or not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cluster import blind_nodes, can_hide, three_nodes
from support.colours import COLOURS, draw, lay_out, write_toml

from kit.bench import sent
from kit.bench.recipes import sets
from kit.bench.semi import PhotoSetting
from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.engine import make_engine, using
from kit.core.files import Workspace
from kit.core.installed import is_lacking
from kit.data import store
from kit.data.prepared import Prepared, prepare
from kit.runs.fit import decoding
from kit.runs.fit.crossval import make_apart

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or is_lacking("ray"), reason="needs Ray, and the processes that Linux shows"
    ),
]
RUNS = """
[runs.svm]
model = "svm"
pixels = 4
search = { C = { low = 0.1, high = 10.0, log = true } }

[runs.named]
model = "linear_probe"
encoder = "open_clip:local-dir:../../../weights/tiny-clip"
"""


@dataclass(frozen=True)
class Nodes:
    """Hold a cluster, and the folder that holds what its nodes see."""

    address: str
    base: Path

    @property
    def options(self) -> tuple[str, ...]:
        return "--engine", "ray", "--address", self.address

    def make_workspace(self, name: str) -> Path:
        """Lay out a competition whose weights are named by a path that leads out of its workspace."""
        root = self.base / name
        lay_out(root / "data" / "colours")
        write_toml(root / "competitions" / "colours", RUNS)
        return root

    def prepare(self, name: str) -> Prepared:
        return prepare(read_competition("colours", Workspace(self.make_workspace(name))))


SEEING, BLIND = "seeing", "blind"
HIDING = pytest.param(BLIND, marks=pytest.mark.skipif(not can_hide(), reason="needs the right to mount disks"))


@pytest.fixture(scope="module", params=[SEEING, HIDING])
def nodes(request, tmp_path_factory) -> Iterator[Nodes]:
    """Three nodes of one core each, which see everything; or two that see nothing of the workspaces and weights."""
    base, homes = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("homes")
    shutil.copytree(HOME / "digits" / "tiny-clip", base / "weights" / "tiny-clip")
    is_blind = request.param == BLIND
    with blind_nodes([base], [homes / name for name in "ab"]) if is_blind else three_nodes() as cluster:
        yield Nodes(cluster.address, base)
    assert bool(list(homes.glob("*/kit-*"))) == is_blind


@pytest.fixture(scope="module")
def made_here() -> dict[str, Any]:
    """What this process has made, by the test: it is the same whatever the nodes see."""
    return {}


@pytest.fixture
def compare(request, nodes, made_here, run_command) -> Callable[..., tuple[Any, Any]]:
    """Return a function that runs a command here and on the nodes, and returns what was read of both."""

    def run(read: Callable[[Path, str], Any], *call: str) -> tuple[Any, Any]:
        test = request.node.name.replace(f"{request.node.callspec.params['nodes']}", "")

        def make(where: str, *options: str) -> Any:
            workspace = nodes.make_workspace(f"{test}-{where}")
            code, out, err = run_command(workspace, *call, *options)
            assert code == 0, err
            return read(workspace, out.replace(str(workspace), ""))

        if test not in made_here:
            made_here[test] = make("here")
        return made_here[test], make("there", *nodes.options)

    return run


def read_fits(workspace: Path, out: str) -> tuple[str, dict[str, bytes]]:
    """Return what a search said, and has left of its settings."""
    files = workspace.glob("runs/colours/tune/svm/*/fits/*/oof.parquet")
    return out, {file.parent.name: file.read_bytes() for file in files}


def test_a_search_finds_what_it_finds_here(compare):
    here, there = compare(read_fits, "tune", "colours", "svm", "--trials", "4", "--json")
    assert here == there and len(here[1]) >= 4


def test_draws_of_noise_are_those_made_here(compare):
    here, there = compare(lambda _, out: out, "bench", "noise", "colours", "--draws", "2", "--json")
    assert here == there and '"named"' in here


@pytest.fixture
def photos(nodes, monkeypatch) -> Path:
    """Photos of three classes, of which four labels are drawn."""
    folder, draws = nodes.base / "photos", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (of_class := folder / "trashnet" / name).mkdir(parents=True, exist_ok=True)
        for number in range(14):
            draw(colour, draws, 80).save(of_class / f"{number:02d}.png")
    monkeypatch.setattr(sets, "SETTINGS", (PhotoSetting("trashnet", 4),))
    monkeypatch.setattr(sent, "SETTINGS", ("trashnet 4",))
    return folder


@pytest.mark.parametrize("what, n_files", [("members", 2), ("recipes", 6), ("sent", 2)])
def test_draws_of_photos_are_those_made_here(what, n_files, compare, nodes, photos):
    weights = ("--weights", str(nodes.base / "weights")) if what == "recipes" else ()

    def read(workspace: Path, out: str) -> Any:
        files = [*workspace.glob("runs/bench-recipes/trash*"), *workspace.glob("runs/bench-[ms]*/draws/*")]
        return out, len(files)

    call = "bench", what, "--data", str(photos), "--draws", "2", "--json", *weights
    here, there = compare(read, *call)
    assert here == there and there[1] == n_files


def test_a_store_that_nodes_decode_is_the_one_made_here(nodes, monkeypatch):
    made: list[dict[str, bytes]] = []
    for name in ("store-here", "store-there"):
        prepared = nodes.prepare(name)
        if name == "store-here":
            geometry = decoding.squashed(4)
            store.read_store(prepared.pool, geometry)
        else:
            monkeypatch.setattr(decoding, "RANGE", 16)
            monkeypatch.setattr(store, "BLOCK", 8)
            monkeypatch.setattr(store, "decode_block", refuse)  # in this process: the nodes decode all
            with using(make_engine("ray", nodes.address)):
                make_apart(prepared, [prepared.competition.run("svm")])
        made.append({file.name: file.read_bytes() for file in (prepared.pool.cache / "store").iterdir()})
    assert made[0] == made[1] and len(made[0]) == 1


def refuse(*given: Any) -> None:
    raise AssertionError("this process decodes")


def test_weights_that_a_path_out_of_the_workspace_names_are_found(compare):
    def read(workspace: Path, _: str) -> list[bytes]:
        return [file.read_bytes() for file in sorted(workspace.glob("runs/colours/named/*/*.parquet"))]

    here, there = compare(read, "train", "colours", "named")
    assert here == there and here
