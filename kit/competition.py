"""A competition's facts and runs: competition.toml, read strictly.

Reads ``kit/competitions/NAME/competition.toml`` (or a folder given by path); writes nothing. An unknown key, a wrong
type or a missing file is refused with the file, the table, the key and the nearest valid name.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kit.errors import InputError, nearest
from kit.files import Workspace
from kit.metrics import METRICS

HOME = Path(__file__).parent / "competitions"
FILE = "competition.toml"
ENSEMBLE = "ensemble"
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
    seed: int = 0
    pseudo: PseudoPlan | None = None
    use_test_images: bool = False
    options: dict[str, Any] = {}


class EnsemblePlan(Table):
    """Say which runs are combined and how.

    Parameters
    ----------
    members
        Run names, imported ones included; all runs by default.
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
    def members(self) -> list[str]:
        """Return the ensemble's members."""
        return list(self.runs) if self.ensemble.members is None else self.ensemble.members

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


def list_competitions(workspace: Workspace) -> dict[str, Path]:
    """Return the known competitions by name: the kit's and those of the workspace, which win."""
    found: dict[str, Path] = {}
    for home in (HOME, workspace.root / "competitions"):
        found |= {file.parent.name: file.parent for file in sorted(home.glob(f"*/{FILE}"))}
    return found


def read_competition(
    name: str, workspace: Workspace, changes: tuple[str, ...] = (), seed: int | None = None
) -> Competition:
    """Read a competition by name or by the path of its folder.

    Parameters
    ----------
    name
        A folder's name under kit/competitions, or a path to a folder holding competition.toml.
    workspace
        Where data and results lie.
    changes
        ``table.key=value`` overrides, the value in TOML's notation (a bare word is taken as text).
    seed
        Seed of every run, in place of the runs' own.

    Raises
    ------
    InputError
        When there is no such competition, the TOML cannot be read, or it says something unknown or impossible.
    """
    folder = _find_folder(name, workspace)
    file = folder / FILE
    tables = _read_toml(file)
    for change in changes:
        _apply_change(tables, change)
    for table in tables.get("runs", {}).values():
        if seed is not None and isinstance(table, dict):
            table["seed"] = seed
    known = {"competition": Facts, "data": Data, "folds": Folds, "runs": dict, "ensemble": EnsemblePlan}
    for table in tables:
        if table not in known:
            raise InputError(f"{file}: unknown table [{table}]; {nearest(table, known)}")
    for table in ("competition", "data"):
        if table not in tables:
            raise InputError(f"{file}: table [{table}] is missing")
    competition = Competition(
        name=folder.name,
        folder=folder,
        workspace=workspace,
        facts=_parse(Facts, tables["competition"], file, "competition"),
        data=_parse(Data, tables["data"], file, "data"),
        folds=_parse(Folds, tables.get("folds", {}), file, "folds"),
        runs={run: _parse_run(run, table, file) for run, table in tables.get("runs", {}).items()},
        ensemble=_parse(EnsemblePlan, tables.get("ensemble", {}), file, "ensemble"),
    )
    _check_folds_in_use(competition, file)
    _check_teachers(competition, file)
    return competition


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


def _find_folder(name: str, workspace: Workspace) -> Path:
    """Return the folder of a competition given by name or by path."""
    competitions = list_competitions(workspace)
    if name in competitions:
        return competitions[name]
    path = Path(name).expanduser()
    if path.name == FILE and path.is_file():
        path = path.parent
    if (path / FILE).is_file():
        return path.resolve()
    if path.is_dir():
        raise InputError(f"{path}: no {FILE} there; ./run.sh new NAME --data {path} writes one")
    raise InputError(f"no competition {name!r}; {nearest(name, competitions)}")


def _read_toml(file: Path) -> dict[str, Any]:
    """Read TOML; name the line of a syntax error."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 (byte {error.start}); save it as UTF-8") from error


def _apply_change(tables: dict[str, Any], change: str) -> None:
    """Apply one ``runs.NAME.lr=1e-6`` to the tables read from TOML."""
    path, equals, text = change.partition("=")
    *parents, key = path.strip().split(".")
    if not equals or not parents:
        raise InputError(f"--set {change}: write it as table.key=value, for example runs.probe.C=30")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = tables
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):
            if table is not tables or parent not in ("folds", "ensemble", "runs"):
                raise InputError(f"--set {change}: no table {parent!r}; {nearest(parent, table)}")
            inner = table[parent] = {}
        table = inner
    table[key] = value


def _parse(table_type: type[Table], table: object, file: Path, name: str) -> Any:
    """Check one table; turn pydantic's first complaint into our sentence."""
    try:
        return table_type.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function", "list[")))
        if first["type"] == "extra_forbidden":
            fields = table_type.model_fields
            cause = f"unknown key {path!r}; {nearest(path.split('.')[-1], fields)}"
        elif first["type"] == "missing":
            cause = f"key {path!r} is missing"
        else:
            cause = f"{path + ': ' if path else ''}{first['msg'].removeprefix('Value error, ')}"
            if "input" in first and path:
                cause += f" (it is {first['input']!r})"
        raise InputError(f"{file}: [{name}] {cause}") from error


def _parse_run(name: str, table: object, file: Path) -> Run:
    """Split a run's table into what the pipeline reads and the model's own options."""
    if not RUN_NAME.fullmatch(name) or name == ENSEMBLE:
        raise InputError(f"{file}: [runs.{name}] is not a run name: letters, digits, _ and -; not {ENSEMBLE!r}")
    if not isinstance(table, dict):
        raise InputError(f"{file}: [runs.{name}] must be a table")
    own = {key: value for key, value in table.items() if key in Run.model_fields and key not in ("name", "options")}
    options = {key: value for key, value in table.items() if key not in own}
    return _parse(Run, {"name": name, "options": options, **own}, file, f"runs.{name}")


def _check_folds_in_use(competition: Competition, file: Path) -> None:
    """Refuse a scored fold that does not exist."""
    use = competition.folds.use
    if use is not None and (not use or len(set(use)) < len(use) or not set(use) <= set(range(competition.folds.n))):
        raise InputError(f"{file}: [folds] use = {use}: name different folds of 0..{competition.folds.n - 1}")


def _check_teachers(competition: Competition, file: Path) -> None:
    """Refuse unknown teachers and circles of teachers."""
    for name in competition.runs:
        seen, ahead = set(), [name]
        while ahead:
            run = competition.runs[ahead.pop()]
            for teacher in run.pseudo.teachers if run.pseudo else ():
                if teacher == name:
                    raise InputError(f"{file}: [runs.{name}] pseudo.teachers: {name} would teach itself")
                if teacher not in competition.runs:
                    hint = nearest(teacher, set(competition.runs) - {name})
                    raise InputError(f"{file}: [runs.{run.name}] pseudo.teachers: no run {teacher!r}; {hint}")
                if teacher not in seen:
                    seen.add(teacher)
                    ahead.append(teacher)
