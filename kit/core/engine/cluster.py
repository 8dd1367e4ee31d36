"""The engine of a Ray cluster: tasks run on its nodes, on any one of them again where a worker, or a node, is lost.

Reads and writes the workspace where a node sees it; where it does not, files are carried (elsewhere.py). Writes
``.engine-SESSION`` into the workspace while it is connected: the token by which nodes see it. Ray retries what dies: a
killed worker, a lost node, a lack of memory. What a task itself raises is raised here once. Nothing is told to Ray's
makers, and no dashboard is needed.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core.activity import tell
from kit.core.deadline import seconds_left
from kit.core.engine import elsewhere
from kit.core.engine.alike import Computer, describe_computer, find_difference
from kit.core.engine.elsewhere import Desk, Token, make_home, make_mover
from kit.core.engine.task import Done, Node, Order, Outcome, Task, read_outcome, refuse_lack, work
from kit.core.errors import InputError, NodeLost
from kit.core.files import write_atomic
from kit.core.names import CHECKOUT
from kit.core.process import count_threads, set_up_process
from kit.core.terminal import count, stage

AUTO = "auto"  # the cluster that this machine is a node of
RETRIES = 3  # of a task whose worker or node died, or that lacked memory
GO_ON = "what was computed is kept, call again to go on"
LOOK_SECONDS = 2.0  # between two looks at which tasks run
REACH_SECONDS = 5.0
SAID = 200  # characters of what Ray says of a cluster that it does not join
END_SECONDS = 10.0  # that cancelled tasks have to end
GIB = 2**30
SHARE = 0.8  # of a node's memory that a task may ask for
KEPT_SHARED = 4  # prepared competitions that stay in Ray's store


@dataclass(frozen=True)
class Origin:
    """Hold what a node must know of the driver.

    Parameters
    ----------
    computer
        What decides the bytes that the driver computes.
    root, installed
        The workspace, and where the kit lies.
    hidden
        Files of the driver that are never carried.
    """

    session: str
    computer: Computer
    token: Token
    root: Path
    installed: Path
    hidden: tuple[Path, ...]


class RayEngine:
    """Have tasks done by the nodes of a Ray cluster.

    Parameters
    ----------
    address
        ``"auto"``, the cluster that this machine is a node of, or ``HOST:PORT`` of its head.
    """

    begins_ahead = True

    def __init__(self, address: str = AUTO) -> None:
        is_place = address.rpartition(":")[2].isdecimal() and "://" not in address
        if address != AUTO and not is_place:
            raise InputError(f"--address {address}: write auto, or HOST:PORT as `ray start --head` says it")
        self.address = address
        self._session = uuid.uuid4().hex[:12]
        self._ray: Any = None
        self._desk: Any = None
        self._tokens: dict[Path, Token] = {}
        self._put: dict[int, tuple[Any, Any]] = {}  # what is shared, and its reference, by its id
        self._begun: dict[str, Any] = {}  # a task's reference by its key
        self._looked = 0.0  # when it was last asked which tasks run

    def connect(self) -> None:
        """Reach the cluster; an InputError says what to type where there is none."""
        if self._ray is not None:
            return
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray
        from ray.job_config import JobConfig
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._check_reach()
        job = JobConfig(_py_driver_sys_path=[str(CHECKOUT)])
        try:
            ray.init(address=self.address, job_config=job, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise self._unreached(error) from error
        self._ray = ray
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here, max_restarts=-1).remote()
        nodes = self._nodes()
        cpus, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
        stage("engine", f"Ray: {count(len(nodes), 'node')}, {count(cpus, 'core')}, {count(gpus, 'GPU')}")

    def _check_reach(self) -> None:
        """Refuse an address at which nothing answers: Ray itself would try for minutes."""
        if self.address == AUTO:
            return
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), REACH_SECONDS).close()
        except (ConnectionError, TimeoutError, socket.gaierror) as error:
            raise self._unreached(error) from error
        except OSError:  # a guard of this process looks at addresses; Ray's own connections are not Python's
            return

    def _unreached(self, error: Exception) -> InputError:
        """Return what to say where there is no cluster, or Ray refuses the one that there is."""
        said = " ".join(str(error).split())[:SAID]
        is_refused = isinstance(error, RuntimeError | ValueError)
        cause = "Ray refuses the cluster" if is_refused else "no Ray cluster that this machine is a node of"
        return InputError(
            f"--address {self.address}: {cause} ({said or type(error).__name__}); `ray start --head` begins one "
            "and prints its address, `ray start --address=HOST:6379` joins one, `ray status` shows it"
        )

    def begin(self, tasks: Sequence[Task], shared: Any) -> None:
        """Have tasks queued on the cluster, those that are not yet."""
        self.connect()
        for task in tasks:
            if task.key not in self._begun:
                self._begun[task.key] = self._submit(task, shared)

    def run(self, tasks: Sequence[Task], shared: Any, devices: Sequence[str]) -> Iterator[Done]:
        """Have tasks done on the cluster; give each as it is done."""
        self.begin(tasks, shared)
        waiting = {self._begun[task.key]: task for task in tasks}
        try:
            while waiting:
                ready, _ = self._ray.wait(list(waiting), timeout=LOOK_SECONDS)
                self._look()
                for reference in ready:
                    task = waiting.pop(reference)
                    del self._begun[task.key]
                    yield read_outcome(task, self._get(task, reference))
        except BaseException:
            self._cancel(list(self._begun))
            raise
        finally:
            tell(tasks=None)

    def close(self) -> None:
        """Cancel what still runs, and leave the cluster."""
        if self._ray is None:
            return
        try:
            self._cancel(list(self._begun))
        finally:
            for token in self._tokens.values():
                with suppress(OSError):
                    token.path.unlink()
            self._ray.shutdown()
            self._ray = self._desk = None
            self._tokens.clear()
            self._put.clear()

    def warm_up(self, modules: Sequence[str]) -> None:
        """Let every worker import torch and the `modules` of tasks; for a stopwatch that shall not count it."""
        self.connect()
        n_workers = int(sum(node.get("CPU", 0) for node in self._nodes()))
        warm = self._ray.remote(_warm).options(num_cpus=1, scheduling_strategy="SPREAD")
        self._ray.get([warm.remote(2.0, tuple(modules)) for _ in range(n_workers)])

    def list_nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        self.connect()
        alive = [(node["NodeManagerHostname"], node["Resources"]) for node in self._ray.nodes() if node["Alive"]]
        return [
            Node(host, int(has.get("CPU", 0)), int(has.get("GPU", 0)), has.get("memory", 0) / GIB)
            for host, has in alive
        ]  # fmt: skip

    def _nodes(self) -> list[dict[str, float]]:
        """Return the resources of every node that is alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _submit(self, task: Task, shared: Any) -> Any:
        """Queue a task; return its reference."""
        nodes = [node for node in self._nodes() if node.get("CPU", 0) >= 1]
        if not nodes:
            raise NodeLost("no node of the Ray cluster is left that has a core; start one, and call again to go on")
        n_threads = count_threads()
        has_gpus = any(node.get("GPU", 0) for node in nodes)
        most = max(node.get("memory", GIB) for node in nodes)
        options = {
            "num_cpus": min(n_threads, int(max(node["CPU"] for node in nodes))),
            "num_gpus": task.gpus if has_gpus else 0,
            "memory": int(min(task.gibibytes * GIB, SHARE * most)),
            "max_retries": RETRIES,
            "retry_exceptions": [MemoryError, self._ray.exceptions.RayError],  # the latter where the desk restarts
            "scheduling_strategy": "SPREAD",
            "name": task.label,
        }
        once = {"max_calls": 1} if options["num_gpus"] else {}  # the next task may get another GPU
        there = self._ray.remote(**once)(_work_there) if once else self._ray.remote(_work_there)
        order = Order(task, n_threads, seconds_left(), bool(once))
        return there.options(**options).remote(order, [self._share(shared)], self._origin(shared), self._desk)

    def _share(self, shared: Any) -> Any:
        """Put what tasks have in common into Ray's store, once."""
        if id(shared) not in self._put:
            while len(self._put) >= KEPT_SHARED:
                del self._put[next(iter(self._put))]
            self._put[id(shared)] = (shared, self._ray.put(shared))
        return self._put[id(shared)][1]

    def _origin(self, shared: Any) -> Origin:
        """Return what nodes must know of this driver; the workspace's token is written."""
        root = shared.root
        if root not in self._tokens:
            elsewhere.drop_stale_tokens(root)
            token = Token(root / f"{elsewhere.TOKEN}{self._session}", uuid.uuid4().hex)
            with write_atomic(token.path, "w") as file:
                file.write(token.content)
            self._tokens[root] = token
        return Origin(self._session, describe_computer(), self._tokens[root], root, CHECKOUT, shared.hidden)

    def _get(self, task: Task, reference: Any) -> Outcome:
        """Return what became of a task, its retries included."""
        from ray import exceptions

        try:
            outcome, written = self._ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, MemoryError):
                raise RuntimeError(f"{task.label}: {_lack(1 + RETRIES)} ({error.cause})") from error
            if isinstance(error.cause, ModuleNotFoundError):
                cause = f"a node of the Ray cluster cannot import {error.cause.name}"
                raise InputError(f"{cause}; install there what is installed here") from error
            if isinstance(error.cause, exceptions.RayError):  # the desk, or what it was asked for
                raise _lost(task, error.cause) from error
            raise error.cause or error from error
        except exceptions.OutOfMemoryError as error:
            raise RuntimeError(f"{task.label}: {_lack(1 + RETRIES)}") from error
        except exceptions.WorkerCrashedError as error:
            raise RuntimeError(f"{task.label}: its process died {1 + RETRIES} times; {GO_ON}") from error
        except exceptions.TaskCancelledError:
            raise
        except exceptions.RayError as error:
            raise _lost(task, error) from error
        _await(written)
        return outcome

    def _look(self) -> None:
        """Tell `status` which tasks run, and where, now and then; the tokens of a driver that lives stay young."""
        if time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for token in self._tokens.values():
            with suppress(OSError):
                os.utime(token.path)
        with suppress(Exception):  # a courtesy: the desk may be restarted
            running = self._ray.get(self._desk.running.remote(), timeout=LOOK_SECONDS)
            tell(tasks="; ".join(f"{label} on {host}" for label, host in running.items()) or None)

    def cancel(self, tasks: Sequence[Task] | None = None) -> None:
        """Take tasks back that were begun, these or all; none of them writes any more then."""
        self._cancel(list(self._begun) if tasks is None else [task.key for task in tasks])

    def _cancel(self, keys: Sequence[str]) -> None:
        """Cancel tasks, and wait until none writes any more."""
        references = [self._begun.pop(key) for key in keys if key in self._begun]
        for is_forced in (False, True):
            for reference in references:
                self._ray.cancel(reference, force=is_forced)
            if references:
                _, references = self._ray.wait(references, num_returns=len(references), timeout=END_SECONDS)


def _lost(task: Task, error: Exception) -> NodeLost:
    """Return what to say of a task that is lost: Ray's name of the error, and its first line."""
    name = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return NodeLost(f"{task.label}: lost {1 + RETRIES} times with its node ({name}); {GO_ON}")


def _lack(n_times: int) -> str:
    return f"memory was lacking {n_times} times; smaller batches, or nodes with more of it"


def _await(written: list[Path]) -> None:
    """Wait until files are seen that a node has written; a network file system may show them late."""
    until = time.monotonic() + 60
    while not all(path.exists() for path in written) and time.monotonic() < until:
        for folder in {path.parent for path in written}:
            with suppress(OSError):
                list(folder.iterdir())
        time.sleep(0.1)


def _warm(seconds: float, modules: tuple[str, ...]) -> str:
    """Import what tasks import, and hold the worker meanwhile, so that another one takes the next call."""
    until = time.monotonic() + seconds
    set_up_process()  # before torch is imported, which reads the environment then
    import sklearn.linear_model
    import torch

    for name in modules:
        importlib.import_module(name)
    time.sleep(max(until - time.monotonic(), 0))
    return f"{torch.__version__} {sklearn.__version__}"


class _Reached:
    """A desk that is reached through Ray."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a method of the desk; return what it returns."""
        import ray

        return ray.get(getattr(self._desk, name).remote(*arguments))


_received: dict[str, Any] = {}  # what tasks have in common, by its reference


def _receive(reference: Any) -> Any:
    """Return what tasks have in common; it is read from Ray's store once."""
    import ray

    if (key := reference.hex()) not in _received:
        while len(_received) >= KEPT_SHARED:
            del _received[next(iter(_received))]
        _received[key] = ray.get(reference)
    return _received[key]


def _work_there(order: Order, references: list[Any], origin: Origin, desk: Any) -> tuple[Outcome, list[Path]]:
    """Do a task on a node; return what became of it, and the files that the driver will see."""
    set_up_process()  # before torch is imported, which reads the environment then
    if not order.has_gpu:
        os.environ["KIT_DEVICE"] = "cpu"
    shared = _receive(references[0])
    if (error := find_difference(origin.computer, describe_computer(), order, _Reached(desk))) is not None:
        return Outcome(None, error, [], socket.gethostname()), []
    desk.begin.remote(order.task.label, socket.gethostname())
    try:
        if origin.token.is_seen():
            outcome = refuse_lack(work(order, shared))
            return outcome, [file for folder in order.task.writes for file in elsewhere.list_files(folder)]
        return refuse_lack(_work_apart(order, shared, origin, _Reached(desk))), []
    finally:
        desk.end.remote(order.task.label)


def _work_apart(order: Order, shared: Any, origin: Origin, desk: _Reached) -> Outcome:
    """Do a task in a workspace of this node's own: bring what it reads, carry back what it has written."""
    home = make_home(origin.session, origin.root, origin.installed)
    move = make_mover(origin.root, origin.installed, home)
    elsewhere.fetch(desk, [*order.task.reads, *order.task.writes], move, origin.hidden)
    folders = {move(folder): folder for folder in order.task.writes}
    with elsewhere.courier(desk, home, folders):
        outcome = work(order, shared.moved(move))
    for folder, there in folders.items():
        elsewhere.send_folder(desk, folder, there)
    return outcome
