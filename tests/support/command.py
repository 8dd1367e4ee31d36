"""What a command prints, as words and as tables."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console


def flat(text: str) -> str:
    """Return a text without line ends and runs of blanks."""
    return " ".join(text.split())


def rendered(table: Any, width: int) -> str:
    """Return a table of rich as text."""
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()
