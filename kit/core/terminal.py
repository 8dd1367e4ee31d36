"""What a person sees: results on stdout; stage headers, notes and progress on stderr.

One line per stage: what it is about, what was re-used and what was made; at the end of a command what to do next.
Where no bar can be drawn, a plain line says every half minute how far the work is; in a notebook one line is written
over, and a kernel's own notes go to stdout, as stderr is where errors stand there.
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
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape as rich_escape
from rich.text import Text

from kit.core import activity
from kit.core.names import IS_NOTEBOOK
from kit.core.notebook import Line, find_line, is_kernel

if TYPE_CHECKING:
    from rich.progress import Progress as ProgressBar
    from rich.progress import TaskID
    from rich.table import Table

Item = TypeVar("Item")

LABEL_WIDTH = 11  # characters
PIPE_WIDTH = 132  # characters, where neither a terminal nor COLUMNS says
SHOWN_AFTER = 0.5  # seconds: what takes less shows no bar
SILENT_SECONDS = 30.0  # without a line, where no bar is drawn; then one says how far the work is
NOTEBOOK_SECONDS = 1.0  # between two states of a notebook's line

_is_piped = sys.stdout is None or not sys.stdout.isatty()  # None: the shell closed it
out = Console(width=PIPE_WIDTH if _is_piped and not os.environ.get("COLUMNS") else None, force_jupyter=False)
err = Console(stderr=not is_kernel(), force_jupyter=False)
_overheard: list[tuple[str, str, str]] | None = None


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


@contextmanager
def overheard() -> Iterator[list[tuple[str, str, str]]]:
    """Keep the lines of this block instead of printing them, for `repeat` in the process that a person looks at."""
    global _overheard
    before, lines = _overheard, []
    _overheard = lines
    try:
        yield lines
    finally:
        _overheard = before


def repeat(lines: Iterable[tuple[str, str, str]]) -> None:
    """Print lines that were overheard in another process."""
    for label, style, text in lines:
        _say(label, style, text)


def _say(label: str, style: str, text: str) -> None:
    """Print one line on stderr; brackets in `text` are no markup."""
    if _overheard is not None:
        if not err.quiet:
            _overheard.append((label, style, text))
        return
    activity.note_stage(f"{label}: {text}" if label else text)
    with _Watcher.lock:
        _Watcher.spoken = time.monotonic()
        if _Watcher.line is not None and not err.quiet:
            _Watcher.line.clear()
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

    from kit.core.columns import WholeWords

    return WholeWords(
        title=escape(title) or None, caption=escape(caption) or None, title_justify="left", caption_justify="left",
        header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip


class Progress:
    """Show how far a loop is, how fast it is and how long it still takes, once it has run for half a second.

    In a pipe a plain line tells it after every half minute of silence. Nothing appears with ``--quiet``, or where
    everything is re-used. `status` sees the loop in any case.
    """

    def __init__(self, label: str, total: int) -> None:
        self._told = activity.Bar(label, total)
        self._task: TaskID | None = None
        self._timer: threading.Timer | None = None
        self._is_over, self._lock = False, threading.Lock()

    def __enter__(self) -> Progress:
        self._told.started = time.perf_counter()
        activity.bars.append(self._told)
        if self.total and not err.quiet:
            if can_draw():
                self._timer = threading.Timer(SHOWN_AFTER, self._open)
                self._timer.daemon = True
                self._timer.start()
            else:
                _Watcher.watch()
        return self

    @property
    def n_made(self) -> int:
        """Return how many items this call made."""
        return self._told.n_made

    @property
    def total(self) -> int:
        """Return how many items there are; it may be set while they are worked on."""
        return self._told.total

    @total.setter
    def total(self, total: int) -> None:
        self._told.total = total

    def advance(self, n: int = 1, detail: str = "") -> None:
        """Move on by `n` items."""
        with self._lock:
            self._told.n_made, self._told.detail = self.n_made + n, detail
            if self._task is not None:
                _Drawn.update(self._task, self.total, self._told.n_done, self._describe())

    def resume_at(self, n: int) -> None:
        """Begin at `n` items, which an earlier call has made; ignored once this call has made one."""
        if not self.n_made:
            self._told.n_reused = n

    def summary(self, made: str) -> str:
        """Return how many items this call made and how fast: ``"1,200 images read at 45/s"`` for ``"images read"``."""
        return f"{self.n_made:,} {made} at {spell_rate(self._told.per_second)}"

    def _describe(self) -> str:
        return escape(f"{self._told.label:<{LABEL_WIDTH}} {self._told.detail}")

    def _open(self) -> None:
        """Draw the bar, unless the work is over."""
        with self._lock:
            if not self._is_over:
                self._task = _Drawn.add(self.total, self._told.n_done, self._describe())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            activity.bars[:] = [bar for bar in activity.bars if bar is not self._told]
            if self._task is not None:
                _Drawn.remove(self._task)
        if self._timer is not None:
            self._timer.cancel()
        if not activity.bars:
            _Watcher.end(spell_bars([self._told.as_dict()]))


def can_draw() -> bool:
    """Return whether lines can be drawn over on stderr, several at once: in a terminal, not in a notebook."""
    return err.file.isatty() and not err.is_dumb_terminal and not IS_NOTEBOOK


class _Drawn:
    """Hold the bars of nested loops as one drawing: two would fight for the cursor."""

    _bars: ProgressBar | None = None
    _lock = threading.Lock()

    @classmethod
    def add(cls, total: int, done: int, text: str) -> TaskID:
        """Draw one bar more, below the others."""
        with cls._lock:
            if cls._bars is None:
                cls._bars = _draw_bars()
                cls._bars.start()
            return cls._bars.add_task(text, total=total, completed=done)

    @classmethod
    def update(cls, task: TaskID, total: int, done: int, text: str) -> None:
        """Draw how far a loop is."""
        with cls._lock:
            if cls._bars is not None:
                cls._bars.update(task, completed=done, total=total, description=text)

    @classmethod
    def remove(cls, task: TaskID) -> None:
        """Take a bar away, and the drawing with the last."""
        with cls._lock:
            if cls._bars is not None:
                cls._bars.remove_task(task)
                if not cls._bars.task_ids:
                    cls._bars.stop()
                    cls._bars = None


class _Watcher:
    """Tell how far loops are where no bar is drawn: a thread that lives while they run.

    A pipe hears it after every half minute of silence; a notebook's line is written over every second.
    """

    spoken = 0.0  # when the last line was printed, by time.monotonic
    line: Line | None = None
    lock = threading.RLock()
    _thread: threading.Thread | None = None

    @classmethod
    def watch(cls) -> None:
        """Begin to watch, where nobody does."""
        with cls.lock:
            cls.line = cls.line or find_line(err.file)
            if cls._thread is None:
                cls.spoken = max(cls.spoken, time.monotonic() - SILENT_SECONDS / 2)
                cls._thread = threading.Thread(target=cls._keep_watching, daemon=True, name="watcher")
                cls._thread.start()

    @classmethod
    def end(cls, text: str) -> None:
        """Leave the line with its last state, as the last loop is over."""
        with cls.lock:
            if cls.line is not None:
                cls.line.end(text)
                cls.line = None

    @classmethod
    def _keep_watching(cls) -> None:
        pause = NOTEBOOK_SECONDS if cls.line is not None else min(1.0, SILENT_SECONDS / 4)
        while True:
            time.sleep(pause)
            with cls.lock:
                if not activity.bars:
                    cls._thread = None
                    return
                cls._tell(spell_bars([bar.as_dict() for bar in activity.bars]))

    @classmethod
    def _tell(cls, text: str) -> None:
        if cls.line is not None:
            cls.line.write(text)
        elif time.monotonic() - cls.spoken >= SILENT_SECONDS:
            _say("...", "", text)


def spell_bars(bars: Iterable[dict[str, Any]]) -> str:
    """Return in one line how far nested loops are; each is a dict of `kit.core.activity.Bar.as_dict`."""
    return " · ".join(map(_spell_bar, bars))


def spell_facts(facts: dict[str, Any]) -> str:
    """Return what a process is working on: ``"run 3 of 7: probe, fold 2"``."""
    place, run = facts.get("place"), facts.get("run")
    first = [": ".join(str(each) for each in (f"run {place}", run) if each)] if place else [f"run {run}"] if run else []
    others = [f"{name} {value}" for name, value in facts.items() if name not in ("place", "run")]
    return ", ".join([*first, *others])


def spell_activity(told: activity.Activity) -> str:
    """Return in one line how far another process is; empty where it did not tell."""
    return " · ".join(filter(None, (spell_facts(told.facts), spell_bars(told.bars)))) or told.stage


def _spell_bar(bar: dict[str, Any]) -> str:
    parts = [f"{bar['label']} {bar['done']:,}/{bar['total']:,}"]
    parts += [bar["detail"]] if bar["detail"] else []
    if bar["seconds_left"] is not None:
        parts += [spell_rate(bar["per_second"]), f"{spell_seconds(bar['seconds_left'])} left"]
    return f"{parts[0]} ({', '.join(parts[1:])})" if parts[1:] else parts[0]


def spell_seconds(seconds: float) -> str:
    """Return a duration as people say it: ``"12 s"``, ``"3 min"``, ``"1 h 40 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _draw_bars() -> ProgressBar:
    """Return Rich's progress bars with our columns: label, bar, count, rate, time left."""
    from rich import progress as bars

    class Rate(bars.ProgressColumn):
        """Show items per second, or seconds per item."""

        def render(self, task: bars.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(spell_rate(speed) if speed else "")

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=min(20, err.width // 6)),
        bars.MofNCompleteColumn(),
        Rate(),
        bars.TimeRemainingColumn(compact=True),
    )
    return bars.Progress(*columns, console=err, transient=True)


def spell_rate(per_second: float) -> str:
    """Return items per second, or seconds per item where that is the larger number and there were any."""
    if 0 < per_second < 1:
        return f"{1 / per_second:.1f} s each"
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"
