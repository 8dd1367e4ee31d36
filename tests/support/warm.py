"""Real processes that do not import everything anew: a server imports once, then forks a process for each command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[2]
COMMAND = "from kit.cli import main; main()"


class Warm:
    """A process that runs code with arguments as `python -c` does, in pipes and with a life of its own."""

    def __init__(self, code: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        _start_server()
        pipes, self._texts = [os.pipe(), os.pipe()], ([], [])
        given = (code, arguments, dict(environment or os.environ), *(_End(write) for _, write in pipes))
        self._process = multiprocessing.get_context("forkserver").Process(target=_run, args=given)
        self._process.start()
        for _, write in pipes:
            os.close(write)
        self._readers = [
            threading.Thread(target=_read, args=(read, text))
            for (read, _), text in zip(pipes, self._texts, strict=True)
        ]
        for reader in self._readers:
            reader.start()

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal's number; None while the process runs."""
        return self._process.exitcode

    returncode = property(poll)

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the end; return stdout and stderr."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, "the process does not end"
        for reader in self._readers:
            reader.join()
        stdout, stderr = (b"".join(text).decode() for text in self._texts)
        return stdout, stderr


class _End:
    """The end of a pipe, on its way to the process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (DupFd(self.number),)


def _arrive(end: Any) -> int:
    return end.detach()


def _read(pipe: int, text: list[bytes]) -> None:
    with open(pipe, "rb") as stream:
        text.append(stream.read())


def _start_server() -> None:
    """Start the server, unless it runs."""
    multiprocessing.set_forkserver_preload(["support.warm_libraries"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HOME), str(HOME / "tests"), *filter(None, [before])])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _run(code: str, arguments: tuple[str, ...], environment: dict[str, str], stdout: int, stderr: int) -> None:
    """Run code in the new process as if it were a program."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 -- as long as the process
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(HOME)
    sys.argv = ["-c", *arguments]
    program = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), program.__dict__)
