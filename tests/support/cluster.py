"""A real Ray cluster of three nodes on this machine, and what may happen to it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MIB = 2**20
TRIES = 3  # to start a node: Ray gives it 30 seconds, which are few where other work runs
NODE = {"object_store_memory": 80 * MIB}
UNSHARE = ("unshare", "-m", "--pid", "--fork", "--kill-child", "--mount-proc")
QUICKLY = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # by default, a worker waits for whatever else the machine does
    "RAY_prestart_worker_first_driver": "0",
}


@contextmanager
def three_nodes() -> Iterator[Any]:
    """Start a cluster of a head and two nodes of one core each; end it."""
    with _head(1, QUICKLY) as cluster:
        for _ in range(2):
            _try_again(lambda: cluster.add_node(**NODE, num_cpus=1))
        yield cluster


@contextmanager
def blind_nodes(hidden: Sequence[Path], homes: Sequence[Path]) -> Iterator[Any]:
    """Start a cluster whose head computes nothing, and nodes of one core in which empty disks lie over folders.

    Parameters
    ----------
    hidden
        Folders that the nodes do not see.
    homes
        A folder for the temporary files of each node.
    """
    with _head(0, {}) as cluster:  # a busy machine answers late: a node is not given up quickly
        nodes: list[subprocess.Popen[bytes]] = []
        try:
            for home in homes:  # one after the other: of nodes that start at once, two may choose one socket
                home.mkdir(parents=True)
                nodes.append(_try_again(lambda home=home: _start_blind(cluster, hidden, home)))
            yield cluster
        finally:
            for node in nodes:
                node.kill()  # and with it all in its namespace
                node.wait()


def _start_blind(cluster: Any, hidden: Sequence[Path], home: Path) -> subprocess.Popen[bytes]:
    """Start a node with mounts and processes of its own, and wait until the cluster has it."""
    mounts = [f"mount -t tmpfs none {shlex.quote(str(folder))}" for folder in hidden]
    ray = Path(sys.executable).with_name("ray")
    words = [str(ray), "start", f"--address={cluster.address}", "--num-cpus=1"]
    words += [f"--object-store-memory={80 * MIB}", "--block"]
    command = " && ".join([*mounts, f"exec {shlex.join(words)}"])
    environment, n_before = os.environ | {"TMPDIR": str(home)}, _count_alive(cluster)
    node = subprocess.Popen(
        [*UNSHARE, "sh", "-c", command],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: node.poll() is not None or _count_alive(cluster) > n_before)
    if node.poll() is not None:
        raise TimeoutError(f"a node of {home} timed out or ended during startup")
    return node


def _count_alive(cluster: Any) -> int:
    return sum(node["Alive"] for node in cluster.global_state.node_table())


def _try_again(start: Callable[[], Any], n_tries: int = TRIES) -> Any:
    """Start a node, again where it timed out."""
    try:
        return start()
    except Exception as error:  # Ray's has no class of its own
        if n_tries == 1 or "timed out" not in str(error).casefold():
            raise
        return _try_again(start, n_tries - 1)


def can_hide() -> bool:
    """Return whether this process may mount disks that others do not see."""
    if shutil.which("unshare") is None:
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def _head(num_cpus: int, settings: dict[str, int]) -> Iterator[Any]:
    """Start a head; end its cluster."""
    kept = {name: os.environ.get(name) for name in (*SETTINGS, "RAY_TMPDIR")}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as short:
        os.environ.update(SETTINGS | {"RAY_TMPDIR": short})  # paths of sockets hold a hundred bytes
        warnings.simplefilter("ignore")  # Ray's own
        from ray.cluster_utils import Cluster

        node = NODE | {"num_cpus": num_cpus, "include_dashboard": False, "_system_config": settings}
        cluster = _try_again(lambda: Cluster(True, head_node_args=node))
        try:
            yield cluster
        finally:
            cluster.shutdown()
            for name, value in kept.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def parent_of(pid: int) -> int:
    """Return a process' parent, 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def list_workers(label: str) -> dict[int, int]:
    """Return the workers that do a task now whose label begins so, and the raylet that each is of."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = file.read_bytes().rstrip(b"\0 ").decode(errors="replace")
        except OSError:
            continue
        if title.startswith(f"ray::{label}"):
            found[int(file.parent.name)] = parent_of(int(file.parent.name))
    return found


def raylets_of(cluster: Any) -> dict[int, Any]:
    """Return the nodes of a cluster by the process of their raylet."""
    return {each.process.pid: node for node in cluster.list_all_nodes() for each in node.all_processes["raylet"]}


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something beside this block; what it raises is raised in the end."""
    failures: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def wait_for(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Return what something gives as soon as it gives anything."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.02)
    raise TimeoutError("it did not come")


def kill(pid: int) -> None:
    """Kill a process as the system does when memory is out."""
    os.kill(pid, signal.SIGKILL)
