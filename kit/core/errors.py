"""What went wrong, in one sentence for a person: the file, the row, the cause, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Report what is wrong with the user's input; the command line prints it and exits with 2."""


class MissingWeights(InputError):
    """Report which weights cannot be reached and how to bring them; `all` skips such a run.

    Of the message, `cause` is the part that keeps other weights away too, and is printed once for all of them, empty
    where there is none; `remedy` is the part about these weights alone: how to bring them.
    """

    def __init__(self, message: str, cause: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.cause, self.remedy = cause, remedy


class TeacherMissing(InputError):
    """Report which teacher of a run has not been trained."""


class DamagedFile(InputError):
    """Report which file that the kit wrote cannot be read any more; no setting is at fault."""


class NodeLost(RuntimeError):
    """Report which task a cluster lost again and again, with its node or its result; no setting is at fault."""


class Stopped(BaseException):
    """Report that the user pressed Ctrl-C; not an Exception, so that nothing catches it on the way."""


class LeakFound(Exception):
    """Report which artefact saw labels it must not have seen; the command line exits with 1."""


class TimeIsUp(Exception):
    """Report that ``--time-limit`` was reached; what was computed is kept and the next call goes on."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the end of an error message: ``"did you mean 'x'?"`` where a valid name is close, else the valid names."""
    names = sorted({str(valid) for valid in names})
    close = [valid for valid in names if valid.casefold() == name.casefold()]
    close = close or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(valid) for valid in close) + "?"
    shown = ", ".join(repr(valid) for valid in names[:20])
    return f"valid: {shown}{', ...' if len(names) > 20 else ''}" if names else "there are none"


PLAIN_WORDS = {  # pydantic's words -> those of a user of TOML
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text in quotes",
    "a valid boolean": "true or false",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "a valid dictionary": "a table",
}


def plain(complaint: str) -> str:
    """Return a complaint of pydantic in plain words: ``"must be a whole number"``."""
    complaint = complaint.removeprefix("Value error, ")
    if " should have at least 1 " in complaint:
        return "must not be empty"
    if not complaint.startswith("Input should be "):
        return complaint
    wanted = complaint.removeprefix("Input should be ").partition(" or instance of ")[0]
    known = next((words for words in PLAIN_WORDS if wanted.startswith(words)), "")
    return f"must be {PLAIN_WORDS[known] + wanted.removeprefix(known) if known else wanted}"


def some(items: Iterable[object], n: int = 5) -> str:
    """Return the first `n` items for a message, and how many more there are."""
    items = [str(item) for item in items]
    more = f" and {len(items) - n} more" if len(items) > n else ""
    return ", ".join(items[:n]) + more
