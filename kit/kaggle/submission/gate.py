"""Let through what may be sent: the file that the ledger names, valid, to a competition that takes it.

Reads the ledger, the file and Kaggle's facts; writes nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kit.core.errors import InputError, nearest
from kit.core.terminal import note, warn
from kit.data.prepared import Prepared
from kit.kaggle.client.failures import CODE_ONLY, KaggleFailure, KaggleRefusal
from kit.kaggle.client.session import Kaggle
from kit.kaggle.submission.check import check_file
from kit.kaggle.submission.ledger import SENDING, LedgerRow, columns_of, read_ledger
from kit.runs.store import Result


@dataclass(frozen=True)
class Package:
    """Hold what is sent: a file, or a notebook's version, whose `path` is None.

    Its `row` is that of the ledger, or what will be one.
    """

    row: LedgerRow
    path: Path | None = None
    kernel: str | None = None
    version: int | None = None


def pack_file(prepared: Prepared, row: LedgerRow) -> Package:
    """Check the file of a ledger row as Kaggle would, before it costs a submission.

    Raises
    ------
    InputError
        When it is not there, is not the one that the ledger names, or is no valid submission.
    """
    path = prepared.competition.workspace.submissions(prepared.competition.name) / row["file"]
    if path.name != row["file"] or not path.is_file():
        names = [other.name for other in path.parent.glob("*.csv")]
        raise InputError(f"{path}: is not there, the ledger names it; {nearest(path.name, names)}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
        raise InputError(
            f"{path}: has been changed since it was written: its SHA-256 is not the ledger's. Delete it, then "
            f"{prepared.competition.command('submission', row['run'])} writes it again"
        )
    check_file(prepared, path)
    return Package(row, path)


def pack_kernel(prepared: Prepared, kernel: str, version: int, run: str, result: Result | None) -> Package:
    """Return a notebook's version, ready to be sent; the run's CV stands in its row.

    InputError where the notebook is not written as OWNER/KERNEL.
    """
    owner, _, name = kernel.partition("/")
    if not owner or not name or "/" in name or version < 1:
        raise InputError(
            f"-k {kernel} -v {version}: write the notebook as OWNER/KERNEL and its version as a number from 1"
        )
    file = f"{kernel}/{version}"
    if known := next((row for row in reversed(read_ledger(prepared.competition)) if row["file"] == file), None):
        return Package(known, kernel=kernel, version=version)
    columns = {"run": run} if result is None else columns_of(prepared, result)
    return Package({"file": file, "commit": "", **columns}, kernel=kernel, version=version)


def find_arrived(rows: list[LedgerRow], package: Package) -> LedgerRow | None:
    """Return the row of a package whose fate an earlier call did not learn, where Kaggle lists it; else None."""
    if package.row.get("status") != SENDING:
        return None
    return next((row for row in rows if row["token"] == package.row["token"] and row["ref"]), None)


def check_open(kaggle: Kaggle, is_kernel: bool) -> dict[str, Any]:
    """Refuse what Kaggle would refuse after the upload; return the submissions made and left.

    Raises
    ------
    InputError
        When the limit is reached, the competition closed, or it takes notebooks only.
    """
    try:
        facts = kaggle.read("competition", slug=kaggle.slug)
    except (KaggleRefusal, KaggleFailure) as error:
        note(f"the competition's facts are not known, going on without ({error})")
        facts = {}
    page = f"https://www.kaggle.com/competitions/{kaggle.slug}"
    if facts.get("isKernelsSubmissionsOnly") and not is_kernel:
        raise InputError(f"{kaggle.slug} takes notebooks only; {CODE_ONLY}")
    if facts.get("submissionsDisabled"):
        raise InputError(f"{kaggle.slug} takes no submissions at present; {page}")
    if _is_past(facts.get("deadline")):
        warn(f"the deadline has passed ({facts['deadline']}): where Kaggle takes late submissions they have no rank")
    left = kaggle.read("limits", slug=kaggle.slug)
    # A user who has never submitted has no team yet, and all of these are 0.
    if left["left"] < 1 and (left["today"] or left["total"]):
        if left["limited_by_total"]:
            raise InputError(f"{kaggle.slug}: no submissions left in all ({left['total']} made); nothing was sent")
        raise InputError(
            f"{kaggle.slug}: no submissions left today ({left['today']} made); the count begins anew at midnight UTC; "
            "nothing was sent"
        )
    return left


def _is_past(deadline: str | None) -> bool:
    """Return whether Kaggle's time, UTC, has passed."""
    if not deadline:
        return False
    return pd.Timestamp(deadline.rstrip("Z"), tz="UTC") < pd.Timestamp.now(tz="UTC")
