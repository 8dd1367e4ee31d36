"""Talk to Kaggle: the official client in a child process, with time-outs; reads are tried again, writes never."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kit.core.terminal import note, warn
from kit.kaggle.client.credentials import (
    child_environment,
    choose_credentials,
    config_file,
    find_credentials,
    is_open_to_others,
    redact,
)
from kit.kaggle.client.failures import (
    Failure,
    KaggleFailure,
    KaggleRefusal,
    explain_failure,
    explain_rejection,
    read_failure,
)

CALL_SECONDS = 90.0
START_SECONDS = 90.0  # to import the client and sign in
UPLOAD_BYTES_PER_SECOND = 50_000.0  # the slowest link that an upload is given time for
ATTEMPTS = 4  # of a read
BACKOFF_SECONDS = 1.0  # doubled from one attempt to the next
LONGEST_WAIT_SECONDS = 60.0  # a server that asks for more is obeyed by ending
CHILD_POLL_SECONDS = 0.25
TAIL_BYTES = 2000  # of a dead child's stderr


class Kaggle:
    """Call Kaggle's official client; a context manager that ends the child process.

    `environment` stands in place of this process's; `child_environment` of it is passed on. InputError where there are
    no credentials that can be used; before anything is started.
    """

    def __init__(self, slug: str, environment: Mapping[str, str] | None = None) -> None:
        self.slug = slug
        self.environment = child_environment(os.environ if environment is None else environment)
        self.sources = find_credentials(self.environment)
        self.source = choose_credentials(self.sources)
        self.username = ""
        self._child: Child | None = None
        self._is_new = True

    def __enter__(self) -> Kaggle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def read(self, call: str, progress: Callable[[], int] | None = None, **arguments: Any) -> Any:
        """Call a function of `child` that changes nothing at Kaggle; where a failure may pass, wait and call again.

        `progress` is called four times a second; the time-out counts from its last change. KaggleRefusal or
        KaggleFailure in the end, with cause and remedy; so does `write`.
        """
        seconds, attempt = START_SECONDS if call == "connect" else CALL_SECONDS, 0
        while isinstance(reply := self._try(call, arguments, seconds, progress), Failure):
            wait = _seconds_to_wait(reply, attempt)
            attempt += 1
            if attempt == ATTEMPTS or wait is None:
                raise self.explain(reply)
            time.sleep(wait)
        return reply

    def write(self, call: str, n_bytes: int = 0, **arguments: Any) -> Any:
        """Call a function of `child` that changes something at Kaggle, once; `n_bytes` to upload get more time."""
        reply = self._try(call, arguments, CALL_SECONDS + n_bytes / UPLOAD_BYTES_PER_SECOND, None)
        if isinstance(reply, Failure):
            raise self.explain(reply)
        return reply

    def connect(self) -> None:
        """Sign in, and name the credentials in use.

        KaggleRefusal where they are rejected; it names those that they hide.
        """
        reply = self.read("connect")
        if reply["token_rejected"]:
            raise KaggleRefusal(explain_rejection(self.sources), Failure("connect", "http", 401))
        self.username = reply["username"] or ""
        if self._is_new:
            self._is_new = False
            self._name_source()

    def _name_source(self) -> None:
        """Tell which credentials are used, which are hidden, what is wrong with others."""
        hidden = [other.where for other in self.sources if not other.problem and other is not self.source]
        more = f"; not looked at: {', '.join(hidden)}" if hidden else ""
        note(f"Kaggle: signed in as {self.username or '?'} by {self.source.where}{more}")
        for source in self.sources:
            if source.problem:
                warn(f"{source.where} {source.problem}")
        path = config_file(self.environment, Path(self.environment.get("HOME") or Path.home()))
        if is_open_to_others(path):
            warn(f"{path}: other users of this machine may read the key; chmod 600 {path}")

    def _try(
        self, call: str, arguments: dict[str, Any], seconds: float, progress: Callable[[], int] | None
    ) -> Any | Failure:
        """Return the child's answer, or what went wrong."""
        try:
            reply = self._child_for(call).ask({"method": call, "arguments": arguments}, seconds, progress)
        except BrokenPipeError:
            return Failure(call, "died", message=redact(self._end(), self.sources))
        except TimeoutError:
            self._end()
            return Failure(call, "timeout", message=f"{seconds:.0f} seconds")
        if "failure" in reply:
            message = redact(reply["failure"].get("message") or "", self.sources)
            return read_failure({**reply["failure"], "message": message}, call)
        return reply["value"]

    def _child_for(self, call: str) -> Child:
        """Return the child, started and signed in where that is not done."""
        if self._child is None:
            self._child = self._start()
            if call != "connect":
                self.connect()
        return self._child

    def _start(self) -> Child:
        return Child(self.environment)

    def _end(self) -> str:
        """End the child; return the last line that it wrote on stderr."""
        child, self._child = self._child, None
        return "" if child is None else child.end()

    def explain(self, failure: Failure) -> KaggleRefusal | KaggleFailure:
        """Return the exception that tells a person what happened."""
        others = [source for source in self.sources if source is not self.source]
        return explain_failure(failure, self.slug, [self.source, *others], self.environment)


class Child:
    """Run `child` as a process: in a session of its own, so that Ctrl-C does not end it in the middle of a call."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._unread = b""
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None  # they are pipes
        self._requests, self._replies = self.process.stdin, self.process.stdout

    def ask(self, request: dict[str, Any], seconds: float, progress: Callable[[], int] | None) -> dict[str, Any]:
        """Send a request and return the reply.

        BrokenPipeError where the child has ended; TimeoutError where there is no reply in `seconds`, counted from the
        last change of `progress`.
        """
        self._requests.write(json.dumps(request).encode() + b"\n")
        self._requests.flush()
        began, before = time.monotonic(), None
        while b"\n" not in self._unread:
            left = began + seconds - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if select.select([self._replies], [], [], min(left, CHILD_POLL_SECONDS))[0]:
                block = os.read(self._replies.fileno(), 65536)
                if not block:
                    raise BrokenPipeError
                self._unread += block
            if progress is not None and (now := progress()) != before:
                began, before = time.monotonic(), now
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def end(self) -> str:
        """End the process; return the last line that it wrote on stderr."""
        self.process.kill()
        self.process.wait()
        for pipe in (self._requests, self._replies):
            with contextlib.suppress(BrokenPipeError):  # what was not sent need not be
                pipe.close()
        with self._errors as errors:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _seconds_to_wait(failure: Failure, attempt: int) -> float | None:
    """Return the seconds to wait before a read is tried again; None where it is not."""
    if not failure.is_passing:
        return None
    if failure.retry_after is not None:
        try:
            asked = float(failure.retry_after)
        except ValueError:  # a date: seldom, and this clock may differ from the server's
            asked = BACKOFF_SECONDS * 2**attempt
        return asked if asked <= LONGEST_WAIT_SECONDS else None
    return BACKOFF_SECONDS * 2**attempt
