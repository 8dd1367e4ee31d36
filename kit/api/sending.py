"""Sending a run's submission to Kaggle, or scoring a practice competition's here.

Reads finished runs and the ledger; writes a submission where a run has none, and the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kit.core.errors import InputError
from kit.core.names import ENSEMBLE

if TYPE_CHECKING:
    from kit.config.competition import Competition
    from kit.data.prepared import Prepared
    from kit.kaggle.client.session import Kaggle
    from kit.kaggle.submission import LedgerRow, Package
    from kit.runs.store import Result

SLUG_REMEDY = 'slug = "..." in [competition] names the competition at Kaggle'


class Consent(Protocol):
    """Say whether a submission of the day may be spent; each method raises where it may not."""

    def check(self) -> None:
        """Refuse before anything is written, where nobody can be asked."""

    def ask(self, sent_before: list[str]) -> None:
        """Ask, once everything is checked; `sent_before` says when the same was sent already."""


@dataclass(frozen=True)
class Sending:
    """Hold what came of `submit_run`.

    Parameters
    ----------
    row
        Of the ledger.
    is_sent
        Whether Kaggle has it; not after a dry run, nor of a practice competition.
    limits
        The submissions made and left, of a dry run; else None.
    local
        Score and standard error by the solution, of a practice competition; else None.
    """

    row: LedgerRow
    is_sent: bool
    limits: dict[str, Any] | None = None
    local: tuple[float, float] | None = None

    def document(self, competition: Competition) -> dict[str, Any]:
        """Return it as JSON."""
        keys = ("file", "run", "cv", "se", "sha256", "ref", "status", "public", "private", "sent", "message")
        document = {"competition": competition.name, "slug": competition.facts.slug}
        document |= {key: self.row.get(key, "") for key in keys}
        document |= {"sent": self.is_sent} if not self.is_sent else {}
        document |= {} if self.limits is None else {"limits": self.limits}
        return document | ({} if self.local is None else {"local": self.local[0], "local_se": self.local[1]})


def check_kernel(competition: Competition, kernel: str | None, version: int | None) -> None:
    """Refuse half a notebook's version, and any of a practice competition."""
    if (kernel is None) != (version is None):
        raise InputError("-k OWNER/KERNEL and -v VERSION go together")
    if kernel is not None and competition.facts.slug is None:
        raise InputError(
            f"-k {kernel}: {competition.name} is a practice competition, of which no notebook is sent; leave -k and -v "
            f"out, or {SLUG_REMEDY}"
        )


def submit_run(
    prepared: Prepared,
    run: str,
    message: str,
    consent: Consent,
    *,
    wait: bool = False,
    dry_run: bool = False,
    kernel: str | None = None,
    version: int | None = None,
) -> Sending:
    """Send a run's submission: checked before, sent once, believed when Kaggle lists it.

    A run that has no file gets one. Of a practice competition nothing is sent: its solution scores the file here.

    Raises
    ------
    InputError
        When the run has not been trained, its file is not valid, Kaggle takes none, or `consent` says no.
    KaggleFailure
        When it did not arrive, or that is not known.
    """
    from kit.core import terminal
    from kit.kaggle.client.session import Kaggle
    from kit.kaggle.client.slug import read_slug
    from kit.kaggle.submission import check_open, hold_ledger, pack_kernel, wait_for_score

    competition = prepared.competition
    if competition.facts.slug is None:
        return _score_locally(prepared, run)
    with Kaggle(read_slug(competition.facts.slug)) as kaggle:
        if kernel is not None and version is not None:
            package = pack_kernel(prepared, kernel, version, run, _find_result(prepared, run))
        elif (package := _find_package(prepared, run)) is None:
            if not dry_run:
                consent.check()
            check_open(kaggle, is_kernel=False)  # what would be refused leaves no file behind
            package = _write_package(prepared, run)
        with hold_ledger(competition):
            sending = _send(kaggle, competition, package, message or package.row["file"], consent, dry_run)
        if not sending.is_sent:
            return sending
        terminal.stage("submitted", f"{sending.row['file']}, Kaggle's number {sending.row['ref']}")
        return Sending(wait_for_score(kaggle, competition, sending.row["ref"]), True) if wait else sending


def _send(
    kaggle: Kaggle, competition: Competition, package: Package, message: str, consent: Consent, dry_run: bool
) -> Sending:
    """Send what has not arrived already."""
    from kit.core import terminal
    from kit.kaggle.submission import check_open, find_arrived, send_submission, settle

    row = find_arrived(settle(kaggle, competition), package)
    if row is not None:
        terminal.note(f"{row['file']} had arrived by an earlier call; it is not sent again")
        return Sending(row, True)
    limits = check_open(kaggle, is_kernel=package.path is None)
    sent_before = _tell(competition, package, limits)
    if dry_run:
        terminal.note("--dry-run: nothing was sent")
        return Sending(package.row, False, limits)
    consent.ask(sent_before)
    return Sending(send_submission(kaggle, competition, package, message, limits), True)


def _find_package(prepared: Prepared, run: str) -> Package | None:
    """Return the newest file of a run, checked; None where the run is finished and has none."""
    from kit.core import terminal
    from kit.kaggle.submission import find_row, is_of, pack_file

    command = prepared.competition.command
    result, row = _find_result(prepared, run), find_row(prepared.competition, run)
    if row is None:
        if result is None and run != ENSEMBLE:
            raise InputError(f"run {run} has not been trained; {command('train', run)}")
        return None
    if result is None:
        terminal.warn(
            f"{run} as it stands now has not been made: {row['file']} is of other settings; after {command('all')}, "
            f"{command('submission', run)} writes a file of these"
        )
    elif not is_of(prepared, result, row):
        terminal.warn(f"{run} has changed since {row['file']} was written; {command('submission', run)} writes it anew")
    return pack_file(prepared, row)


def _write_package(prepared: Prepared, run: str) -> Package:
    """Write the first file of a run, or of the ensemble; return it, checked."""
    from kit.api.place import holding
    from kit.kaggle.submission import find_row, make_submission, pack_file
    from kit.runs.ensemble import ensemble
    from kit.runs.train import find_members

    with holding(prepared.competition):
        result = _find_result(prepared, run) or ensemble(prepared, find_members(prepared))
        make_submission(prepared, result)
    row = find_row(prepared.competition, run)
    if row is None:
        raise RuntimeError(f"the ledger does not name the file that was written for {run}")
    return pack_file(prepared, row)


def _find_result(prepared: Prepared, run: str) -> Result | None:
    """Return the finished run, or the finished ensemble."""
    from kit.runs.ensemble import find_ensemble, members_of
    from kit.runs.store import find_result, list_imported

    if run == ENSEMBLE:
        return find_ensemble(prepared, members_of(prepared))
    if run not in list_imported(prepared):
        prepared.competition.run(run)
    return find_result(prepared, run)


def _tell(competition: Competition, package: Package, limits: dict[str, Any]) -> list[str]:
    """Say what is going to be sent, what to expect and what is left; warn of what was sent before, and return that."""
    from kit.core import terminal
    from kit.kaggle.submission import describe_left, read_ledger

    row, sent_before = package.row, []
    expected = (
        f"expect {float(row['cv']):.4f} ± {float(row['se']):.4f} (CV ± SE)" if row.get("cv") else "its CV is not known"
    )
    terminal.stage("submit", f"{row['file']} to {competition.facts.slug}: {expected}; {describe_left(limits)}")
    for earlier in read_ledger(competition):
        same = earlier["sha256"] == row["sha256"] if row.get("sha256") else earlier["file"] == row["file"]
        if earlier["ref"] and (same or earlier["file"] == row["file"]):
            when = earlier["sent"] or "at an unknown time"
            score = f", public {earlier['public']}" if earlier["public"] else ""
            sent_before.append(f"{earlier['file']} was sent before, {when} UTC{score}: the same again")
            terminal.warn(sent_before[-1])
    return sent_before


def _score_locally(prepared: Prepared, run: str) -> Sending:
    """Score a practice competition's submission here, by its solution."""
    from kit.core import terminal
    from kit.report.board import local_score, read_solution
    from kit.runs.decide.decisions import decided_test
    from kit.runs.store import result_at

    name, solution = prepared.competition.name, read_solution(prepared)
    if solution is None:
        raise InputError(f"{name} has neither slug nor solution; {SLUG_REMEDY}")
    package = _find_package(prepared, run) or _write_package(prepared, run)
    result = result_at(prepared, package.row["run"], package.row["key"])
    score, error = local_score(prepared, solution, decided_test(prepared, result))[:2]
    terminal.note(f"{name} is a practice competition: nothing is sent, its solution scores {package.row['file']} here")
    return Sending(package.row, False, local=(score, error))


class Given:
    """The consent of a call in Python: given by calling, but not for what was sent before."""

    def __init__(self, again: bool) -> None:
        self._again = again

    def check(self) -> None:
        """Nobody has to be asked."""

    def ask(self, sent_before: list[str]) -> None:
        """Refuse to send the same again unasked."""
        if sent_before and not self._again:
            raise InputError(f"{sent_before[-1]}; nothing was sent: again=True sends it")
