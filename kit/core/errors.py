"""What went wrong, in one sentence for a person: the file, the row, the cause, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Say what is wrong with what the user gave; the command line prints it and exits with 2."""


class MissingWeights(InputError):
    """Say which weights cannot be reached and how to bring them; `all` skips such a run.

    Parameters
    ----------
    message
        All of it.
    cause
        Of the message what keeps other weights away too, and is said once for all of them; empty where nothing does.
    remedy
        The rest of the message: how to bring these weights.
    """

    def __init__(self, message: str, cause: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.cause, self.remedy = cause, remedy


class TeacherMissing(InputError):
    """Say which teacher of a run has not been trained."""


class DamagedFile(InputError):
    """Say which file of the kit's own cannot be read any more; no setting is at fault."""


class Stopped(BaseException):
    """Say that the user pressed Ctrl-C; not an Exception, so that nothing mends it on the way."""


class LeakFound(Exception):
    """Say which artefact saw labels it must not have seen; the command line exits with 1."""


class TimeIsUp(Exception):
    """Say that ``--time-limit`` was reached; what was computed is kept and the next call goes on."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint naming the valid names closest to `name`, for the end of an error message.

    Parameters
    ----------
    name
        What the user wrote.
    names
        What would have been valid.

    Returns
    -------
    str
        ``"did you mean 'x'?"`` where something is close, else the valid names.
    """
    names = sorted({str(valid) for valid in names})
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(valid) for valid in close) + "?"
    shown = ", ".join(repr(valid) for valid in names[:20])
    return f"valid: {shown}{', ...' if len(names) > 20 else ''}" if names else "there are none"


PLAIN_WORDS = {  # what pydantic says -> what a user of TOML says
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
    said = complaint.removeprefix("Value error, ")
    if " should have at least 1 " in said:
        return "must not be empty"
    if not said.startswith("Input should be "):
        return said
    said = said.removeprefix("Input should be ").partition(" or instance of ")[0]
    return "must be " + next(
        (said.replace(own, word) for own, word in PLAIN_WORDS.items() if said.startswith(own)), said
    )


def some(items: Iterable[object], n: int = 5) -> str:
    """Return the first `n` items for a message, and how many more there are."""
    items = [str(item) for item in items]
    more = f" and {len(items) - n} more" if len(items) > n else ""
    return ", ".join(items[:n]) + more
