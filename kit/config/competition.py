"""A competition's facts and runs: the tables of competition.toml as types; nothing is read or written here."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ConfigDict

from kit.config.data import Data, Facts
from kit.config.known import HOME
from kit.config.plans import DecisionPlan, EnsemblePlan, Folds, Mining, SubmissionPlan
from kit.config.runs import Run
from kit.config.strict import Table
from kit.core.errors import InputError, nearest, some
from kit.core.files import Workspace
from kit.core.names import COMPETITION_FILE, ENSEMBLE, MULTILABEL, command_line, default_workspace
from kit.scoring.metrics import METRICS, Metric, find_metric
from kit.scoring.metrics.custom import CUSTOM_NAME, locate_custom
from kit.scoring.task import Task

# names of folders beside the runs'
RESERVED = (
    ENSEMBLE, "bundle", "cache", "explain", "history", "mined", "remote", "report", "track", "triage", "tune",
    "unpacked",
)  # fmt: skip
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Competition(Table):
    """Hold everything competition.toml says, checked, and where its files are.

    Parameters
    ----------
    name
        The folder's name; names folds/NAME.csv, runs/NAME and submissions/NAME.
    folder
        The folder of competition.toml.
    workspace
        Where data, runs, folds and submissions lie.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)

    name: str
    folder: Path
    workspace: Workspace
    facts: Facts
    data: Data
    folds: Folds
    runs: dict[str, Run]
    ensemble: EnsemblePlan
    mining: Mining | None = None
    decision: DecisionPlan = DecisionPlan()
    submission: SubmissionPlan = SubmissionPlan()

    @property
    def root(self) -> Path:
        """Return the data folder: below the competition's folder where it exists, else below the workspace.

        The competitions that come with the kit have theirs always in the workspace.
        """
        beside = self.folder / self.data.root
        comes_with_kit = self.folder.parent == HOME
        return beside if beside.is_dir() and not comes_with_kit else self.workspace.root / self.data.root

    @property
    def file(self) -> Path:
        """Return competition.toml: what messages name."""
        return self.folder / COMPETITION_FILE

    @property
    def metric(self) -> Metric:
        """Return the metric; a custom one is looked for beside competition.toml, then in the workspace.

        One whose file is missing or cannot be run raises InputError. What it has to know of the classes
        `kit.data.prepared.Prepared.metric` tells it.
        """
        return find_metric(self.facts.metric, (self.folder, self.workspace.root))

    @property
    def metric_file(self) -> tuple[Path, Path] | None:
        """Return the folder that holds the user's own metric, and its file relative to it; None for one of the kit."""
        name = self.facts.metric
        if name in METRICS or not CUSTOM_NAME.fullmatch(name):
            return None
        return locate_custom(name, (self.folder, self.workspace.root))

    @property
    def task(self) -> Task:
        """Return what is predicted of an image."""
        return Task(self.facts.task, self.data.hierarchy is not None)

    @property
    def lookup(self) -> tuple[Path, ...]:
        """Return the folders in which a relative path to weights is looked up, in order."""
        return (self.folder, self.root, self.workspace.root)

    @property
    def is_known(self) -> bool:
        """Return whether its name finds it, rather than the path of its folder."""
        homes = (self.workspace.root / "competitions", HOME)  # as names are looked up
        folders = (home / self.name for home in homes if (home / self.name / COMPETITION_FILE).is_file())
        return next(folders, None) == self.folder

    def command(self, word: str, *rest: str) -> str:
        """Return a command, such as ``"train"`` or ``"remote push"``, on this competition; `rest` follows its name."""
        comp = self.name if self.is_known else str(self.folder)
        elsewhere = [] if self.workspace.root == default_workspace() else ["--workspace", str(self.workspace.root)]
        return command_line(*word.split(), comp, *rest, *elsewhere)

    def run(self, name: str) -> Run:
        """Return a run by name; where there is none, an InputError names the nearest."""
        if grid := self._runs_of_grid(name):
            raise InputError(f"{self.file}: {name} is a grid; name one of its runs: {some(grid)}")
        if name not in self.runs:
            raise InputError(f"{self.file}: no run {name!r}; {nearest(name, self.runs)}")
        return self.runs[name]

    def check_single(self, what: str) -> None:
        """Refuse what needs one class per image where it may have several; `what` begins the InputError."""
        if self.facts.task == MULTILABEL:
            raise InputError(f'{self.file}: {what}: not where images have several labels, task = "multilabel"')

    def runs_of(self, name: str) -> list[str]:
        """Return the names of a grid's runs, or of the one run of this name; else an InputError names the nearest."""
        grids = {run.grid for run in self.runs.values() if run.grid}
        if name not in grids and name not in self.runs:
            raise InputError(f"{self.file}: no run {name!r}; {nearest(name, {*self.runs, *grids})}")
        return self._runs_of_grid(name) or [name]

    @property
    def default_runs(self) -> list[str]:
        """Return the runs that are trained where none is named: of the grids' only members of the ensemble."""
        members = self.ensemble.members or ()
        return [name for name, run in self.runs.items() if run.grid is None or name in members]

    def _runs_of_grid(self, name: str) -> list[str]:
        return [run.name for run in self.runs.values() if run.grid == name]


def order_runs(competition: Competition, names: list[str]) -> list[str]:
    """Return `names` and the teachers they need, teachers first."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name in ordered or name not in competition.runs:
            return
        plan = competition.runs[name].pseudo
        for teacher in plan.teachers if plan else ():
            visit(teacher)
        ordered.append(name)

    for name in names:
        visit(name)
    return ordered
