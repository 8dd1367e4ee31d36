"""A competition's facts and runs: the tables of competition.toml as types; nothing is read or written here."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kit.errors import InputError, nearest, some
from kit.files import Workspace
from kit.metrics import Metric, check_name, find_metric

HOME = Path(__file__).parent / "competitions"
FILE = "competition.toml"
ENSEMBLE = "ensemble"
RESERVED = (ENSEMBLE, "bundle", "cache", "explain", "mined", "report", "triage", "tune", "unpacked")  # names of folders beside the runs'
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
        A list of columns for those that `form` ``"columns"`` and ``"tags"`` read; all but id and group by default.
    group
        Column whose equal values must not straddle folds (a patient, a photographer).
    form
        With several labels per image, how they are written: ``"rows"``, a row per image and label; ``"cell"``, all in
        one cell; ``"columns"``, a column per class that holds 0 or 1; ``"tags"``, columns that each hold a label or
        nothing, as in Azure Custom Vision's export. Found out where there is no doubt.
    separator
        Of ``"cell"``: what stands between two labels. Found out where there is no doubt.
    """

    csv: str
    images: str = "."
    id: str | None = None
    label: str | Annotated[list[str], Field(min_length=1)] | None = None
    group: str | None = None
    form: Literal["rows", "cell", "columns", "tags"] | None = None
    separator: Annotated[str, Field(min_length=1)] | None = None


Source = str | list[str] | Listing


class Tree(Table):
    """Say which class stands above which: by the labels' own paths, or by a CSV file.

    Parameters
    ----------
    separator
        What stands between the parts of a label that is a path, such as ``Cans/Slim/Cranpom``.
    csv
        A CSV file below the data root: of the columns `child` and `parent`, or of a column for each of `levels`.
    child, parent
        Its columns; the first and the second by default. An empty parent says that a class has none.
    levels
        Names of the levels, the coarsest first: with `csv` its columns, of which the last holds the classes; with
        `separator` names for ``level_1``, ``level_2``, ... of single-label classes.
    """

    separator: Annotated[str, Field(min_length=1)] | None = None
    csv: str | None = None
    child: str | None = None
    parent: str | None = None
    levels: Annotated[list[str], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Tree:
        if (self.separator is None) == (self.csv is None):
            raise ValueError('hierarchy needs either separator = "/" or csv = "file.csv"')
        named = self.child is not None or self.parent is not None
        if named and (self.csv is None or self.levels is not None):
            raise ValueError("hierarchy.child and hierarchy.parent are columns of a csv without levels")
        if self.csv is not None and self.levels is not None and len(self.levels) < 2:
            raise ValueError("hierarchy.levels of a csv needs two columns at least, the last of them the classes")
        return self


def _tree_of(value: object) -> object:
    """Let a separator alone stand for the table that holds it."""
    return {"separator": value} if isinstance(value, str) else value


class Facts(Table):
    """Hold what the organisers decided.

    Parameters
    ----------
    title
        What the competition is called.
    slug
        Kaggle's name of it; absent for practice.
    task
        ``"multiclass"``: one label per image; ``"multilabel"``: several, or none.
    metric
        A name in `kit.metrics.METRICS`; ``map@K`` or ``top_K`` for a number K; or ``module.function`` of a Python file
        beside competition.toml or in the workspace, see `kit.metrics.own`.
    """

    title: str
    slug: str | None = None
    task: Literal["multiclass", "multilabel"] = "multiclass"
    metric: str = "accuracy"

    @model_validator(mode="after")
    def _metric_suits(self) -> Facts:
        check_name(self.metric, self.task)
        return self


class Data(Table):
    """Say where the files are, relative to `root`; `root` is relative to the workspace.

    Parameters
    ----------
    root
        The folder as Kaggle gives it.
    labeled
        A folder of class folders, or a CSV listing; a list of them where training and validation images lie apart.
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
    labels_are_mined
        The labels are those that `mine` wrote: opinions, so that what CV measures is agreement with them.
    hierarchy
        Which class stands above which: ``"/"`` where labels are paths, or a table, see `Tree`.
    merge
        Classes that shall be one: ``{ new = ["a", "b"] }``, the names as the files have them.
    """

    root: str
    labeled: str | Listing | Annotated[list[str | Listing], Field(min_length=1)]
    unlabeled: Source | None = None
    test: Source | None = None
    sample_submission: str | None = None
    solution: str | None = None
    embeddings: str | None = None
    embedded: Literal["digits"] | None = None
    labels_are_mined: bool = False
    hierarchy: Annotated[Tree | None, BeforeValidator(_tree_of)] = None
    merge: dict[str, Annotated[list[str], Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _each_class_is_merged_once(self) -> Data:
        counts = Counter(name for olds in self.merge.values() for name in olds)
        if twice := [name for name, n in counts.items() if n > 1]:
            raise ValueError(f"merge: class {some(map(repr, twice))} stands twice; a class becomes one other")
        return self

    @property
    def score_name(self) -> str:
        """Return what a score on the labels is called: on mined ones it is agreement, and no accuracy."""
        return "agreement" if self.labels_are_mined else "CV"

    @property
    def labeled_sources(self) -> list[str | Listing]:
        """Return the sources of the labelled images."""
        return self.labeled if isinstance(self.labeled, list) else [self.labeled]

    @property
    def renamed(self) -> dict[str, str]:
        """Return the new name of every class that is merged."""
        return {old: new for new, olds in self.merge.items() for old in olds}


class Mining(Table):
    """Say how labels are mined: which images stand for a class, and how near an image must be to one of them.

    Parameters
    ----------
    exemplars
        Images of known class: ``{ class = "image" }``, ``{ class = ["image", "image"] }``, or a CSV file of the
        columns id and label. An image is an id of the pool or a file below the data root.
    encoder, encoder_args
        Whose features are compared; ``"given"`` for the organisers' embeddings.
    threshold
        Cosine similarity to the nearest exemplar from which an image gets its class, -1..1; below it is none of these.
    thresholds
        The thresholds that are shown side by side.
    mutual
        Take an image only where it and its exemplar are among each other's nearest neighbours.
    n_neighbors
        How many neighbours are near enough for that.
    """

    exemplars: str | dict[str, str | list[str]]
    encoder: str = "given"
    encoder_args: dict[str, Any] = {}
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.7
    thresholds: list[Annotated[float, Field(ge=-1, le=1)]] = [0.7, 0.75, 0.8]
    mutual: bool = False
    n_neighbors: Annotated[int, Field(ge=1, le=10_000)] = 50


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


class Cores(Table):
    """Say how k-means cores vouch for pseudo labels.

    Parameters
    ----------
    encoder, encoder_args
        Whose features are clustered.
    per_class
        Clusters per class.
    share
        Share of each cluster, nearest its centre, that is its core, 0..1.
    """

    encoder: str
    encoder_args: dict[str, Any] = {}
    per_class: Annotated[int, Field(ge=1, le=100)] = 3
    share: Annotated[float, Field(gt=0, le=1)] = 0.5


class PseudoPlan(Table):
    """Say how pseudo labels are chosen for a run.

    Parameters
    ----------
    teachers
        Runs whose fold-k models label the images for fold k.
    rounds
        How often it is repeated, the last round's own models joining the teachers.
    strategy
        ``"balanced"``: the same number of the most confident images for every class; ``"top_k"``: `k` of them;
        ``"threshold"``: all at least as confident as `threshold`; ``"adaptive"``: a threshold for every class that
        follows the teachers' own confidence (FreeMatch).
    keep_rate
        Of ``"balanced"``: share of the pool to keep, 0..1, spread evenly over the classes.
    k
        Of ``"top_k"``: images per class.
    threshold
        Of ``"threshold"``: probability, 0..1.
    align
        Scale the teachers' probabilities so that their mean over the pool follows a class prior: ``"labeled"`` (the
        labelled images'), ``"uniform"``, or ``"none"``.
    align_strength
        How far, 0..1: at 0.5 the pool is taken to lie halfway between the prior and what the teachers say.
    agree
        Keep an image only where all teachers name the same class.
    cores
        Keep an image only in the core of a cluster that is matched to the same class.
    weight
        Training weight of a pseudo label, above 0; a real label has 1. ``"confidence"``: the teachers' probability.
    total_weight
        Weight of all pseudo labels together, in multiples of all real labels'; `weight` then says how they share it.
        However large the pool, the real labels are heard and the fit stays as regularised as it was.
    """

    teachers: Annotated[list[str], Field(min_length=1)]
    rounds: Annotated[int, Field(ge=1, le=20)] = 1
    strategy: Literal["balanced", "top_k", "threshold", "adaptive"] = "balanced"
    keep_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    k: Annotated[int, Field(ge=1)] = 16
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.95
    align: Literal["none", "labeled", "uniform"] = "none"
    align_strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    agree: bool = True
    cores: Cores | None = None
    weight: Annotated[float, Field(gt=0)] | Literal["confidence"] = 1.0
    total_weight: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _options_are_read(self) -> PseudoPlan:
        for option, strategy in READ_BY.items():
            if self.strategy != strategy and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f'{option} is read by strategy = "{strategy}" alone, not by "{self.strategy}"')
        if self.align == "none" and self.align_strength != 1:
            raise ValueError('align_strength is read with align = "labeled" or "uniform" alone')
        return self


READ_BY = {"keep_rate": "balanced", "k": "top_k", "threshold": "threshold"}  # the strategy that reads an option


class Run(Table):
    """Hold one experiment: a model, its options, its seed and where its pseudo labels come from.

    With `bags` above 1 each fold's model is the mean of so many copies on bootstrap draws of the training images.
    With `seeds` above 1 it is the mean of the models of so many runs that differ in their seed: `seed`, `seed` + 1, ...
    `exclude` names a CSV of labelled images (column id) that no fold trains on, or (column weight, 0..1) less; their
    rows stay in the oof.
    With `refit` the submission is that of one model fitted on every label, whose CV is not measured, in place of the
    mean of the folds' models.
    A run of a grid names it: such a run is trained and combined only where it, or the grid, is asked for.
    `search` says what `tune` tries, in place of what the model's fields declare; nothing else reads it.
    """

    name: str
    model: str
    seed: Annotated[int, Field(ge=0)] = 0
    pseudo: PseudoPlan | None = None
    use_test_images: bool = False
    bags: Annotated[int, Field(ge=1, le=100)] = 1
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    refit: bool = False
    exclude: str | None = None
    grid: str | None = None
    search: dict[str, Any] = {}
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _copies_differ_in_one_way(self) -> Run:
        if self.bags > 1 and self.seeds > 1:
            raise ValueError("bags and seeds: every bag has a seed of its own already; set one of the two")
        return self

    @property
    def n_copies(self) -> int:
        """Return how many models of a fold are averaged."""
        return max(self.bags, self.seeds)


class EnsemblePlan(Table):
    """Say which runs are combined and how.

    Parameters
    ----------
    members
        Names of runs and imports; all of them but the grids' runs by default.
    method
        ``"weights"``: temperatures and simplex weights by log-loss; ``"greedy"``: forward selection on the metric.
    """

    members: list[str] | None = None
    method: Literal["weights", "greedy"] = "weights"


class DecisionPlan(Table):
    """Say what is decided once the probabilities are known.

    Parameters
    ----------
    thresholds
        With several labels per image, the probability from which on an image has a class: ``"nested"`` to choose one
        for each class on the other folds' oof rows, a number for all, ``{ class = 0.3 }``, or a TOML file of such lines
        beside competition.toml.
    separator
        What parts several labels in the cell of a submission; what parts them in the sample file by default.
    parents
        Whether such a cell names a label's parents too; by default where labels are no paths that name them.
    none_of_these
        What an image is called that shows none of the classes: the label in a submission of one label, a row of zeros
        in one with a column per class, or a 1 in a column of this name. With several labels per image, what is written
        where there is none. Without it every image gets a class.
    score
        With one label per image, what tells such images: ``"max_probability"``, ``"energy"``, ``"similarity"`` to the
        nearest labelled images, ``"distance"`` to the class means, or ``"combined"``, the mean rank of all but the
        energy.
    encoder, encoder_args
        Whose features are compared; by default those of the run, or of the ensemble's members.
    accept_rate
        Share of held-out labelled images that are kept, above 0 and below 1, or ``"leave_one_out"`` to choose it by
        hiding each class in turn. No image that shows none of the classes takes part in either.
    """

    thresholds: Literal["nested"] | Annotated[float, Field(gt=0, lt=1)] | str | dict[str, float] = "nested"
    separator: Annotated[str, Field(min_length=1)] | None = None
    parents: bool | None = None
    none_of_these: Annotated[str, Field(min_length=1)] | None = None
    score: Literal["combined", "max_probability", "energy", "similarity", "distance"] = "combined"
    encoder: str | None = None
    encoder_args: dict[str, Any] = {}
    accept_rate: Annotated[float, Field(gt=0, lt=1)] | Literal["leave_one_out"] = 0.95

    @model_validator(mode="after")
    def _thresholds_are_probabilities(self) -> DecisionPlan:
        given = self.thresholds if isinstance(self.thresholds, dict) else {}
        if odd := [f"{name} = {value}" for name, value in given.items() if not 0 < value < 1]:
            raise ValueError(f"thresholds must lie above 0 and below 1: {some(odd)}")
        return self


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

    @property
    def root(self) -> Path:
        """Return the data folder: relative to the workspace, else to the competition's folder."""
        beside = self.folder / self.data.root
        below = self.workspace.root / self.data.root
        return beside if beside.is_dir() and not below.is_dir() else below

    @property
    def metric(self) -> Metric:
        """Return the metric; a user's own is looked for beside competition.toml, then in the workspace.

        Raises
        ------
        InputError
            When a user's own metric is not there or cannot be run.
        """
        return find_metric(self.facts.metric, (self.folder, self.workspace.root))

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
        if grid := self._runs_of_grid(name):
            raise InputError(f"{self.folder / FILE}: {name} is a grid; name one of its runs: {some(grid)}")
        if name not in self.runs:
            raise InputError(f"{self.folder / FILE}: no run {name!r}; {nearest(name, self.runs)}")
        return self.runs[name]

    def check_single(self, what: str) -> None:
        """Refuse what takes one class per image where an image may have several.

        Parameters
        ----------
        what
            What cannot be done, and why, as a sentence begins.

        Raises
        ------
        InputError
            Where the task is ``"multilabel"``.
        """
        if self.facts.task == "multilabel":
            raise InputError(f'{self.folder / FILE}: {what}: not where images have several labels, task = "multilabel"')

    def runs_of(self, name: str) -> list[str]:
        """Return the names of a grid's runs, or of the one run that is called so.

        Raises
        ------
        InputError
            When there is neither; names the nearest.
        """
        grids = {run.grid for run in self.runs.values() if run.grid}
        if name not in grids and name not in self.runs:
            raise InputError(f"{self.folder / FILE}: no run {name!r}; {nearest(name, {*self.runs, *grids})}")
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
