"""Read competition.toml, strictly.

Reads ``kit/competitions/NAME/competition.toml``, or the one of a folder given by path; writes nothing. An unknown key,
a wrong type or an unknown name is refused with the file, the table, the key and the nearest valid name.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kit.config.competition import RESERVED, RUN_NAME, Competition
from kit.config.data import ClassNames, Data, Facts, Listing, Tree
from kit.config.grid import expand_grids
from kit.config.known import list_competitions, list_own
from kit.config.plans import DecisionPlan, EnsemblePlan, Folds, Mining, SubmissionPlan
from kit.config.runs import Cores, PseudoPlan, Run
from kit.config.strict import Table
from kit.core.errors import InputError, nearest, plain, some
from kit.core.files import Workspace
from kit.core.names import COMPETITION_FILE, MULTILABEL, PROGRAM

AnyTable = TypeVar("AnyTable", bound=Table)

NESTED_TABLES: dict[str, type[Table]] = {
    "pseudo": PseudoPlan,
    "cores": Cores,
    "Listing": Listing,
    "ClassNames": ClassNames,
    "hierarchy": Tree,
}  # by pydantic's names
UNION_TAGS = ("function", "list[", "str", "Listing", "ClassNames")  # pydantic's names of what a value might have been


def read_competition(
    name: str, workspace: Workspace, changes: tuple[str, ...] = (), seed: int | None = None
) -> Competition:
    """Read a competition by name or by the path of its folder.

    Parameters
    ----------
    changes
        ``table.key=value`` overrides, the value in TOML's notation (a bare word is taken as text).
    seed
        Seed of every run, in place of the one in the file; a grid over seeds keeps its seeds.

    Raises
    ------
    InputError
        When there is no such competition, or its TOML cannot be read or holds an unknown or impossible key or value.
    """
    folder = _find_folder(name, workspace)
    file = folder / COMPETITION_FILE
    tables = _read_toml(file)
    for change in changes:
        _apply_change(tables, change)
    known = {"competition": Facts, "data": Data, "mining": Mining}
    known |= {"folds": Folds, "runs": Run, "ensemble": EnsemblePlan, "decision": DecisionPlan}
    known |= {"submission": SubmissionPlan}
    for table in tables:
        if table not in known:
            raise InputError(f"{file}: unknown table [{table}]; {nearest(table, known)}")
        if not isinstance(tables[table], dict):
            raise InputError(f"{file}: {table} = {tables[table]!r} must be a table: [{table}]")
    if seed is not None:
        for run in tables.get("runs", {}).values():
            if isinstance(run, dict) and not (isinstance(run.get("grid"), dict) and "seed" in run["grid"]):
                run["seed"] = seed
    for table in ("competition", "data"):
        if table not in tables:
            raise InputError(f"{file}: table [{table}] is missing")
    folds = _parse(Folds, tables.get("folds", {}), file, "folds")
    competition = Competition(
        name=folder.name,
        folder=folder,
        workspace=workspace,
        facts=_parse(Facts, tables["competition"], file, "competition"),
        data=_group_by(_parse(Data, tables["data"], file, "data"), folds, file),
        folds=folds,
        runs={
            run: parse_run(run, table, file, grid)
            for run, (table, grid) in expand_grids(tables.get("runs", {}), file).items()
        },
        ensemble=_parse(EnsemblePlan, tables.get("ensemble", {}), file, "ensemble"),
        mining=_parse(Mining, tables["mining"], file, "mining") if "mining" in tables else None,
        decision=_parse(DecisionPlan, tables.get("decision", {}), file, "decision"),
        submission=_parse(SubmissionPlan, tables.get("submission", {}), file, "submission"),
    )
    _check_forms(competition, file)
    _check_mined(competition, file)
    _check_decision(competition, file)
    _check_folds_in_use(competition, file)
    _check_teachers(competition, file)
    return competition


def _group_by(data: Data, folds: Folds, file: Path) -> Data:
    """Return the data whose labelled images' lists have the folds' column of groups, where they name none."""
    if folds.group is None:
        return data
    if not any(isinstance(source, Listing) for source in data.labeled_sources):
        cause = "[folds] group is a column of the labelled images' CSV, and class folders have none"
        raise InputError(f'{file}: {cause}; write labeled = {{ csv = "...", images = "..." }} in [data]')
    sources = [
        source.model_copy(update={"group": folds.group}) if isinstance(source, Listing) and not source.group else source
        for source in data.labeled_sources
    ]
    return data.model_copy(update={"labeled": sources if isinstance(data.labeled, list) else sources[0]})


def _find_folder(name: str, workspace: Workspace) -> Path:
    """Return the folder of a competition given by name or by path."""
    competitions = list_competitions(workspace)
    if name in competitions:
        return competitions[name]
    path = Path(name).expanduser()
    if path.name == COMPETITION_FILE and path.is_file():
        path = path.parent
    if (path / COMPETITION_FILE).is_file():
        return path.resolve()
    if path.is_dir():
        raise InputError(f"{path}: no {COMPETITION_FILE} there; {PROGRAM} new NAME --data {path} writes one")
    makes = f"{PROGRAM} new NAME --data FOLDER makes one of a folder of images"
    here = f"images are here of {some(list_own(workspace))}"
    raise InputError(f"no competition {name!r}; {nearest(name, competitions)}; {here}; {makes}")


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
            if table is not tables or parent not in ("folds", "ensemble", "decision", "submission", "runs"):
                if meant := _right_case(tables, [*parents, key]):
                    raise InputError(f"--set {change}: no table {parent!r}; did you mean {meant}?")
                raise InputError(f"--set {change}: no table {parent!r}; {nearest(parent, table)}")
            inner = table[parent] = {}
        table = inner
    table[key] = value


def _right_case(tables: dict[str, Any], path: list[str]) -> str | None:
    """Return a path whose tables are there in another case, its key too where the table has it; else None."""
    meant, table = [], tables
    for part in path[:-1]:
        names = [name for name in table if name.casefold() == part.casefold() and isinstance(table[name], dict)]
        if len(names) != 1:
            return None
        meant, table = [*meant, *names], table[names[0]]
    keys = [name for name in table if name.casefold() == path[-1].casefold()]
    return ".".join([*meant, keys[0] if len(keys) == 1 else path[-1]])


def _parse(table_type: type[AnyTable], table: object, file: Path, name: str) -> AnyTable:
    """Check one table; turn pydantic's complaint into our sentence."""
    try:
        return table_type.model_validate(table)
    except ValidationError as error:
        deepest = max(error.errors(), key=_how_well_it_fits)  # of a union, the type that fits best
        raise InputError(f"{file}: [{name}] {_cause(deepest, table_type)}") from error


def _how_well_it_fits(complaint: ErrorDetails) -> tuple[int, bool]:
    """Return how deep into a table a complaint leads, and whether our own check of a table of that type made it."""
    return len(complaint["loc"]), complaint["type"] == "value_error"


def _cause(complaint: ErrorDetails, table_type: type[Table]) -> str:
    """Name the key and what is wrong with it."""
    places = complaint["loc"]
    path = ".".join(str(place) for place in places if not str(place).startswith(UNION_TAGS))
    if complaint["type"] == "extra_forbidden":
        innermost = [table_type, *filter(None, map(_find_table, places))][-1]
        return f"unknown key {path!r}; {nearest(str(places[-1]), innermost.model_fields)}"
    if complaint["type"] == "missing":
        return f"key {path!r} is missing"
    message = plain(complaint["msg"])
    return f"{path}: {message} (it is {complaint['input']!r})" if path else message


def _find_table(place: str | int) -> type[Table] | None:
    """Return the table that pydantic names in a place, also as ``function-after[check(), Listing]``."""
    return next((table for name, table in NESTED_TABLES.items() if re.search(rf"(\A| ){name}\]?\Z", str(place))), None)


def parse_run(name: str, table: object, file: Path, grid: str | None = None) -> Run:
    """Split a run's table into the keys of every run and the options of its model.

    InputError, which names `file`, where a key is unknown or its value is none.
    """
    if not RUN_NAME.fullmatch(name) or name in RESERVED:
        raise InputError(f"{file}: [runs.{name}] is not a run name: letters, digits, _ and -; not {some(RESERVED)}")
    if not isinstance(table, dict):
        raise InputError(f"{file}: [runs.{name}] must be a table")
    of_run = Run.model_fields.keys() - {"name", "grid", "options"}
    facts = {key: value for key, value in table.items() if key in of_run}
    options = {key: value for key, value in table.items() if key not in of_run}
    return _parse(Run, {"name": name, "grid": grid, "options": options, **facts}, file, f"runs.{name}")


def _check_forms(competition: Competition, file: Path) -> None:
    """Refuse keys on several labels per image where an image has one, and pseudo labels where it may have several."""
    is_multilabel = competition.facts.task == MULTILABEL
    for listing in [source for source in competition.data.labeled_sources if isinstance(source, Listing)]:
        several = {"form": listing.form if listing.form not in ("columns", "shares", "pixels") else None}
        several |= {"separator": listing.separator}
        for key, value in several.items():
            if value is not None and not is_multilabel:
                cause = f"labeled.{key} says how several labels per image are written"
                raise InputError(f'{file}: [data] {cause}; it needs task = "multilabel" in [competition]')
        if isinstance(listing.label, list) and listing.form not in ("columns", "shares", None) and not is_multilabel:
            raise InputError(f'{file}: [data] labeled.label = [...] of one label each is read with form = "columns"')
        if listing.separator is not None and listing.form not in (None, "cell"):
            raise InputError(f'{file}: [data] labeled.separator is read with form = "cell" alone, not "{listing.form}"')
        if listing.form == "shares" and is_multilabel:
            cause = "takes the class of the largest share for the one label of an image"
            raise InputError(f'{file}: [data] labeled.form = "shares" {cause}; it needs task = "multiclass"')
        if listing.value is not None and listing.form != "rows":
            raise InputError(f'{file}: [data] labeled.value is read with form = "rows" alone')
    for name, run in competition.runs.items() if is_multilabel else ():
        if run.pseudo is not None:
            cause = "pseudo labels name one class per image"
            raise InputError(f'{file}: [runs.{name}] {cause}; with task = "multilabel" a run learns from labels alone')
    if is_multilabel and competition.data.labels_are_mined:
        raise InputError(f'{file}: [data] mined labels name one class per image; they need task = "multiclass"')


def _check_mined(competition: Competition, file: Path) -> None:
    """Refuse mined labels where the file does not say how they are mined and where they are kept."""
    if not competition.data.labels_are_mined:
        return
    if competition.mining is None:
        raise InputError(f"{file}: [data] labels_are_mined needs a table [mining] that names the exemplars")
    if not isinstance(competition.data.labeled, Listing):
        raise InputError(
            f"{file}: [data] labels_are_mined needs {suggest_labeled(competition.data)}: the file that mined labels "
            "are written to, and the folder of the images"
        )


def suggest_labeled(data: Data) -> str:
    """Return the key ``labeled`` that reads mined labels: below the pool's folder, or the root that holds them all."""
    pool = data.unlabeled
    images = pool.folders[0] if isinstance(pool, Listing) else pool if isinstance(pool, str) else "."
    return f'labeled = {{ csv = "mined.csv", images = "{images}" }}'


def _check_decision(competition: Competition, file: Path) -> None:
    """Refuse keys of the other task, and those of a rejection that does not take place."""
    plan, is_multilabel = competition.decision, competition.facts.task == MULTILABEL
    several = ("thresholds", "parents", *(() if competition.facts.metric.startswith("map@") else ("separator",)))
    one = ("score", "encoder", "encoder_args", "accept_rate")
    if odd := sorted(plan.model_fields_set & set(one if is_multilabel else several)):
        cause = "one label per image" if is_multilabel else "several labels per image"
        raise InputError(f"{file}: [decision] {some(odd)} is read with {cause} alone; take it out")
    if plan.none_of_these is None and (odd := sorted(plan.model_fields_set & set(one))):
        cause = "says which images show none of the classes; it needs none_of_these, the name of such images"
        raise InputError(f"{file}: [decision] {some(odd)} {cause}")


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
