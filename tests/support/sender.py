"""Files of one competition, sent through one session to the stand-in Kaggle."""

from __future__ import annotations

from support.folders import competition_of
from support.kaggle_server import KaggleServer
from support.kaggle_site import write_submissions

from kit.kaggle.client.session import Kaggle
from kit.kaggle.submission.gate import Package, check_open, find_arrived
from kit.kaggle.submission.ledger import read_ledger
from kit.kaggle.submission.send import send_submission, settle

WRITES = ("StartSubmissionUpload", "PUT", "CreateSubmission")


class Sender:
    """Send files of one competition through one session."""

    def __init__(self, tmp_path, n_files: int, server: KaggleServer, kaggle: Kaggle) -> None:
        self.competition = competition_of(tmp_path, 'labeled = "train"', slug=server.slug)
        self.folder = self.competition.workspace.submissions(self.competition.name)
        write_submissions(self.competition, n_files, server.solution)
        self.server, self.kaggle = server, kaggle

    def send(self, i: int = 0) -> dict[str, str]:
        """Do what `submit` does."""
        row = self.ledger[i]
        package = Package(row, self.folder / row["file"])
        arrived = find_arrived(settle(self.kaggle, self.competition), package)
        return arrived or send_submission(self.kaggle, self.competition, package, "m", check_open(self.kaggle, False))

    @property
    def ledger(self) -> list[dict[str, str]]:
        return read_ledger(self.competition)

    def agree(self) -> None:
        """Check that ledger and server say the same."""
        self.server.faults.clear()
        self.server.pending_looks = 0
        settle(self.kaggle, self.competition)
        by_ref = {row["ref"]: (row["file"], row["public"]) for row in self.ledger if row["ref"]}
        assert by_ref == {
            str(submission["ref"]): (submission["fileName"], submission["publicScore"])
            for submission in self.server.submissions
        }
        files = [submission["fileName"] for submission in self.server.submissions]
        assert len(set(files)) == len(files), "a slot was burnt twice"
