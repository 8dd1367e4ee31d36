"""The streams of a call: always there, whatever characters they are given, and named where they fail."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any

STDOUT = "standard output"


class ReaderGone(BaseException):
    """Say that nobody reads stdout any more, as after ``| head``; not an OSError, which libraries would mend."""


class Stdout(io.FileIO):
    """Write to stdout; what fails is named after it, and not taken for a file of the workspace."""

    def write(self, data: Any) -> int | None:
        """Write bytes: ReaderGone where the pipe is closed, an OSError that names `STDOUT` where they cannot go."""
        try:
            return super().write(data)
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            error.filename = STDOUT
            raise


def open_streams() -> None:
    """Make the streams usable, whatever the call was given: closed, in ASCII, full, or a pipe that nobody reads."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller, as by >&-
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    stdout = sys.stdout
    if stdout is sys.__stdout__ and isinstance(stdout, io.TextIOWrapper):  # else it was replaced on purpose
        bytes_out = io.BufferedWriter(Stdout(stdout.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(
            bytes_out, stdout.encoding, "replace",
            line_buffering=stdout.line_buffering, write_through=stdout.write_through,
        )  # fmt: skip


def drop_stdout() -> None:
    """Send to nowhere what stdout still holds: it cannot be written, and Python would try once more at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
