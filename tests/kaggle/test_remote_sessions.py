"""Remote, at length: real sessions cut by the time limit, with encoders, on Kaggle's own data; a real kill."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from support.kaggle_notebooks import can_unshare
from support.kaggle_server import Fault
from support.kaggle_site import Site, copy_workspace, data_of, point_at
from support.remote_site import NAME, RemoteSite, folder_of, write_digits_cut

from kit.config.competition import HOME as COMPETITIONS
from kit.core.files import Workspace
from kit.kaggle.remote import script

pytestmark = pytest.mark.slow
HOME = Path(__file__).parents[2]
NETWORK = """
[runs.net]
model = "small_cnn"
image_size = 8
epochs = 1500
"""
PROBE = """
[runs.probe]
model = "linear_probe"
encoder = "open_clip:local-dir:tiny-clip"
"""


@pytest.fixture
def far(kaggle, kaggle_home, tmp_path, monkeypatch, capsys) -> RemoteSite:
    """The cut-down digits, and a stand-in that runs what is pushed."""
    monkeypatch.setattr("kit.kaggle.remote.sending.LOOK_SECONDS", 0.005)
    point_at(kaggle, monkeypatch, kaggle_home)
    kaggle.notebooks.place = tmp_path / "kaggle"
    return RemoteSite(write_digits_cut(tmp_path / "workspace"), kaggle, capsys)


def add_runs(site: RemoteSite | Site, runs: str) -> None:
    """Add runs to the competition."""
    file = site.workspace / "competitions" / NAME / "competition.toml"
    file.write_text(file.read_text() + runs)


def add_probe(site: RemoteSite | Site) -> None:
    """Add a probe whose encoder lies beside competition.toml."""
    add_runs(site, PROBE)
    shutil.copytree(COMPETITIONS / "digits" / "tiny-clip", site.workspace / "competitions" / NAME / "tiny-clip")


def log_of(site: RemoteSite, push: dict) -> str:
    """Wait for a session, and return what it printed."""
    return (site.server.notebooks.wait(push["notebook"]).folder / "log").read_text()


def test_a_network_that_the_time_limit_cuts_goes_on_from_its_checkpoint_and_ends_as_it_would_here(far, tmp_path):
    add_runs(far, NETWORK)
    here = Site(copy_workspace(far.workspace, tmp_path / "here"), far.server, far.capsys)
    assert here("train", NAME, "net")[0] == 0
    n_cut = 0
    for _ in range(12):
        log = log_of(far, far.push("net", "--time-limit", "40s"))
        code, out, err = far.remote("pull")
        assert code == 0, log + err
        if "net: not finished" not in out:
            break
        n_cut += any(folder_of(far.workspace, "net").glob("fold_*/checkpoint*.pt"))
    assert n_cut, "no push was cut in the middle of a fold"
    ours, theirs = (folder_of(site.workspace, "net") for site in (here, far))
    assert ours.name == theirs.name and (ours / "oof.parquet").read_bytes() == (theirs / "oof.parquet").read_bytes()
    assert far("verify", NAME)[0] == 0


def test_weights_travel_and_a_probe_comes_back_byte_by_byte_as_it_is_made_here(far, tmp_path):
    add_probe(far)
    push = far.push("probe", "--lacks", "")
    assert "probe: CV" in log_of(far, push)
    code, _, err = far.remote("pull")
    assert code == 0 and "last digits" not in err
    here = Site(write_digits_cut(tmp_path / "here"), far.server, far.capsys)
    add_probe(here)
    assert here("train", NAME, "probe")[0] == 0
    ours, theirs = (folder_of(site.workspace, "probe") for site in (here, far))
    assert ours.name == theirs.name and (ours / "oof.parquet").read_bytes() == (theirs / "oof.parquet").read_bytes()


def test_kaggles_own_data_are_used_where_the_competition_is_there(site, tmp_path):
    site.server.notebooks.place = tmp_path / "kaggle"
    site.server.pack(data_of(site.workspace))
    here = copy_workspace(site.workspace, tmp_path / "here")
    for folder in Workspace(site.workspace).runs("colours").glob("svm/*"):
        (folder / "run.json").unlink()
        (folder / "fold_0" / "fitted.json").unlink()
    code, out, err = site("remote", "push", "colours", "svm", "--yes", "--json")
    assert code == 0 and json.loads(out)["push"]["competition"] == site.server.slug, err
    log = log_of(site, json.loads(out)["push"])
    code, out, err = site("remote", "pull", "colours")
    assert code == 0 and "taken, and counts" in out, log + err
    oofs = [next(Workspace(root).runs("colours").glob("svm/*/oof.parquet")) for root in (here, site.workspace)]
    assert oofs[0].read_bytes() == oofs[1].read_bytes()


def test_images_that_are_not_those_here_are_told_by_the_session(site, tmp_path):
    site.server.notebooks.place = tmp_path / "kaggle"
    files = data_of(site.workspace)
    del files[next(name for name in sorted(files) if name.startswith("test/"))]
    site.server.pack(files)
    for folder in Workspace(site.workspace).runs("colours").glob("svm/*"):
        (folder / "run.json").unlink()
    code, out, _ = site("remote", "push", "colours", "svm", "--yes", "--json")
    log_of(site, json.loads(out)["push"])
    code, _, err = site("remote", "pull", "colours")
    assert code == 1 and "are not those of the workspace that pushed" in err and "--with-data" in err


def test_a_training_that_outlives_its_time_limit_is_ended_and_packed(far, monkeypatch):
    monkeypatch.setattr("kit.kaggle.remote.sending.GRACE_SECONDS", -1e6)
    add_runs(far, NETWORK)
    push = far.push("svm", "net")
    assert "did not end at its time limit" in log_of(far, push)
    code, out, _ = far.remote("pull")
    assert code == 0 and "the training did not end at its time limit" in out


def test_a_session_has_no_network_and_cannot_write_its_input(far):
    if not can_unshare():
        pytest.skip("this system lets nobody make a namespace")
    push = far.push("svm")
    far.server.notebooks.wait(push["notebook"])
    version = far.server.notebooks.notebooks[push["notebook"]][-1]
    version.request["text"] = (
        "import os, socket\n"
        "for act in (lambda: open(os.environ['KIT_KAGGLE'] + '/input/new', 'w'),"
        " lambda: socket.create_connection(('127.0.0.1', 80))):\n"
        "    try:\n        act()\n        print('done')\n"
        "    except OSError as error:\n        print(error.strerror)\n"
    )
    far.server.notebooks.notebooks[push["notebook"]].append(version)
    far.server.notebooks.start(push["notebook"])
    assert log_of(far, push).splitlines() == ["Read-only file system", "Network is unreachable"]


def test_a_push_that_is_killed_while_kaggle_takes_it_is_not_sent_twice(far, kaggle_home):
    far.server.notebooks.is_waiting = True
    far.server.fail("SaveKernel", Fault("hang", is_obeyed=True))
    call = [sys.executable, "-m", "kit", "remote", "push", NAME, "svm", "--yes", "--workspace", str(far.workspace)]
    given = {**os.environ, **far.server.environment(kaggle_home), "PYTHONPATH": str(HOME)}
    process = subprocess.Popen(call, cwd=HOME, env=given, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 120
    while not far.server.kernels and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    far.server.released.set()
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 2 and "is queued at Kaggle: nothing was sent" in err and len(far.server.kernels) == 1
    far.end_session()
    assert far.remote("status")[0] == 0


def write_wheel_of(name: str, version: str, folder: Path) -> None:
    """Write a wheel that holds one module with its version."""
    home = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{home}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{home}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{home}/RECORD"] = "".join(f"{place},,\n" for place in [*files, f"{home}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as packing:
        for place, text in files.items():
            packing.writestr(place, text)


def test_wheels_that_are_named_go_along_and_those_of_another_version_are_installed(far, tmp_path, monkeypatch):
    index, target = tmp_path / "index", tmp_path / "target"
    index.mkdir()
    here = importlib.metadata.version("six")
    write_wheel_of("six", here, index)
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    far.server.notebooks.is_waiting = True
    far.push("svm", "--lacks", "six")
    wheels = {name.removeprefix("wheels/") for name in far.open_pack().namelist() if name.startswith("wheels/")}
    assert f"six-{here}-py3-none-any.whl" in wheels and len(wheels) == 2
    write_wheel_of("rich", "0.1", index)
    script.install(index, target)
    assert (target / "rich.py").exists() and not (target / "six.py").exists()
