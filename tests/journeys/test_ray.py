"""Ray: three nodes give the bytes that one process gives, whatever is killed meanwhile."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import blind_nodes, can_hide, kill, list_workers, meanwhile, raylets_of, three_nodes, wait_for
from support.colours import lay_out, write_toml

import kit
from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.engine import make_engine, using
from kit.core.files import Workspace
from kit.core.installed import is_lacking
from kit.data.prepared import prepare
from kit.runs.fit.crossval import begin_runs
from kit.runs.train import train_runs

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or is_lacking("ray"), reason="needs Ray, and the processes that Linux shows"
)
RUNS = f"""
[runs.svm]
model = "svm"
pixels = 4

[runs.probe]
model = "linear_probe"
encoder = "open_clip:local-dir:{HOME}/digits/tiny-clip"

[runs.small_cnn]
model = "small_cnn"
image_size = 16
epochs = 100
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes of one core each."""
    with three_nodes() as nodes:
        yield nodes


def make_workspace(root: Path, runs: str = RUNS) -> Path:
    lay_out(root / "data" / "colours")
    write_toml(root / "competitions" / "colours", runs)
    return root


def on(cluster: Any) -> tuple[str, ...]:
    return "--engine", "ray", "--address", cluster.address


def copy_clip(folder: Path) -> str:
    """Copy the tiny CLIP; return a run's table that names it by its absolute path."""
    shutil.copytree(HOME / "digits" / "tiny-clip", folder)
    return f'[runs.named]\nmodel = "linear_probe"\nencoder = "open_clip:local-dir:{folder}"\n'


def read_made(workspace: Path) -> dict[str, bytes]:
    """Return the predictions and the submission of a workspace."""
    files = [*workspace.glob("runs/colours/*/*/*.parquet"), *workspace.glob("submissions/colours/*ensemble.csv")]
    return {str(file.relative_to(workspace)): file.read_bytes() for file in files}


@pytest.fixture
def local(tmp_path, run_command) -> dict[str, bytes]:
    """What one process makes of it."""
    workspace = make_workspace(tmp_path / "local")
    code, _, err = run_command(workspace, "all", "colours")
    assert code == 0, err
    return read_made(workspace)


def kill_a_worker() -> None:
    """Kill a process that does a fold."""
    kill(wait_for(lambda: next(iter([*list_workers("svm, fold"), *list_workers("small_cnn, fold")]), None)))


def test_three_nodes_make_the_same_csv_though_a_worker_is_killed(cluster, local, tmp_path, run_command):
    workspace = make_workspace(tmp_path / "ray")
    with meanwhile(kill_a_worker):
        code, _, err = run_command(workspace, "all", "colours", *on(cluster))
        assert code == 0, err
    assert read_made(workspace) == local
    assert "3 nodes, 3 cores" in err
    assert not list(workspace.glob(".engine-*"))


def test_a_mistake_of_the_user_is_one_sentence(cluster, tmp_path, run_command):
    runs = RUNS.partition("[runs.small_cnn]")[0] + '[runs.broken]\nmodel = "svm"\nencoder = "given"\n'
    code, _, err = run_command(make_workspace(tmp_path / "ray", runs), "train", "colours", "broken", *on(cluster))
    assert code == 2
    errors = [line for line in err.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and "embeddings" in errors[0] and "Traceback" not in err


def test_python_trains_on_the_cluster_too(cluster, tmp_path):
    oof = []
    for name, engine in (("local", {}), ("ray", {"engine": "ray", "address": cluster.address})):
        opened = kit.open("colours", workspace=make_workspace(tmp_path / name), quiet=True)
        opened.train("svm", **engine)
        oof.append(opened.oof("svm"))
    assert oof[0].equals(oof[1])
    with pytest.raises(kit.InputError, match="no Ray cluster"):
        opened.train("svm", engine="ray", address="127.0.0.1:9")


def test_what_was_done_before_it_was_asked_for_is_made_anew_where_it_is_gone(cluster, tmp_path):
    prepared = prepare(read_competition("colours", Workspace(make_workspace(tmp_path))))
    with using(make_engine("ray", cluster.address)):
        begin_runs(prepared, ["svm"])
        wait_for(lambda: len(list(tmp_path.glob("runs/colours/svm/*/fold_*"))) == len(prepared.scored))
        (before,), _ = train_runs(prepared, ["svm"], True)
        oof = before.predictions("oof").proba
        shutil.rmtree(before.folder)
        (after,), _ = train_runs(prepared, ["svm"], True)
    assert (after.predictions("oof").proba == oof).all()


def test_device_lists_the_nodes_of_the_cluster(cluster, tmp_path, run_command):
    code, out, err = run_command(tmp_path, "device", "--json", *on(cluster))
    assert code == 0, err
    assert [node["cpus"] for node in json.loads(out)["nodes"]] == [1, 1, 1]


def test_where_no_cluster_answers_it_is_said_at_once(tmp_path, run_command):
    where = ("--engine", "ray", "--address", "127.0.0.1:9")
    code, _, err = run_command(make_workspace(tmp_path / "ray"), "train", "colours", *where)
    assert code == 2 and "--address 127.0.0.1:9: no Ray cluster" in err and "ray start --head" in err


@pytest.mark.slow
def test_a_lost_node_changes_nothing(local, tmp_path, run_command):
    workspace = make_workspace(tmp_path / "ray")

    def remove_a_node() -> None:
        raylets = {pid: node for pid, node in raylets_of(cluster).items() if node is not cluster.head_node}

        def find() -> Any:
            owners = list_workers("small_cnn, fold").values()
            return next((raylets[owner] for owner in owners if owner in raylets), None)

        cluster.remove_node(wait_for(find), allow_graceful=False)

    with three_nodes() as cluster, meanwhile(remove_a_node):
        code, _, err = run_command(workspace, "all", "colours", *on(cluster))
        assert code == 0, err
    assert read_made(workspace) == local


@pytest.mark.slow
@pytest.mark.skipif(not can_hide(), reason="needs the right to mount disks")
def test_nodes_that_do_not_see_the_workspace_make_the_same_csv(tmp_path, run_command):
    runs = RUNS + copy_clip(weights := tmp_path / "weights")
    local, workspace = (make_workspace(tmp_path / name, runs) for name in ("local", "ray"))
    assert run_command(local, "all", "colours")[0] == 0
    homes = [tmp_path / "nodes" / name for name in "ab"]
    with blind_nodes([workspace, weights], homes) as cluster:
        code, _, err = run_command(workspace, "all", "colours", *on(cluster))
        assert code == 0, err
    assert read_made(workspace) == read_made(local)
    for home in homes:
        assert list(home.glob("kit-*/runs/colours/*/*/fold_*/fitted.json"))
