"""Show the submissions as a table that fits the terminal, and what Kaggle tells of limits and place as a line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from kit.core.terminal import empty_table, escape, out
from kit.kaggle.submission.ledger import LedgerRow
from kit.kaggle.submission.standing import Pick, cv_with_error, number

MESSAGE_WIDTH = 20  # characters that a message asks for at least


def render_submissions(rows: Sequence[LedgerRow], picks: Sequence[Pick], title: str) -> Table:
    """Return the submissions as a table, newest last; a star marks those to choose.

    Columns that have no room are left out, the message first; the scores stay.
    """
    chosen = {pick.ref for pick in picks}
    columns = {
        "": ["*" if row["ref"] in chosen else "" for row in rows],
        "file": [Path(row["file"]).name for row in rows],
        "run": [row["run"] or "by hand" for row in rows],
        "CV ± SE": [cv_with_error(row) if number(row["cv"]) is not None else "" for row in rows],
        "public": [row["public"] for row in rows],
        "private": [row["private"] for row in rows],
        "status": [row["status"].lower() for row in rows],
        "sent (UTC)": [row["sent"].replace("T", " ")[:16] for row in rows],
        "message": [row["message"] for row in rows],
    }
    columns = {header: [_printable(cell) for cell in cells] for header, cells in columns.items()}
    left_out = _spare(columns)
    columns = {header: cells for header, cells in columns.items() if header not in left_out}
    caption = f"no room for {', '.join(left_out)}: a wider terminal or --json shows them" if left_out else ""
    shown = empty_table(title, caption)
    for header in columns:
        is_number = header in ("CV ± SE", "public", "private")
        shown.add_column(header, justify="right" if is_number else "left", overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        shown.add_row(*map(escape, cells))
    return shown


def _spare(columns: dict[str, list[str]]) -> list[str]:
    """Return the headers of the columns that have no room; a message is folded before it is left out."""
    widths = {header: max(map(len, [header, *cells])) for header, cells in columns.items()}
    widths["message"] = min(widths["message"], MESSAGE_WIDTH)
    spare: list[str] = []
    for header in ("message", "status", "sent (UTC)", "run"):
        if sum(3 + width for name, width in widths.items() if name not in spare) > out.width:
            spare.append(header)
    return spare


def _printable(text: Any) -> str:
    """Return text without control characters: messages and file names come from elsewhere."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def describe_left(limits: dict[str, Any]) -> str:
    """Tell how many submissions are left; a team that never submitted may, though all numbers are 0."""
    if not limits["total"] and not limits["left"]:
        return "the first of this team"
    return f"{limits['left']} left {'in all' if limits['limited_by_total'] else 'today'}"


def describe_limits(limits: dict[str, Any]) -> str:
    """Tell how many submissions were made and are left."""
    if not limits["total"] and not limits["left"]:
        return "submissions: none made yet; how many are allowed Kaggle says after the first"
    return f"submissions: {limits['total']} made, {limits['today']} of them today, {describe_left(limits)}"


def describe_place(place: dict[str, Any]) -> str:
    """Tell where the team is on the public leaderboard."""
    if place["place"] is None:
        return "public leaderboard: the team is not on it yet"
    return f"public leaderboard: place {place['place']} with {place['score']} (first: {place['best']})"
