"""The time limit of one call: set once by the command line, checked where what was computed is safe on the disk."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kit.core.errors import InputError, TimeIsUp

AMOUNT = r"(\d+(?:\.\d+)?)"
DURATION = re.compile(f"(?:{AMOUNT}h)?(?:{AMOUNT}m)?(?:{AMOUNT}s?)?")

_deadline: float | None = None  # seconds on the monotonic clock


def set_deadline(seconds: float | None) -> None:
    """Set the limit to `seconds` from now; None for no limit."""
    global _deadline
    _deadline = None if seconds is None else time.monotonic() + seconds


def time_is_up() -> bool:
    """Return whether the limit is reached."""
    return _deadline is not None and time.monotonic() >= _deadline


def seconds_left() -> float | None:
    """Return the seconds until the limit, or None without one."""
    return None if _deadline is None else _deadline - time.monotonic()


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Let what is done inside end after `seconds` too, where the limit is not nearer; None for the limit alone."""
    global _deadline
    limit = _deadline
    if seconds is not None:
        _deadline = min(time.monotonic() + seconds, *([limit] if limit is not None else []), math.inf)
    try:
        yield
    finally:
        _deadline = limit


def check_deadline() -> None:
    """Raise TimeIsUp when the limit is reached; call it only where a later call can go on."""
    if time_is_up():
        raise TimeIsUp("the time limit is reached; what was computed is kept, the same command goes on from there")


def parse_duration(text: str, option: str = "--time-limit") -> float:
    """Return the seconds of a duration such as ``9h``, ``1h30m``, ``45s`` or ``600``.

    What is no duration above 0 raises InputError, which names the option.
    """
    match = DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total > 0:
        raise InputError(f"{option} {text!r}: write 9h, 1h30m, 45m, 30s or a number of seconds, above 0")
    return total
