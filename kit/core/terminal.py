"""What a person sees: results on stdout; stage headers, notes and progress on stderr.

One line per stage: what it is about, what was re-used and what was made; at the end of a command what to do next.
Colours are Rich's decision: none in a pipe, with NO_COLOR or TERM=dumb; FORCE_COLOR=1 keeps them in a pipe (`less -R`).
COLUMNS says how wide a pipe is. ``--quiet`` silences all but errors, ``--json`` keeps stdout for one JSON document.
"""

from __future__ import annotations

import json
import operator
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape as rich_escape
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress as ProgressBar
    from rich.table import Table

Item = TypeVar("Item")

LABEL_WIDTH = 11  # characters
PIPE_WIDTH = 132  # characters, where neither a terminal nor COLUMNS says
SHOWN_AFTER = 0.5  # seconds: what takes less shows no bar

out = Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH)
err = Console(stderr=True)


def stage(name: str, detail: str = "") -> None:
    """Announce a stage, and what it makes or re-uses."""
    _say(name, "bold cyan", detail)


def note(text: str) -> None:
    """Print something worth knowing."""
    _say("", "", text)


def warn(text: str) -> None:
    """Print a warning: what may cost the user points."""
    _say("warning", "yellow", text)


def fail(text: str) -> None:
    """Print why a command fails; with ``--quiet`` too."""
    err.quiet = False
    _say("error", "bold red", text)


def _say(label: str, style: str, text: str) -> None:
    """Print one line on stderr; brackets in `text` are no markup."""
    err.print(Text.assemble((f"{label:<{LABEL_WIDTH}} ", style), str(text)), soft_wrap=True)


def count(n: int, unit: str) -> str:
    """Return ``"1 run"`` or ``"1,200 runs"``."""
    return f"{n:,} {unit}{'' if n == 1 else 's'}"


def print_json(value: object) -> None:
    """Print one JSON document on stdout; where that takes no Unicode, with JSON's escapes, so that nothing is lost."""
    is_ascii = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    sys.stdout.write(json.dumps(value, ensure_ascii=is_ascii, indent=1, default=str) + "\n")


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` under a progress bar, of which a pipe shows nothing; `total` where `items` has no length."""
    with Progress(label, operator.length_hint(items) if total is None else total) as progress:
        for item in items:
            yield item
            progress.advance()


def escape(text: object) -> str:
    """Return `text` with Rich's markup made harmless: class names and ids are data."""
    return rich_escape(str(text))


def empty_table(title: str = "", caption: str = "") -> Table:
    """Return a table without columns, in the style of all tables; `title` and `caption` are plain text."""
    from rich import box
    from rich.table import Table

    return Table(
        title=escape(title) or None, caption=escape(caption) or None, title_justify="left", caption_justify="left",
        header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip


class Progress:
    """Show how far a loop is, how fast it is and how long it still takes, once it has run for half a second.

    Nothing appears in a pipe, with ``--quiet``, or where everything is re-used.
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total = label, total
        self._bar: ProgressBar | None = None
        self._timer: threading.Timer | None = None
        self.n_made = 0  # by this call
        self._n_reused, self._detail, self._is_over = 0, "", False
        self._lock, self._started = threading.Lock(), time.perf_counter()

    def __enter__(self) -> Progress:
        if self.total and err.file.isatty() and not err.is_dumb_terminal and not err.quiet:
            self._timer = threading.Timer(SHOWN_AFTER, self._open)
            self._timer.daemon = True
            self._timer.start()
        return self

    def advance(self, n: int = 1, detail: str = "") -> None:
        """Move on by `n` items."""
        with self._lock:
            self.n_made, self._detail = self.n_made + n, detail
            if self._bar is not None:
                self._bar.update(
                    self._bar.task_ids[0], completed=self._n_done, total=self.total, description=self._describe()
                )

    def resume_at(self, n: int) -> None:
        """Begin at `n` items, which an earlier call has made; ignored once this call has made one."""
        if not self.n_made:
            self._n_reused = n

    def summary(self, made: str) -> str:
        """Return how many items this call made and how fast: ``"1,200 images read at 45/s"`` for ``"images read"``."""
        return f"{self.n_made:,} {made} at {_spell_rate(self.n_made / (time.perf_counter() - self._started))}"

    @property
    def _n_done(self) -> int:
        return self._n_reused + self.n_made

    def _describe(self) -> str:
        return escape(f"{self.label:<{LABEL_WIDTH}} {self._detail}")

    def _open(self) -> None:
        """Draw the bar, unless the work is over."""
        with self._lock:
            if not self._is_over:
                self._bar = _draw_bar()
                self._bar.add_task(self._describe(), total=self.total, completed=self._n_done)
                self._bar.start()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.stop()
        if self._timer is not None:
            self._timer.cancel()


def _draw_bar() -> ProgressBar:
    """Return Rich's progress bar with our columns: label, bar, count, rate, time left."""
    from rich import progress as bars

    class Rate(bars.ProgressColumn):
        """Show items per second, or seconds per item."""

        def render(self, task: bars.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(_spell_rate(speed) if speed else "")

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=min(20, err.width // 6)),
        bars.MofNCompleteColumn(),
        Rate(),
        bars.TimeRemainingColumn(compact=True),
    )
    return bars.Progress(*columns, console=err, transient=True)


def _spell_rate(per_second: float) -> str:
    """Return items per second, or seconds per item where that is the larger number and there were any."""
    if 0 < per_second < 1:
        return f"{1 / per_second:.1f} s each"
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"
