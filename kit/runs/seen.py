"""Searched: whether a run's settings are among those that `tune` scored on these folds.

Reads and writes ``runs/NAME/tune/RUN/searched.json``: of every setting that was scored on all folds the model, its
options, which of them were searched, the folds' key, and whether the run had these values before any search. What was
picked by its score on the folds has, by that very score, an optimistic CV, also when the run is then refitted or given
more seeds; a run's own values were picked by nobody. A search that lacks this memory is known by the keys of its
settings alone: ``KEY/fits/KEY/scored.json`` is there for every one, and ``KEY/own.json`` names the run's own.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from kit.core.errors import InputError
from kit.core.files import read_object
from kit.features.prompts.lists import NAMES, PromptList, list_prompts, prompts_of

if TYPE_CHECKING:
    from kit.data.images import Pool

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kit.config.competition import Run
from kit.core.files import read_json, write_json
from kit.data.prepared import Prepared
from kit.runs.store import Result, run_key
from kit.runs.store.build import build_model

TUNE = "tune"  # below runs/NAME
FITS = "fits"
SCORED = "scored.json"
OWN = "own.json"
SEARCHED = "searched.json"
SUFFIX = "_tuned"  # of the run that a search prints
ENTRY = {"model": str, "fold_key": str, "options": dict, "fields": list, "own": bool}
Entry = dict[str, Any]


def note_own(folder: Path, key: str) -> None:
    """Remember that a run had these settings before they were tried; what was tried first stays searched.

    Parameters
    ----------
    folder
        Of the study.
    key
        The run's key, before anything of it is scored there.
    """
    own = _read_own(folder)
    if key not in own and not (folder / FITS / key / SCORED).exists():
        write_json(folder / OWN, [*own, key])


def note_searched(prepared: Prepared, name: str, setting: Run, fields: Iterable[str]) -> None:
    """Remember a setting that a search scored on all folds, or the run's own values before anything is scored.

    Whether values are the run's own is decided when they are first noted, and holds from then on.

    Parameters
    ----------
    prepared
        The competition made ready; its runs folder is held.
    name
        The run that is tuned.
    setting
        It with the values that were tried.
    fields
        The options that are searched.
    """
    model = dataclasses.asdict(build_model(prepared.competition, setting))
    options = json.loads(json.dumps(model, default=str))  # as run.json gives them back
    entry = {"model": setting.model, "fold_key": prepared.fold_key, "options": options, "fields": sorted(fields)}
    file = _home(prepared) / name / SEARCHED
    noted = _read_entries(file)
    alike = [own for own in noted if own["fields"] == entry["fields"] and _is_alike(own, entry, entry["fields"])]
    is_own = alike[0]["own"] if alike else not _is_scored(prepared, run_key(prepared, setting))
    if (entry := entry | {"own": is_own}) not in noted:
        write_json(file, [*noted, entry])


def was_searched(prepared: Prepared, result: Result) -> bool:
    """Return whether a search scored a run's settings on today's folds, and the run had others before.

    Of a run that was tuned, and of the one that `tune` printed for it, the searched values tell; of one with another
    name all options of the model. Seeds, a refit, bags or pseudo labels make no other setting of it.

    Parameters
    ----------
    prepared
        The competition made ready.
    result
        A finished run.
    """
    record, said = result.record, []
    settings = {"model": record.model, "fold_key": record.fold_key, "options": record.options}
    for file in _home(prepared).glob(f"*/{SEARCHED}"):
        is_namesake = result.base in (file.parent.name, file.parent.name + SUFFIX)
        for entry in _read_entries(file):
            fields = entry["fields"] if is_namesake else entry["options"].keys() - {"seed"}
            if _is_alike(entry, settings, fields):
                said.append(entry["own"])
    return not all(said) if said else _is_scored(prepared, record.key)


def _home(prepared: Prepared) -> Path:
    return prepared.competition.workspace.runs(prepared.competition.name) / TUNE


def _is_alike(entry: Entry, other: dict[str, Any], fields: Iterable[str]) -> bool:
    """Return whether two settings are of one model, on the same folds, with equal values of fields."""
    if any(entry[name] != other.get(name) for name in ("model", "fold_key")):
        return False
    options = other.get("options") or {}
    return all(field in options and options[field] == entry["options"].get(field) for field in fields)


def _is_scored(prepared: Prepared, key: str) -> bool:
    """Return whether a search scored the settings of exactly this key, and does not know them as a run's own."""
    studies = [scored.parents[2] for scored in _home(prepared).glob(f"*/*/{FITS}/{key}/{SCORED}")]
    return any(key not in _read_own(study) for study in studies)


def _read_entries(file: Path) -> list[Entry]:
    """Return what is remembered; a foreign hand's entries are none."""
    found = read_json(file)
    entries = [own for own in found if isinstance(own, dict)] if isinstance(found, list) else []
    return [own for own in entries if all(isinstance(own.get(name), kind) for name, kind in ENTRY.items())]


def _read_own(folder: Path) -> list[str]:
    """Return the keys that are noted as a run's own."""
    own = read_json(folder / OWN)
    return own if isinstance(own, list) else []


LOOKED = "prompts.json"
LOOKED_FIRST = "prompts_first.json"


def note_looked(folder: Path, prompts: PromptList, there: Iterable[PromptList] = ()) -> None:
    """Remember that a score of this version of the list was seen; the first look counts.

    Parameters
    ----------
    folder
        The competition's runs folder; hold it (`kit.core.files.hold`) where another process may note too.
    prompts
        The list as it was scored.
    there
        The lists that lie beside it; at the first look of all they are remembered.
    """
    ledger = _read(folder)
    is_first = not ledger and read_json(folder / LOOKED_FIRST) is None  # a look at `names` leaves no row in the ledger
    if is_first and (keys := {own.key for own in there}):
        write_json(folder / LOOKED_FIRST, sorted({*keys, prompts.key}))
    if prompts.name == NAMES:  # nobody edits it
        return
    seen = ledger.setdefault(prompts.name, {})
    if prompts.key not in seen:
        seen[prompts.key] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        write_json(folder / LOOKED, ledger)


def is_optimistic(folder: Path, prompts: PromptList) -> bool:
    """Return whether this version of the list was written after the score of another version, or list, was seen.

    Its CV is then measured on rows that had a say in its words, whatever file they stand in now. The generated list
    never is, nor is the first version that was looked at, also when it is gone back to. Of words in a new file it
    cannot be told whether they answer to what was seen: they are taken to, where it is known what was there before.

    Parameters
    ----------
    folder
        The competition's runs folder.
    prompts
        The list as it is now.
    """
    if prompts.name == NAMES:
        return False
    ledger, first = _read(folder), read_json(folder / LOOKED_FIRST)
    if first is not None and prompts.key not in first:
        return True
    seen = list(ledger.get(prompts.name, {}))  # a JSON object keeps its order
    return (bool(seen) and seen[0] != prompts.key) or _began_edited(ledger, prompts.key)


def lists_there(pool: Pool) -> list[PromptList]:
    """Return all lists of a pool's competition; one that is refused, perhaps not finished yet, is not among them."""
    found = []
    for name in list_prompts(pool.prompts):
        try:
            found.append(prompts_of(pool, name))
        except InputError:  # whoever asks for it hears why
            continue
    return found


def _began_edited(ledger: dict[str, dict[str, str]], key: str) -> bool:
    """Return whether these words, when their score was first seen under any name, were an edited list's."""
    looks = [(versions[key], next(iter(versions)) != key) for versions in ledger.values() if key in versions]
    first = min((datetime.fromisoformat(when) for when, _ in looks), default=None)
    return any(is_edited for when, is_edited in looks if datetime.fromisoformat(when) == first)


def _read(folder: Path) -> dict[str, dict[str, str]]:
    return read_object(folder / LOOKED) or {}
