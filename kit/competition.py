"""A competition's facts and runs: the tables of competition.toml as types; nothing is read or written here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kit.errors import InputError, nearest
from kit.files import Workspace
from kit.metrics import METRICS

HOME = Path(__file__).parent / "competitions"
FILE = "competition.toml"
ENSEMBLE = "ensemble"
RESERVED = (ENSEMBLE, "cache", "unpacked")  # names of folders beside the runs'
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Table(BaseModel):
    """Refuse keys nobody reads, and text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Listing(Table):
    """Name the images of one split by a CSV file.

    Parameters
    ----------
    csv
        The CSV file, below the data root.
    images
        The folder its ids are relative to.
    id
        Column of the image's name; the extension is optional. The first column by default.
    label
        Column of the class; the second column by default. Unread for unlabelled and test images.
    group
        Column whose equal values must not straddle folds (a patient, a photographer).
    """

    csv: str
    images: str = "."
    id: str | None = None
    label: str | None = None
    group: str | None = None


Source = str | list[str] | Listing


class Facts(Table):
    """Hold what the organisers decided."""

    title: str
    slug: str | None = None
    task: Literal["multiclass"] = "multiclass"
    metric: str = "accuracy"

    @model_validator(mode="after")
    def _metric_is_known(self) -> Facts:
        if self.metric not in METRICS:
            raise ValueError(f"metric: {self.metric!r} is not a metric; {nearest(self.metric, METRICS)}")
        return self


class Data(Table):
    """Say where the files are, relative to `root`; `root` is relative to the workspace.

    Parameters
    ----------
    root
        The folder as Kaggle gives it.
    labeled
        A folder of class folders, or a CSV listing.
    unlabeled, test
        A folder, several folders, or a CSV listing; zip and tar archives are unpacked.
    sample_submission
        The CSV whose ids, columns and order a submission must have.
    solution
        Practice only: the hidden labels, opened by nothing but the scorer.
    embeddings
        A ``.npy`` file of features given by the organisers, one row per listed id.
    embedded
        ``"digits"`` for the data set that the kit writes itself.
    """

    root: str
    labeled: str | Listing
    unlabeled: Source | None = None
    test: Source | None = None
    sample_submission: str | None = None
    solution: str | None = None
    embeddings: str | None = None
    embedded: Literal["digits"] | None = None


class Folds(Table):
    """Say how the labelled images are split, once.

    Parameters
    ----------
    n
        Number of folds, at least 2; lowered to the size of the smallest class.
    seed
        Seed of the split.
    use
        The folds that are scored: ``[0]`` for one published 80/20 hold-out. All by default.
    """

    n: Annotated[int, Field(ge=2, le=100)] = 5
    seed: int = 0
    use: list[int] | None = None


class PseudoPlan(Table):
    """Say how pseudo labels are chosen for a run.

    Parameters
    ----------
    teachers
        Runs whose fold-k models label the images for fold k.
    rounds
        How often it is repeated, the last round's own models joining the teachers.
    keep_rate
        Share of the pool to keep, 0..1, spread evenly over the classes.
    weight
        Training weight of a pseudo label; a real label has 1.
    agree
        Keep an image only where all teachers name the same class.
    """

    teachers: Annotated[list[str], Field(min_length=1)]
    rounds: Annotated[int, Field(ge=1, le=20)] = 1
    keep_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    weight: Annotated[float, Field(gt=0)] = 1.0
    agree: bool = True


class Run(Table):
    """Hold one experiment: a model, its options, its seed and where its pseudo labels come from."""

    name: str
    model: str
    seed: Annotated[int, Field(ge=0)] = 0
    pseudo: PseudoPlan | None = None
    use_test_images: bool = False
    options: dict[str, Any] = {}


class EnsemblePlan(Table):
    """Say which runs are combined and how.

    Parameters
    ----------
    members
        Names of runs and imports; all of them by default.
    method
        ``"weights"``: temperatures and simplex weights by log-loss; ``"greedy"``: forward selection on the metric.
    """

    members: list[str] | None = None
    method: Literal["weights", "greedy"] = "weights"


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

    @property
    def root(self) -> Path:
        """Return the data folder: relative to the workspace, else to the competition's folder."""
        beside = self.folder / self.data.root
        below = self.workspace.root / self.data.root
        return beside if beside.is_dir() and not below.is_dir() else below

    @property
    def lookup(self) -> tuple[Path, ...]:
        """Return the folders in which a relative path to weights is looked up, in order."""
        return (self.folder, self.root, self.workspace.root)

    def run(self, name: str) -> Run:
        """Return a run by name.

        Raises
        ------
        InputError
            When there is no such run; names the nearest.
        """
        if name not in self.runs:
            raise InputError(f"{self.folder / FILE}: no run {name!r}; {nearest(name, self.runs)}")
        return self.runs[name]


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
