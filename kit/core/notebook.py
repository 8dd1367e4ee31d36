"""One line in a notebook, written over again and again: behind a shell's command by carriage returns, else by display.

A notebook knows no cursor: what a terminal draws over stands there line below line.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any

from kit.core.names import IS_NOTEBOOK

IS_BATCH = os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Batch"  # nobody looks, and a log keeps every state of a line


def is_kernel() -> bool:
    """Return whether this process is a notebook's kernel, not a command that one called."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def find_line(file: IO[str]) -> Line | None:
    """Return the line of this notebook; None outside of one, and where lines are kept as they come."""
    if is_kernel():
        return DisplayLine()
    return CarriageLine(file) if IS_NOTEBOOK and file.isatty() and not IS_BATCH else None


class Line:
    """Hold a line that can be written over."""

    def write(self, text: str) -> None:
        """Show `text` in the line's place."""
        raise NotImplementedError

    def clear(self) -> None:
        """Make room for a line of another kind; the next `write` begins below it."""

    def end(self, text: str) -> None:
        """Leave the line; `text` is its last state."""
        raise NotImplementedError


class CarriageLine(Line):
    """Write over a stream's last line, as a notebook does with what follows a carriage return."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._width = file, 0

    def write(self, text: str) -> None:
        """Show `text`, and blanks where the text before it was longer."""
        self._file.write(f"\r{text:<{self._width}}")
        self._file.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Blank the line."""
        if self._width:
            self._file.write(f"\r{'':<{self._width}}\r")
            self._width = 0

    def end(self, text: str) -> None:
        """Blank the line, as a terminal's bar goes when it is done."""
        self.clear()
        self._file.flush()


class DisplayLine(Line):
    """Update one output of a cell."""

    def __init__(self) -> None:
        self._handle: Any = None

    def write(self, text: str) -> None:
        """Show `text` in the cell's output, a new one the first time."""
        from IPython.display import display

        shown = {"text/plain": text}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def end(self, text: str) -> None:
        """Keep the last state: an output cannot be taken away."""
        if self._handle is not None:
            self.write(text)
