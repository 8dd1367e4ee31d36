"""Write a run's submission: the sample file filled with its test predictions, checked, with a row of the ledger.

Writes ``submissions/NAME/NNN_RUN.csv`` and a row of ``submissions/NAME/ledger.csv``.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

from kit.core.errors import some
from kit.core.files import hash_file, write_atomic
from kit.core.terminal import note, stage
from kit.data.prepared import Prepared
from kit.kaggle.submission.fill import fill, write_table
from kit.kaggle.submission.ledger import LedgerRow, columns_of, hold_ledger, is_of, read_ledger, write_ledger
from kit.kaggle.submission.sample import read_sample
from kit.runs.decide.decisions import decided_test
from kit.runs.store import Result, commit


def make_submission(prepared: Prepared, result: Result) -> Path:
    """Write the next submission of a run and return it; where an equal file was written before, return that.

    An equal file is known by its content, not by the ledger: a kill between the two leaves a file without a row, which
    is added now.

    Raises
    ------
    InputError
        When there are no test images, the sample file is missing, names other ids, asks for what is not a class or has
        no room for what the metric reads, or the finished table fails a check.
    """
    sample = read_sample(prepared)
    table = fill(prepared, sample, decided_test(prepared, result, note))
    text = write_table(sample, table).encode()
    digest = hashlib.sha256(text).hexdigest()
    folder = prepared.competition.workspace.submissions(prepared.competition.name)
    path = _find_written(folder, result.name, digest)
    ledger = read_ledger(prepared.competition)
    if path is not None:
        stage("submission", f"{path}: written before, the predictions are the same")
    else:
        path = folder / f"{_next_number(folder, ledger):03d}_{result.name}.csv"
        with write_atomic(path) as file:
            file.write(text)
        twins = [row["file"] for row in ledger if row["sha256"] == digest]
        same = f"; {some(twins)} says the same of every image" if twins else ""
        stage("submission", f"{path}: written{same}")
    rows = [row for row in ledger if row["file"] == path.name and row["sha256"] == digest]
    if not any(is_of(prepared, result, row) for row in rows):
        _note_made(prepared, path, result, digest)
    return path


def _note_made(prepared: Prepared, path: Path, result: Result, digest: str) -> None:
    """Note in the ledger of which run a file is; a row of the same file that was not sent is replaced."""
    competition = prepared.competition
    made = {"sha256": digest, "commit": commit(), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    with hold_ledger(competition):
        rows = [
            row
            for row in read_ledger(competition)
            if row["sha256"] != digest or row["file"] != path.name or row["ref"] or row["token"]
        ]
        write_ledger(competition, [*rows, {"file": path.name, **columns_of(prepared, result), **made}])


def _find_written(folder: Path, run: str, digest: str) -> Path | None:
    """Return the newest submission of a run that has this SHA-256, or None."""
    name = re.compile(rf"\d+_{re.escape(run)}\.csv")
    written = sorted((path for path in folder.glob("*.csv") if name.fullmatch(path.name)), reverse=True)
    return next((path for path in written if hash_file(path) == digest), None)


def _next_number(folder: Path, ledger: list[LedgerRow]) -> int:
    """Return the number after the highest in the folder or the ledger: a deleted file's number is not used again."""
    names = [*(path.name for path in folder.glob("*.csv")), *(row["file"] for row in ledger)]
    return max((int(number[1]) for name in names if (number := re.match(r"(\d+)_", name))), default=0) + 1
