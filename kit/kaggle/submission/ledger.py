"""The ledger: what was made, what was sent, what Kaggle said of it.

One row per file made, and one more each time a file is sent again. Reads and writes ``submissions/NAME/ledger.csv``. A
row is written before its file is sent, with a token that the submission's message carries: whatever happens on the way,
the next call finds out at Kaggle what became of it.
"""

from __future__ import annotations

import csv
import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.core.files import hold, write_csv
from kit.core.terminal import warn
from kit.data.prepared import Prepared
from kit.runs.store import Result
from kit.runs.store.thresholds import sent_key

LEDGER = "ledger.csv"
LEDGER_COLUMNS = (
    "file run key decision cv se sha256 commit made "
    "public private message status ref token sent"  # sent: Kaggle's time, UTC
).split()
COLUMNS_WHEN_MADE = LEDGER_COLUMNS[: LEDGER_COLUMNS.index("made") + 1]  # what is known of a file before it is sent
SENDING = "SENDING"  # a status of ours: sent, and not yet found at Kaggle; the others are Kaggle's
TOKEN = re.compile(r"\s*\[kit-([0-9a-f]{10})\]")

LedgerRow = dict[str, str]


def hold_ledger(competition: Competition) -> AbstractContextManager[None]:
    """Hold the ledger alone: of two calls at once that change it, one waits. Taken after the runs' lock, not before."""
    return hold(competition.workspace.runs(competition.name) / ".ledger", warn)


def read_ledger(competition: Competition) -> list[LedgerRow]:
    """Return the ledger's rows, oldest first; columns that an older ledger lacks are empty.

    Raises
    ------
    InputError
        When another program saved the file in another encoding, or with other separators.
    """
    path = competition.workspace.submissions(competition.name) / LEDGER
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # Excel begins UTF-8 with a mark
            reader = csv.DictReader(file, restval="")
            rows = [dict.fromkeys(LEDGER_COLUMNS, "") | row for row in reader]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save it as UTF-8") from error
    if rows and "file" not in reader.fieldnames:
        raise InputError(f"{path}: the first line names no column 'file'; save it as UTF-8 with commas")
    return rows


def write_ledger(competition: Competition, rows: Sequence[LedgerRow]) -> None:
    """Write the ledger anew, atomically."""
    path = competition.workspace.submissions(competition.name) / LEDGER
    write_csv(path, LEDGER_COLUMNS, ([row.get(column, "") for column in LEDGER_COLUMNS] for row in rows))


def find_row(competition: Competition, run: str) -> LedgerRow | None:
    """Return the newest file that the ledger names for a run, or None; rounds of a run count as it."""
    rows = [row for row in read_ledger(competition) if row["sha256"]]
    return next((row for row in reversed(rows) if row["run"] == run or row["run"].startswith(f"{run}.")), None)


def is_of(prepared: Prepared, result: Result, row: LedgerRow) -> bool:
    """Return whether a row's file is of exactly this run, decided as today: one key may be sent with other thresholds.

    Ledgers from before the column `decision` say nothing there, as where nothing is decided.
    """
    decided = sent_key(prepared, result.record.thresholds)
    return row.get("key") == result.record.key and (row.get("decision") or "") == decided


def new_token() -> str:
    """Return a token that no other submission has."""
    return secrets.token_hex(5)


def mark(message: str, token: str) -> str:
    """Return the message that carries a token."""
    return f"{message} [kit-{token}]".strip()


def join_ledger(
    rows: Sequence[LedgerRow], submissions: Sequence[dict[str, Any]], sizes: dict[str, int]
) -> list[LedgerRow]:
    """Return the ledger's rows with what Kaggle says of them; every submission at Kaggle is in exactly one row.

    A submission is known by its number, by the token in its message, or - where it was made by hand - by the name of a
    file that was not sent yet. Others become rows of their own, without CV.

    Parameters
    ----------
    rows
        The ledger.
    submissions
        Kaggle's list, in any order.
    sizes
        Bytes of the files in the folder, by name: another file of the same name is not taken for ours.
    """
    joined = [dict(row) for row in rows]
    for own in sorted(submissions, key=lambda own: int(own["ref"])):
        row = _row_of(joined, own, sizes)
        if row is None:
            joined.append(row := dict.fromkeys(LEDGER_COLUMNS, "") | _origin(joined, own, sizes))
        row |= {"ref": own["ref"], "sent": own["date"], "status": own["status"]}
        row |= {"public": own["public"], "private": own["private"], "message": TOKEN.sub("", own["message"])}
    return joined


def _row_of(rows: list[LedgerRow], own: dict[str, Any], sizes: dict[str, int]) -> LedgerRow | None:
    """Return the row of a submission."""
    if found := next((row for row in rows if row["ref"] == own["ref"]), None):
        return found
    if (token := TOKEN.search(own["message"])) and (
        found := next((row for row in rows if row["token"] == token[1] and not row["ref"]), None)
    ):
        return found
    unsent = (row for row in reversed(rows) if row["file"] == own["file"] and not row["ref"] and not row["token"])
    return next(unsent, None) if _is_same_file(own, sizes) else None


def _origin(rows: list[LedgerRow], own: dict[str, Any], sizes: dict[str, int]) -> LedgerRow:
    """Return what is known of a submission that has no row: its file's facts where the file is ours."""
    same = next((row for row in reversed(rows) if row["file"] == own["file"] and row["run"]), None)
    if same and _is_same_file(own, sizes):
        return {key: same[key] for key in COLUMNS_WHEN_MADE}
    return {"file": own["file"]}


def _is_same_file(own: dict[str, Any], sizes: dict[str, int]) -> bool:
    """Return whether a submission's file can be the one of that name here."""
    return own["file"] in sizes and own["bytes"] in (None, 0, sizes[own["file"]])
