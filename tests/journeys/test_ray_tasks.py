"""Ray: searches, draws, stores and weights give one process' bytes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cluster import three_nodes
from support.colours import lay_out, write_toml

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


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[Nodes]:
    """Three nodes of one core each, which see everything."""
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(HOME / "digits" / "tiny-clip", base / "weights" / "tiny-clip")
    with three_nodes() as cluster:
        yield Nodes(cluster.address, base)


def read_fits(workspace: Path) -> dict[str, bytes]:
    """Return what a search has left of its settings."""
    return {
        file.parent.name: file.read_bytes() for file in workspace.glob("runs/colours/tune/svm/*/fits/*/oof.parquet")
    }


def test_a_search_finds_what_it_finds_here(nodes, run_command):
    made, told = [], []
    for name, options in (("search-here", ()), ("search-there", nodes.options)):
        workspace = nodes.make_workspace(name)
        code, out, err = run_command(workspace, "tune", "colours", "svm", "--trials", "4", "--json", *options)
        assert code == 0, err
        made.append(read_fits(workspace))
        told.append(out.replace(name, ""))
    assert made[0] == made[1] and len(made[0]) >= 4
    assert told[0] == told[1]


def test_draws_of_noise_are_those_made_here(nodes, run_command):
    told = []
    for name, options in (("noise-here", ()), ("noise-there", nodes.options)):
        call = "bench", "noise", "colours", "--draws", "2", "--json"
        code, out, err = run_command(nodes.make_workspace(name), *call, *options)
        assert code == 0, err
        told.append(out)
    assert told[0] == told[1] and '"named"' in told[0]


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


def test_weights_that_a_path_out_of_the_workspace_names_are_found(nodes, run_command):
    made = []
    for name, options in (("weights-here", ()), ("weights-there", nodes.options)):
        workspace = nodes.make_workspace(name)
        code, _, err = run_command(workspace, "train", "colours", "named", *options)
        assert code == 0, err
        made.append([file.read_bytes() for file in sorted(workspace.glob("runs/colours/named/*/*.parquet"))])
    assert made[0] == made[1] and made[0]
