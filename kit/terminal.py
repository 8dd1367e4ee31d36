"""What a person sees: results on stdout; stage headers, notes and progress on stderr.

Colours are Rich's decision: none in a pipe or with NO_COLOR. ``--quiet`` silences the notes, ``--json`` keeps stdout
for one JSON document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich import progress as bars
from rich.console import Console
from rich.markup import escape as rich_escape
from rich.text import Text

Item = TypeVar("Item")

LABEL_WIDTH = 11  # characters
PIPE_WIDTH = 132  # characters, where there is no terminal to ask

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True)


def stage(name: str, detail: str = "") -> None:
    """Announce a stage: what is made, what is re-used."""
    _say(name, "bold cyan", detail)


def note(text: str) -> None:
    """Say something worth knowing."""
    _say("", "", text)


def warn(text: str) -> None:
    """Say something that may cost the user points."""
    _say("warning", "yellow", text)


def fail(text: str) -> None:
    """Say why a command ends; also with ``--quiet``."""
    err.quiet = False
    _say("error", "bold red", text)


def _say(label: str, style: str, text: str) -> None:
    """Print one line on stderr; `text` is plain, whatever brackets a file's name has."""
    err.print(Text.assemble((f"{label:<{LABEL_WIDTH}} ", style), str(text)), soft_wrap=True)


def print_json(value: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` under a progress bar; nothing but silence in a pipe."""
    with Progress(label, len(items) if total is None else total) as progress:
        for item in items:
            yield item
            progress.advance()


def escape(text: Any) -> str:
    """Return `text` with Rich's markup made harmless: class names and ids are data."""
    return rich_escape(str(text))


class Progress:
    """Show a progress bar once work is really done: nothing appears when all of it is re-used."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self._bar, self._task = label, total, None, None

    def __enter__(self) -> Progress:
        return self

    def advance(self, n: int = 1, detail: str = "") -> None:
        """Move on by `n` items."""
        if self._bar is None:
            self._open()
        if self._bar is not None:
            self._bar.update(self._task, advance=n, description=f"{self.label:<{LABEL_WIDTH}} {detail}")

    def _open(self) -> None:
        if not err.is_terminal or err.quiet:
            return
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TaskProgressColumn(show_speed=True),
            bars.TimeRemainingColumn(),
        )
        self._bar = bars.Progress(*columns, console=err, transient=True)
        self._bar.start()
        self._task = self._bar.add_task(self.label, total=self.total)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
