"""Adopt: write an earlier run's settings back into competition.toml; comments and all other lines stay."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

from kit.config.competition import RESERVED, RUN_NAME, Competition
from kit.config.reader import read_competition
from kit.config.toml import toml_value
from kit.core.errors import InputError, MissingWeights, TeacherMissing
from kit.core.files import write_atomic
from kit.core.names import ENSEMBLE
from kit.data.prepared import Prepared
from kit.runs.history.entries import Entry
from kit.runs.history.settings import Difference, written_settings
from kit.runs.store.find import find_result
from kit.runs.store.result import IMPORTED

BOM, CRLF = "\ufeff", "\r\n"  # as Windows' editors write files
OF_TUNE = "search"  # a key that decides nothing of a run


@dataclasses.dataclass(frozen=True)
class Adopted:
    """Hold what was written.

    Parameters
    ----------
    name
        The run's name in competition.toml.
    changes
        By key, what the table says now (``ours``) and what it said before (``theirs``); None where a key is not there.
    is_new
        The table was not there before.
    is_found
        The predictions of the run are there and count again.
    """

    name: str
    changes: tuple[Difference, ...]
    is_new: bool
    is_found: bool


def adopt(prepared: Prepared, entry: Entry, name: str | None = None) -> Adopted:
    """Write a run's settings into competition.toml, under its own or another `name`.

    Raises
    ------
    InputError
        When the run has no settings (an ensemble, an import), its name is a grid's, the other name is none, or the
        file is laid out so that it cannot be edited; it is then as it was.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    competition = prepared.competition
    name = name or entry.name
    _check(competition, entry, name)
    raw = competition.file.read_bytes().decode("utf-8")
    before = raw.removeprefix(BOM).replace(CRLF, "\n")
    wanted = {key: value for key, value in written_settings(entry.line).items() if value is not None}
    is_new = name not in tomllib.loads(before).get("runs", {})
    try:
        if is_new:
            table, text = {}, f"{before.rstrip()}\n\n{_new_table(name, entry, wanted)}"
        else:
            document = tomlkit.parse(before)
            table = document["runs"][name]
            old = tomllib.loads(before)["runs"][name]
            _edit(table, old, wanted)
            table, text = old, tomlkit.dumps(document)
    except TOMLKitError as error:
        raise InputError(f"{competition.file}: cannot be edited ({error}); write it yourself: {wanted}") from error
    _check_text(competition, before, text, name, wanted)
    with write_atomic(competition.file, "w") as file:
        file.write(_written_as(raw, text))
    return Adopted(name, tuple(_changes(wanted, table)), is_new, _is_found(prepared, entry, name))


def _written_as(raw: str, text: str) -> str:
    """Return a text with the byte-order mark and the line ends of the file as it was."""
    has_crlf = raw.count(CRLF) > raw.count("\n") / 2
    return (BOM if raw.startswith(BOM) else "") + (text.replace("\n", CRLF) if has_crlf else text)


def _check(competition: Competition, entry: Entry, name: str) -> None:
    """Refuse what has no settings, a member of a grid, and what is no name of a run."""
    if entry.name == ENSEMBLE or entry.model == IMPORTED:
        what = "an ensemble, which follows from its members" if entry.name == ENSEMBLE else "an import"
        raise InputError(f"{entry.name} {entry.key} is {what}: it has no settings to adopt")
    if not RUN_NAME.fullmatch(name) or name in RESERVED:
        raise InputError(f"--as {name}: is not a run name: letters, digits, _ and -")
    run = competition.runs.get(name)
    grids = {each.grid for each in competition.runs.values() if each.grid}
    if (run is not None and run.grid) or name in grids:
        grid = run.grid if run is not None else name
        command = competition.command("adopt", entry.key, "--as", f"{grid}_adopted")
        raise InputError(f"{competition.file}: {name} belongs to the grid {grid}; {command} writes a run of its own")


def _edit(table: Any, old: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Bring one table to the wanted values; lines that say them already are not touched."""
    for key in [key for key in old if key not in wanted and key != OF_TUNE]:
        table.remove(key)
    added = {key: value for key, value in wanted.items() if key not in old}
    for key, value in wanted.items():
        if key not in added and not _is_same(old[key], value):
            table[key] = value if not isinstance(value, dict) else _inline(value)
    _add(table, added)


def _add(table: Any, added: dict[str, Any]) -> None:
    """Write new keys right below the table's last one: what stands under that is a comment on what comes next."""
    plain = [item for key, item in table.value.body if key is not None and not item.is_table()]
    if added and plain:
        lines = [f"{key} = {toml_value(value)}\n" for key, value in added.items()]
        plain[-1].trivia.trail = "\n" + "".join(lines)
    else:
        for key, value in added.items():
            table[key] = value if not isinstance(value, dict) else _inline(value)


def _inline(value: dict[str, Any]) -> Any:
    """Return a table that stands on one line."""
    import tomlkit

    table = tomlkit.inline_table()
    table.update(value)
    return table


def _new_table(name: str, entry: Entry, wanted: dict[str, Any]) -> str:
    """Return the table of a run that competition.toml does not have."""
    lines = [f"{key} = {toml_value(value)}" for key, value in wanted.items()]
    when = entry.made[:10]
    head = f"# Settings of {entry.name} {entry.key}, {when}: {entry.metric} {entry.cv:.4f} +- {entry.se:.4f}."
    return "\n".join([head, f"[runs.{name}]", *lines]) + "\n"


def _check_text(competition: Competition, before: str, text: str, name: str, wanted: dict[str, Any]) -> None:
    """Refuse a text that does not say what is wanted, or that says anything else of the rest."""
    cause = "is laid out so that the run cannot be written into it; write it yourself"
    shown = ", ".join(f"{key} = {toml_value(value)}" for key, value in wanted.items())
    try:
        old, new = tomllib.loads(before), tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{competition.file}: {cause}: {shown}") from error
    written = new.get("runs", {}).pop(name, {})
    written.pop(OF_TUNE, None)
    old.setdefault("runs", {}).pop(name, None)
    new.setdefault("runs", {})
    if old != new or written.keys() != wanted.keys() or not all(_is_same(written[key], wanted[key]) for key in wanted):
        raise InputError(f"{competition.file}: {cause}: {shown}")


def _is_same(ours: Any, theirs: Any) -> bool:
    """Return whether two values mean the same; 1 and 1.0 do, 1 and true do not."""
    return ours == theirs and isinstance(ours, bool) == isinstance(theirs, bool)


def _changes(wanted: dict[str, Any], old: dict[str, Any]) -> list[Difference]:
    """Return what a table says now and said before, key by key."""
    keys = [key for key in [*wanted, *(key for key in old if key not in wanted)] if key != OF_TUNE]

    def spell(table: dict[str, Any], key: str) -> str | None:
        return toml_value(table[key]) if key in table else None

    return [
        Difference(key, spell(wanted, key), spell(old, key))
        for key in keys
        if key not in wanted or key not in old or not _is_same(wanted[key], old[key])
    ]


def _is_found(prepared: Prepared, entry: Entry, name: str) -> bool:
    """Return whether the run of the file as it is now has the adopted run's predictions."""
    competition = prepared.competition
    path = competition.name if competition.is_known else str(competition.folder)
    try:
        now = dataclasses.replace(prepared, competition=read_competition(path, competition.workspace))
        result = find_result(now, name)
    except (MissingWeights, TeacherMissing):
        return False
    return result is not None and result.record.key == entry.key
