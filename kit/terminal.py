"""What a person sees: results on stdout; stage headers, notes and progress on stderr.

Colours are Rich's decision: none in a pipe or with NO_COLOR. ``--quiet`` silences the notes, ``--json`` keeps stdout
for one JSON document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console

Item = TypeVar("Item")

out = Console(soft_wrap=False)
err = Console(stderr=True)
REFRESH_PER_SECOND = 4


def stage(name: str, detail: str = "") -> None:
    """Announce a stage: what is made, what is re-used."""
    err.print(f"[bold cyan]{name:<11}[/] {detail}", highlight=False)


def note(text: str) -> None:
    """Say something worth knowing, on stderr."""
    err.print(f"[dim]{'':<11}[/] {text}", highlight=False)


def warn(text: str) -> None:
    """Say something that may cost the user points."""
    err.print(f"[yellow]{'warning':<11}[/] {text}", highlight=False)


def print_json(value: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` under a progress bar with rate and time left; nothing but silence in a pipe."""
    from rich.progress import track as rich_track

    if not err.is_terminal or err.quiet:
        return iter(items)
    return rich_track(
        items, f"{label:<11}", total=total, console=err, transient=True, refresh_per_second=REFRESH_PER_SECOND
    )


def escape(text: Any) -> str:
    """Return `text` with Rich's markup made harmless: class names and ids are data."""
    from rich.markup import escape as rich_escape

    return rich_escape(str(text))
