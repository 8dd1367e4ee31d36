"""Send to Kaggle once, and believe it only when Kaggle lists it.

Writes the ledger. The client's answer is no proof: it reports a failed upload as success, and a lost answer as failure
of a submission that exists. The token in the message decides.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.core.names import PROGRAM
from kit.core.terminal import note
from kit.kaggle.client.failures import Failure, KaggleFailure, KaggleRefusal
from kit.kaggle.client.session import Kaggle
from kit.kaggle.submission.gate import Package
from kit.kaggle.submission.ledger import (
    COLUMNS_WHEN_MADE,
    SENDING,
    LedgerRow,
    hold_ledger,
    join_ledger,
    mark,
    new_token,
    read_ledger,
    write_ledger,
)

LOOKS = 3  # at Kaggle's list, before a submission counts as absent
LOOK_SECONDS = 2.0  # between two of them, times the number of the look
WAIT_SECONDS = 10.0  # between looks at a submission that is being scored
MAX_MESSAGE = 400  # characters
NOTEBOOK_OUTPUT = "submission.csv"  # what a notebook leaves for the scorer


def settle(
    kaggle: Kaggle, competition: Competition, submissions: list[dict[str, Any]] | None = None
) -> list[LedgerRow]:
    """Bring the ledger up to date with Kaggle's list, submissions made by hand included; return its rows.

    The list is read where it is not given.
    """
    listed: list[dict[str, Any]] = (
        kaggle.read("list_submissions", slug=kaggle.slug) if submissions is None else submissions
    )
    folder = competition.workspace.submissions(competition.name)
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.csv")}
    before = read_ledger(competition)
    rows = join_ledger(before, listed, sizes)
    if rows != before:
        write_ledger(competition, rows)
    return rows


def send_submission(
    kaggle: Kaggle, competition: Competition, package: Package, message: str, limits: dict[str, Any]
) -> LedgerRow:
    """Send a file once; return its row when Kaggle lists it.

    Where the answer is lost Kaggle's list is asked; only when the token is absent, the day's count has not risen and
    nothing can be on its way any more is the file sent a second time.

    Raises
    ------
    InputError, KaggleFailure
        When it was refused or did not arrive, or when that is not known: a later call finds out first.
    """
    if len(message) > MAX_MESSAGE:
        raise InputError(f"-m: {len(message)} characters, Kaggle takes {MAX_MESSAGE}")
    token = _begin(competition, package, message)
    is_last = False
    while True:
        failure = _send_once(kaggle, package, mark(message, token))
        row, is_counted = _look(kaggle, competition, token, failure, limits)
        if row is not None:
            return row
        if failure is None:
            raise _unknown(
                "Kaggle's client reports success, but the submission is not in Kaggle's list", "it looks again"
            )
        if failure.failure.is_refusal:
            _forget(competition, token)
            raise type(failure)(f"{failure}; nothing was submitted", failure.failure)
        if is_counted:
            raise _unknown(f"{failure}; it is not listed, but the day's count has risen", "it looks before it sends")
        if is_last or not failure.failure.may_send_again:
            message = f"{failure}; it is not in Kaggle's list. The next call looks before it sends"
            raise type(failure)(message, failure.failure)
        note(f"{failure}; it is not in Kaggle's list, sending it once more")
        is_last = True


def wait_for_score(kaggle: Kaggle, competition: Competition, ref: str) -> LedgerRow:
    """Wait until a submission is scored; return its row, or InputError with Kaggle's reason why it could not be."""
    told = False
    while True:
        submissions = kaggle.read("list_submissions", slug=kaggle.slug)
        submission = next((each for each in submissions if each["ref"] == ref), None)
        if submission is None:
            raise _unknown(f"submission {ref} is not in Kaggle's list any more", "see its page")
        if submission["status"] != "PENDING":
            break
        if not told:
            note(f"waiting for Kaggle to score it; Ctrl-C loses nothing, {PROGRAM} submissions shows the score later")
            told = True
        time.sleep(WAIT_SECONDS)
    with hold_ledger(competition):
        row = next(row for row in settle(kaggle, competition, submissions) if row["ref"] == ref)
    if submission["status"] == "ERROR":
        raise InputError(f"{row['file']}: Kaggle could not score it: {submission['error'] or 'it gives no reason'}")
    return row


def _begin(competition: Competition, package: Package, message: str) -> str:
    """Write the row of what is going to be sent; return its token."""
    rows = read_ledger(competition)
    pending = next(
        (row for row in reversed(rows) if row["file"] == package.row["file"] and row["status"] == SENDING), None
    )
    unsent = next((row for row in rows if row["file"] == package.row["file"] and not row["ref"]), None)
    row = pending or unsent
    if row is None:
        rows.append(row := {key: package.row.get(key, "") for key in COLUMNS_WHEN_MADE} | {"ref": "", "token": ""})
    row |= {"token": row["token"] or new_token(), "status": SENDING, "message": message}
    write_ledger(competition, rows)
    return row["token"]


def _forget(competition: Competition, token: str) -> None:
    """Note that what was going to be sent was refused."""
    rows = read_ledger(competition)
    for row in rows:
        if row["token"] == token and not row["ref"]:
            row |= {"status": "", "message": "", "token": ""}
    write_ledger(competition, rows)


def _send_once(kaggle: Kaggle, package: Package, message: str) -> KaggleRefusal | KaggleFailure | None:
    """Hand the package to the client; return what went wrong."""
    try:
        if package.path is None:
            kernel = {"kernel": package.kernel, "version": package.version, "file": NOTEBOOK_OUTPUT}
            kaggle.write("submit_code", slug=kaggle.slug, message=message, **kernel)
            return None
        data = package.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != package.row["sha256"]:
            raise InputError(f"{package.path}: was changed while it was being sent; nothing was sent")
        with tempfile.TemporaryDirectory() as folder:  # what was hashed is what is sent
            copy = Path(folder) / package.path.name
            copy.write_bytes(data)
            reply = kaggle.write("submit", slug=kaggle.slug, file=str(copy), message=message, n_bytes=len(data))
    except (KaggleRefusal, KaggleFailure) as error:
        return error
    return None if reply["uploaded"] else kaggle.explain(Failure("submit", "upload"))


def _look(
    kaggle: Kaggle,
    competition: Competition,
    token: str,
    failure: KaggleRefusal | KaggleFailure | None,
    limits: dict[str, Any],
) -> tuple[LedgerRow | None, bool]:
    """Look for a token in Kaggle's list; also return whether the day's count has risen without it."""
    refusal = failure if failure is not None and failure.failure.is_refusal else None
    try:
        for look in range(1 if refusal else LOOKS):
            time.sleep(LOOK_SECONDS * look)
            row = next((row for row in settle(kaggle, competition) if row["token"] == token and row["ref"]), None)
            if row is not None:
                return row, True
        return None, refusal is None and kaggle.read("limits", slug=kaggle.slug)["today"] > limits["today"]
    except (KaggleRefusal, KaggleFailure) as error:
        if refusal:  # it will not have arrived; the token stays, so that the next call looks
            raise refusal from error
        before = f"{failure}; and " if failure else ""
        raise _unknown(f"{before}Kaggle's list cannot be read ({error})", "it looks before it sends") from error


def _unknown(event: str, then: str) -> KaggleFailure:
    """Return what to raise where nobody knows whether the submission arrived."""
    return KaggleFailure(f"{event}. Whether it arrived is not known: call again, {then}", Failure("submit", "timeout"))
