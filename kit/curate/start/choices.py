"""What a person may answer beforehand, and what was chosen: evidence, alternatives, the option that corrects it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kit.core.errors import InputError, nearest
from kit.core.names import MULTICLASS, MULTILABEL
from kit.scoring.metrics import check_metric_name


@dataclass(frozen=True)
class Answers:
    """Hold what the options of `new` say; None where the files shall tell.

    Parameters
    ----------
    label, id, group
        Columns of the labelled images' CSV, or ``FILE:COLUMN``; a `group` ``"none"`` that is no column means none.
    metric
        A metric's name, see `kit.scoring.metrics`.
    positive
        The class whose probability the submission holds.
    task
        ``"multiclass"`` or ``"multilabel"``.
    slug
        Kaggle's name for the competition, or its address.
    """

    label: str | None = None
    id: str | None = None
    group: str | None = None
    metric: str | None = None
    positive: str | None = None
    task: str | None = None
    slug: str | None = None

    def check(self) -> None:
        """Refuse, with an InputError, a task or metric that does not exist, or a metric that is not of the task."""
        if self.task not in (None, MULTICLASS, MULTILABEL):
            raise InputError(f"--task {self.task}: {nearest(self.task, (MULTICLASS, MULTILABEL))}")
        if self.metric is None:
            return None
        complaints = []
        for task in (self.task,) if self.task else (MULTICLASS, MULTILABEL):
            try:
                return check_metric_name(self.metric, task)
            except ValueError as error:
                complaints.append(str(error))
        raise InputError(f"--{complaints[0]}")


@dataclass(frozen=True)
class Choice:
    """Say what was taken for one of the questions a competition answers.

    Parameters
    ----------
    question
        ``label``, ``ids``, ``test``, ``group``, ``metric``, ...
    value
        The answer, as it is shown.
    evidence
        Why; one sentence.
    rejected
        The alternatives.
    option
        What corrects it on the command line; empty where nothing but the file does.
    is_guess
        Whether no file says it.
    """

    question: str
    value: str
    evidence: str
    rejected: tuple[str, ...] = ()
    option: str = ""
    is_guess: bool = False

    @property
    def reason(self) -> str:
        """Return the evidence in one line, the alternatives behind it."""
        others = f"; rather than {', '.join(self.rejected)}" if self.rejected else ""
        return f"{'a guess: ' if self.is_guess else ''}{self.evidence}{others}"


def split_answer(answer: str, files: Iterable[str]) -> tuple[str | None, str]:
    """Return the file and the column that ``FILE:COLUMN`` names; no file where only a column is named."""
    file, colon, column = answer.partition(":")
    return (file, column) if colon and file in set(files) else (None, answer)
