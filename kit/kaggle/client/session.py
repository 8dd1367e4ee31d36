"""One session with Kaggle: the official client in a child process, with time-outs; reads are retried, writes never."""

from __future__ import annotations

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
TAIL_BYTES = 2000  # of what a dead child said


class Kaggle:
    """Call Kaggle's official client; a context manager that ends the child process.

    Parameters
    ----------
    slug
        The competition, for messages.
    environment
        In place of this process's own; what the client needs of it is passed on.

    Raises
    ------
    InputError
        When there are no credentials that can be used; before anything is started.
    """

    def __init__(self, slug: str, environment: Mapping[str, str] | None = None) -> None:
        self.slug = slug
        self.environment = child_environment(os.environ if environment is None else environment)
        self.sources = find_credentials(self.environment)
        self.source = choose_credentials(self.sources)
        self.username = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._read = b""
        self._is_new = True

    def __enter__(self) -> Kaggle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def read(self, call: str, progress: Callable[[], int] | None = None, **arguments: Any) -> Any:
        """Call what changes nothing at Kaggle; a failure that may pass is met by waiting and calling again.

        Parameters
        ----------
        call
            A function of `child`.
        progress
            Called four times a second; the time-out counts from its last change.
        arguments
            Of the function.

        Raises
        ------
        KaggleRefusal, KaggleFailure
            With cause and remedy.
        """
        for attempt in range(ATTEMPTS):
            failure = self._try(call, arguments, START_SECONDS if call == "connect" else CALL_SECONDS, progress)
            if not isinstance(failure, Failure):
                return failure
            wait = _seconds_to_wait(failure, attempt)
            if attempt == ATTEMPTS - 1 or wait is None:
                break
            time.sleep(wait)
        raise self.explain(failure)

    def write(self, call: str, n_bytes: int = 0, **arguments: Any) -> Any:
        """Call what changes something at Kaggle, once.

        Parameters
        ----------
        call
            A function of `child`.
        n_bytes
            Size of what is uploaded; a larger file is given more time.
        arguments
            Of the function.

        Raises
        ------
        KaggleRefusal, KaggleFailure
            With cause and remedy.
        """
        reply = self._try(call, arguments, CALL_SECONDS + n_bytes / UPLOAD_BYTES_PER_SECOND, None)
        if isinstance(reply, Failure):
            raise self.explain(reply)
        return reply

    def connect(self) -> None:
        """Sign in, and name the credentials in use.

        Raises
        ------
        KaggleRefusal
            When they are rejected; names those that they hide.
        """
        reply = self.read("connect")
        if reply["token_rejected"]:
            raise KaggleRefusal(explain_rejection(self.sources), Failure("connect", "http", 401))
        self.username = reply["username"] or ""
        if self._is_new:
            self._is_new = False
            self._name_source()

    def _name_source(self) -> None:
        """Say which credentials are used, which are hidden, what is wrong with others."""
        hidden = [own.where for own in self.sources if not own.problem and own is not self.source]
        more = f"; not looked at: {', '.join(hidden)}" if hidden else ""
        note(f"Kaggle: signed in as {self.username or '?'} by {self.source.where}{more}")
        for own in self.sources:
            if own.problem:
                warn(f"{own.where} {own.problem}")
        path = config_file(self.environment, Path(self.environment.get("HOME") or Path.home()))
        if is_open_to_others(path):
            warn(f"{path}: other users of this machine may read the key; chmod 600 {path}")

    def _try(
        self, call: str, arguments: dict[str, Any], seconds: float, progress: Callable[[], int] | None
    ) -> Any | Failure:
        """Return the child's answer, or what went wrong."""
        if self._child is None:
            self._start()
            if call != "connect":
                self.connect()
        line = json.dumps({"method": call, "arguments": arguments}).encode() + b"\n"
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
            reply = self._await_reply(seconds, progress)
        except BrokenPipeError:
            reply = None
        if reply is None:
            said = self._end()
            return Failure(call, "died", said=self._redact(said))
        if isinstance(reply, float):
            self._end()
            return Failure(call, "timeout", said=f"{reply:.0f} seconds")
        if "failure" in reply:
            return read_failure({**reply["failure"], "said": self._redact(reply["failure"].get("said") or "")}, call)
        return reply["value"]

    def _await_reply(self, seconds: float, progress: Callable[[], int] | None) -> dict[str, Any] | float | None:
        """Return the next line of the child; the seconds waited where there is none, None where it ended."""
        began, before = time.monotonic(), None
        while b"\n" not in self._read:
            left = began + seconds - time.monotonic()
            if left <= 0:
                return seconds
            if select.select([self._child.stdout], [], [], min(left, CHILD_POLL_SECONDS))[0]:
                block = os.read(self._child.stdout.fileno(), 65536)
                if not block:
                    return None
                self._read += block
            if progress is not None and (now := progress()) != before:
                began, before = time.monotonic(), now
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def _start(self) -> None:
        """Start the child: in a session of its own, so that Ctrl-C ends it by us and not in the middle of a call."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._read = b""
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self.environment,
            start_new_session=True,
        )

    def _end(self) -> str:
        """End the child; return the last line of what it wrote on stderr."""
        if self._child is None:
            return ""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            try:
                pipe.close()
            except BrokenPipeError:  # what was not sent need not be
                continue
        self._child = None
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        return lines[-1] if lines else "it said nothing"

    def _redact(self, text: str) -> str:
        return redact(text, self.sources)

    def explain(self, failure: Failure) -> KaggleRefusal | KaggleFailure:
        """Return the exception that tells a person what happened."""
        return explain_failure(
            failure, self.slug, [self.source, *(s for s in self.sources if s is not self.source)], self.environment
        )


def _seconds_to_wait(failure: Failure, attempt: int) -> float | None:
    """Return how long to wait before a read is tried again; None where it shall not be."""
    if not failure.is_passing:
        return None
    if failure.retry_after is not None:
        try:
            asked = float(failure.retry_after)
        except ValueError:  # a date: seldom, and not worth a clock of ours against theirs
            asked = BACKOFF_SECONDS * 2**attempt
        return asked if asked <= LONGEST_WAIT_SECONDS else None
    return BACKOFF_SECONDS * 2**attempt
