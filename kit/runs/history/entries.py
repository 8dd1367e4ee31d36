"""What was ever finished: each run with its score, its settings, and what has changed since.

Reads the ledger (``runs/NAME/history.jsonl``) and the run.json of folders that it does not name, as an earlier kit left
them; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core.errors import InputError, nearest, some
from kit.core.files import KEY_LENGTH, key_of
from kit.core.names import ENSEMBLE, base_of, round_of
from kit.core.terminal import warn
from kit.data.prepared import Prepared
from kit.runs.ensemble import find_ensemble, members_of
from kit.runs.history.settings import Difference, differences, values_then, values_today
from kit.runs.store.find import find_settled, run_key
from kit.runs.store.ledger import FILE, KEPT, Line, read_ledger
from kit.runs.store.result import IMPORTED, read_record

OOF_KEPT = "history"  # the folder of oof predictions of runs that `clean` took
LEAST_KEY = 4  # digits of a key that name a run
SORTS = ("date", "cv", "name")
Lines = dict[tuple[str, str], Line]  # by name and key


@dataclass(frozen=True)
class Entry:
    """Hold one finished run.

    Parameters
    ----------
    is_today
        The run of this name has this very result today.
    is_best
        No other run of this name has a better CV on today's folds, in today's metric.
    differs
        From the run of that name in competition.toml: ``ours`` is this run's value, ``theirs`` today's.
    since
        What else has changed since: folds or labels, images, the metric, what the settings name.
    oof
        The file of its oof predictions; None where they are gone.
    line
        What the ledger holds of it.
    """

    name: str
    key: str
    cv: float
    se: float
    metric: str
    made: str
    machine: str
    commit: str
    note: str
    model: str
    is_today: bool
    is_best: bool
    differs: tuple[Difference, ...]
    since: tuple[str, ...]
    oof: Path | None
    line: Line

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        whole = asdict(self)
        line = whole.pop("line")
        kept = {name: line.get(name) for name in ("interval", "settings", "options", "pseudo", "members", "seconds")}
        return whole | kept | {"kit": line.get("kit", ""), "oof": None if self.oof is None else str(self.oof)}


def list_entries(prepared: Prepared, with_rounds: bool = False) -> list[Entry]:
    """Return what was ever finished, the first made first; rounds of pseudo labels, ``RUN.N``, where asked for."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    ledger = read_ledger(home)
    if ledger.n_torn:
        warn(f"{home / FILE}: {ledger.n_torn} of its lines are not whole and are left out")
    lines = _lines_of_folders(home) | ledger.runs
    if not with_rounds:
        lines = {place: line for place, line in lines.items() if round_of(place[0]) is None}
    lines = _without_steps(lines)
    today, best = _Today(prepared), find_best(prepared, lines)
    entries = [_read_entry(home, line, ledger.notes.get(place, ""), today, best) for place, line in lines.items()]
    return sort_entries(entries, "date")


def sort_entries(entries: Iterable[Entry], by: str, sign: int = 1) -> list[Entry]:
    """Return entries sorted by ``"date"``, ``"cv"`` (best first; `sign` is the metric's) or ``"name"``."""
    if by not in SORTS:
        raise InputError(f"--sort {by}: {nearest(by, SORTS)}")
    ordered = sorted(entries, key=lambda entry: entry.made)
    if by == "cv":
        return sorted(ordered, key=lambda entry: -sign * entry.cv)
    return sorted(ordered, key=lambda entry: entry.name) if by == "name" else ordered


def find_entry(prepared: Prepared, entries: list[Entry], word: str) -> Entry:
    """Return the run that a key, the first digits of one, or a name stands for: of a name today's, else the last.

    Of a key that a run shares with a round of another, that run.

    What stands for none, or for several, raises InputError.
    """
    of_name = [entry for entry in entries if word in (entry.name, base_of(entry.name))]
    if of_name:
        return next((entry for entry in of_name if entry.is_today), of_name[-1])
    of_key = [entry for entry in entries if len(word) >= LEAST_KEY and entry.key.startswith(word)]
    if len({entry.key for entry in of_key}) == 1:  # the same settings: a run, and the round 0 of another
        of_key = [entry for entry in of_key if round_of(entry.name) is None] or of_key[:1]
    if len({(entry.name, entry.key) for entry in of_key}) > 1:
        places = some(f"{entry.name} {entry.key}" for entry in of_key)
        remedy = "write the name" if len({entry.key for entry in of_key}) == 1 else "write more of it, or the name"
        raise InputError(f"{word}: several runs have such a key: {places}; {remedy}")
    if not of_key:
        known = {entry.name for entry in entries} | {entry.key for entry in entries}
        shown = prepared.competition.command("history")
        raise InputError(f"{word}: no finished run of this name or key; {nearest(word, known)}; {shown} lists them")
    return of_key[0]


def find_one(prepared: Prepared, entries: list[Entry], word: str) -> Entry:
    """Return the one run that a key, the first digits of one, or a name stands for.

    InputError where it stands for none, or is the name of several that did not score the same.
    """
    of_name = [entry for entry in entries if entry.name == word]
    if len({entry.key for entry in of_name}) > 1 and len({(entry.cv, entry.metric) for entry in of_name}) > 1:
        sign = prepared.metric.sign
        told = "; ".join(
            f"{entry.key} {entry.cv:.4f} of {entry.made[:16].replace('T', ' ')}{', today' * entry.is_today}"
            for entry in sort_entries(of_name, "cv", sign)
        )
        raise InputError(
            f"{word}: {len(of_name)} finished runs have this name: {told}; "
            f"{prepared.competition.command('adopt', 'KEY')} takes one"
        )
    return find_entry(prepared, entries, word)


def find_best(prepared: Prepared, lines: Lines) -> dict[str, float]:
    """Return the best CV of every name, on today's folds and in today's metric."""
    best: dict[str, float] = {}
    sign, today = prepared.metric.sign, (prepared.fold_key, prepared.metric.key)
    for (name, _), line in lines.items():
        if (line.get("fold_key"), line.get("metric_key")) == today:
            best[name] = max(line["cv"], best.get(name, line["cv"]), key=lambda cv: sign * cv)
    return best


def _lines_of_folders(home: Path) -> Lines:
    """Return what the run.json on the disk say, by name and key."""
    lines = {}
    for file in sorted(home.glob("*/*/run.json")):
        folder = file.parent
        is_run = len(folder.name) == KEY_LENGTH or folder.name == IMPORTED
        if is_run and not folder.name.startswith(".") and (record := read_record(folder)):
            document = record.document | {"name": folder.parent.name}
            lines[folder.parent.name, record.key] = {key: document[key] for key in KEPT if key in document}
    return dict(sorted(lines.items(), key=lambda item: item[1].get("made", "")))


def _without_steps(lines: Lines) -> Lines:
    """Leave out a run of rounds that was finished before its last round, where the whole one is there too."""
    whole = {(name, _settings_key(line)) for (name, _), line in lines.items() if (line.get("rounds") or {}).get("end")}

    def is_step(name: str, line: Line) -> bool:
        rounds = line.get("rounds")
        return bool(rounds) and not rounds.get("end") and (name, _settings_key(line)) in whole

    return {(name, key): line for (name, key), line in lines.items() if not is_step(name, line)}


def _settings_key(line: Line) -> str:
    """Return what two runs share of which one is the other after more rounds."""
    return key_of(line.get("settings"), line.get("options"), line.get("pseudo"), line.get("fold_key"))


class _Today:
    """Hold what the runs of competition.toml are today: their values and keys."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._known: dict[str, tuple[dict[str, Any] | None, str | None]] = {}

    def of(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """Return values and key of a run; None of what competition.toml does not have, or what cannot be told now."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        prepared, runs = self.prepared, self.prepared.competition.runs
        if name == ENSEMBLE:
            return None, self._ensemble_key()
        if name not in runs:
            imported = read_record(prepared.competition.workspace.runs(prepared.competition.name) / name / IMPORTED)
            return None, imported.key if imported else None
        run, values = runs[name], None
        try:
            values = values_today(prepared, run)
            if run.pseudo is None:
                return values, run_key(prepared, run)
            settled = find_settled(prepared, run)
            return values, settled.record.key if settled else None
        except InputError:  # weights or a teacher are missing, or an option is refused: training says which
            return values, None

    def _ensemble_key(self) -> str | None:
        try:
            members = members_of(self.prepared)
            combined = find_ensemble(self.prepared, members) if members else None
        except InputError:
            return None
        return combined.record.key if combined else None


def _read_entry(home: Path, line: Line, note: str, today: _Today, best: dict[str, float]) -> Entry:
    """Return what is known of one finished run."""
    prepared, name, key = today.prepared, line["name"], line["key"]
    values, key_today = today.of(name)
    differs = [] if values is None else differences(values_then(line), values)
    since = _changes_since(prepared, line)
    is_today = key == key_today
    if not is_today and not differs and not since:
        since.append(_say_gone(prepared, line, values))
    on_today = (line.get("fold_key"), line.get("metric_key")) == (prepared.fold_key, prepared.metric.key)
    return Entry(
        name=name,
        key=key,
        cv=line["cv"],
        se=line["se"],
        metric=line.get("metric", ""),
        made=line.get("made", ""),
        machine=line.get("machine", ""),
        commit=line.get("commit", ""),
        note=note,
        model=line.get("model", ""),
        is_today=is_today,
        is_best=on_today and line["cv"] == best.get(name),
        differs=tuple(differs),
        since=tuple(since),
        oof=_find_oof(home, name, key),
        line=line,
    )


def _changes_since(prepared: Prepared, line: Line) -> list[str]:
    """Say what of the competition has changed since a run was finished."""
    since = []
    if line.get("fold_key") != prepared.fold_key:
        since.append("folds or labels changed")
    elif line.get("pool_key") not in (None, prepared.pool.key):
        since.append("images changed")
    if line.get("metric_key") != prepared.metric.key:
        since.append(f"scored by {line.get('metric')}")
    return since


def _say_gone(prepared: Prepared, line: Line, values: dict[str, Any] | None) -> str:
    """Say why a run whose settings are today's, or that has none today, is not today's."""
    if line["name"] == ENSEMBLE:
        return "other members"
    if line.get("model") == IMPORTED:
        return "replaced by a later import, or removed"
    if values is None:
        return "no run of this name today"
    if line.get("kit") != __version__:
        return f"made by kit {line.get('kit')}"
    return "words, weights, a teacher or the model's code changed"


def _find_oof(home: Path, name: str, key: str) -> Path | None:
    """Return the file of a run's oof predictions, in its folder or where `clean` has put them."""
    folders = [home / name / key, home / name / IMPORTED]
    for folder in folders:
        if (folder / "oof.parquet").exists() and (record := read_record(folder)) and record.key == key:
            return folder / "oof.parquet"
    kept = kept_oof(home, name, key)
    return kept if kept.exists() else None


def kept_oof(home: Path, name: str, key: str) -> Path:
    """Return where `clean` puts the oof predictions of a run that it takes."""
    return home / OOF_KEPT / f"{name}-{key}.parquet"
