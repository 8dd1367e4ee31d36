"""Keep the ledger: which files were made, which were sent, how Kaggle scored them.

Reads and writes ``submissions/NAME/ledger.csv``: one row per file made, and one more each time a file is sent again. A
row is written before its file is sent, with a token that the submission's message carries: whatever happens on the way,
the next call finds out at Kaggle whether the file arrived.
"""

from __future__ import annotations

import csv
import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.core.files import write_csv
from kit.core.held import hold
from kit.core.terminal import warn
from kit.data.prepared import Prepared
from kit.runs.store import Result
from kit.runs.store.thresholds import sent_key

LEDGER = "ledger.csv"
LEDGER_COLUMNS: Sequence[str] = (
    "file run key decision cv se sha256 commit made "
    "public private message status ref token sent"  # sent: Kaggle's time, UTC
).split()
COLUMNS_WHEN_MADE = LEDGER_COLUMNS[: LEDGER_COLUMNS.index("made") + 1]  # what is known of a file before it is sent
SENDING = "SENDING"  # the kit's own status: sent, and not yet seen in Kaggle's list; all others are Kaggle's
TOKEN = re.compile(r"\s*\[kit-([0-9a-f]{10})\]")

LedgerRow: TypeAlias = dict[str, str]
"""A row of the ledger: text by column."""


def hold_ledger(competition: Competition) -> AbstractContextManager[None]:
    """Let one call at a time change the ledger; another waits. Taken after the lock of the runs, not before."""
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
    if rows and "file" not in (reader.fieldnames or ()):
        raise InputError(f"{path}: the first line names no column 'file'; save it as UTF-8 with commas")
    return rows


def write_ledger(competition: Competition, rows: Sequence[LedgerRow]) -> None:
    """Write the ledger anew, atomically."""
    path = competition.workspace.submissions(competition.name) / LEDGER
    write_csv(path, LEDGER_COLUMNS, ([row.get(column, "") for column in LEDGER_COLUMNS] for row in rows))


def find_row(competition: Competition, run: str) -> LedgerRow | None:
    """Return the row of a run's newest file, or None; rounds of a run count as the run."""
    rows = [row for row in read_ledger(competition) if row["sha256"]]
    return next((row for row in reversed(rows) if row["run"] == run or row["run"].startswith(f"{run}.")), None)


def columns_of(prepared: Prepared, result: Result) -> LedgerRow:
    """Return what the ledger keeps of a run: its key, the key of its decisions, CV and standard error."""
    record = result.record
    scores = {"cv": f"{record.cv:.6f}", "se": f"{record.se:.6f}"}
    return {"run": result.name, "key": record.key, "decision": sent_key(prepared, record.thresholds), **scores}


def is_of(prepared: Prepared, result: Result, row: LedgerRow) -> bool:
    """Return whether a row's file is of exactly this run, decided as today: one key may be sent with other thresholds.

    Ledgers from before the column `decision` are read as if nothing was decided.
    """
    today = columns_of(prepared, result)
    return row.get("key") == today["key"] and (row.get("decision") or "") == today["decision"]


def new_token() -> str:
    """Return a token that no other submission has."""
    return secrets.token_hex(5)


def mark(message: str, token: str) -> str:
    """Return the message that carries a token."""
    return f"{message} [kit-{token}]".strip()


def join_ledger(
    rows: Sequence[LedgerRow], submissions: Sequence[dict[str, Any]], sizes: dict[str, int]
) -> list[LedgerRow]:
    """Return the ledger's rows with Kaggle's scores; every submission at Kaggle is in exactly one row.

    A submission is known by its number, by the token in its message, or - where it was made by hand - by the name of a
    file that was not sent yet. Others become rows of their own, without CV.

    The list may be in any order. `sizes` are the bytes of the files in the folder by name: a file of the same name and
    another size was not made here.
    """
    joined = [dict(row) for row in rows]
    for submission in sorted(submissions, key=lambda submission: int(submission["ref"])):
        row = _row_of(joined, submission, sizes)
        if row is None:
            joined.append(row := dict.fromkeys(LEDGER_COLUMNS, "") | _origin(joined, submission, sizes))
        row |= {"sent": submission["date"], "message": TOKEN.sub("", submission["message"])}
        row |= {key: submission[key] for key in ("ref", "status", "public", "private")}
    return joined


def _row_of(rows: list[LedgerRow], submission: dict[str, Any], sizes: dict[str, int]) -> LedgerRow | None:
    """Return the row of a submission."""
    if known := next((row for row in rows if row["ref"] == submission["ref"]), None):
        return known
    waiting = [row for row in reversed(rows) if not row["ref"]]
    if token := TOKEN.search(submission["message"]):
        for row in reversed(waiting):
            if row["token"] == token[1]:
                return row
    unsent = (row for row in waiting if row["file"] == submission["file"] and not row["token"])
    return next(unsent, None) if _is_same_file(submission, sizes) else None


def _origin(rows: list[LedgerRow], submission: dict[str, Any], sizes: dict[str, int]) -> LedgerRow:
    """Return what is known of a submission that has no row: that of its file, where it was made here."""
    same = next((row for row in reversed(rows) if row["file"] == submission["file"] and row["run"]), None)
    if same and _is_same_file(submission, sizes):
        return {key: same[key] for key in COLUMNS_WHEN_MADE}
    return {"file": submission["file"]}


def _is_same_file(submission: dict[str, Any], sizes: dict[str, int]) -> bool:
    """Return whether a submission's file can be the one of that name in the folder."""
    return submission["file"] in sizes and submission["bytes"] in (None, 0, sizes[submission["file"]])
