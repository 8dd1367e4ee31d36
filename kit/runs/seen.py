"""What a look has spoiled: settings, prompt lists and encoders that the labels of these folds had a say in.

A CV is optimistic where its score had a say in what is scored. Three things can be chosen so: settings by `tune`, the
words of a prompt list by whoever edits them after a score, and encoders by a plan that compares them on the labels.
What was seen is noted; before a CV is shown, it is asked.

Settings: ``runs/NAME/tune/RUN/searched.json`` holds, of every setting that was scored on all folds, the model, its
options, which of them were searched, the folds' key, and whether the run had these values before any search ("own").
What was picked by its score on the folds has, by that very score, an optimistic CV, also when the run is then refitted
or given more seeds; values that a run had before were picked by nobody. A search without this file is known by the
keys of its settings alone: ``KEY/fits/KEY/scored.json`` is there for every one, and ``KEY/own.json`` names those that
the run had before.

All of it is noted in the ledger of runs too (`kit.runs.store.ledger`), and remembered from there where a file is gone.

Prompt lists: ``runs/NAME/prompts.json`` holds when each version of a list was first seen, by the list's name and the
version's key; ``runs/NAME/prompts_first.json`` the keys of all lists that lay there at the first look of all.

Encoders: the ledger alone holds which ones a plan chose, or what they see of an image, or which of them it joined.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.config.competition import Run
from kit.core.errors import InputError
from kit.core.files import read_json, read_object, write_json
from kit.data.prepared import Prepared
from kit.features.joint import Joined, encoders_of
from kit.features.prompts.lists import NAMES, PromptList, list_prompts, prompts_of
from kit.runs.store.build import build_model
from kit.runs.store.find import run_key
from kit.runs.store.ledger import note_act, read_acts
from kit.runs.store.result import Result

if TYPE_CHECKING:
    from kit.data.images import Pool

TUNE = "tune"  # below runs/NAME
FITS = "fits"
SCORED = "scored.json"
UNTUNED = "own.json"
SEARCHED = "searched.json"
SUFFIX = "_tuned"  # of the run that a search prints
ENTRY = {"model": str, "fold_key": str, "options": dict, "fields": list, "own": bool}
SEEN_PROMPTS = "prompts.json"
FIRST_PROMPTS = "prompts_first.json"
SETTING, LOOK, FIRST_LOOK = "setting", "prompts", "first prompts"  # acts of the ledger
CHOICE = "encoders"  # another
Entry = dict[str, Any]


def note_untuned(folder: Path, key: str) -> None:
    """Remember that a run had these settings before they were tried; what was tried first stays searched.

    The folder is the study's, the key the run's before anything of it is scored there.
    """
    untuned = _read_untuned(folder)
    if key not in untuned and not (folder / FITS / key / SCORED).exists():
        write_json(folder / UNTUNED, [*untuned, key])


def note_setting(prepared: Prepared, name: str, setting: Run, fields: Iterable[str]) -> None:
    """Remember a setting that a search scored on all folds, or the run's values before anything is scored.

    Whether the run had these values before is decided when they are first noted, and holds from then on. The setting is
    the run `name` with the values that were tried of the searched fields; the runs folder is held.
    """
    model = build_model(prepared.competition, setting).options()
    options = json.loads(json.dumps(model, default=str))  # as run.json gives them back
    entry = {"model": setting.model, "fold_key": prepared.fold_key, "options": options, "fields": sorted(fields)}
    file, entries = _home(prepared) / name / SEARCHED, _read_settings(prepared).get(name, [])
    alike = [
        other for other in entries if other["fields"] == entry["fields"] and _is_alike(other, entry, other["fields"])
    ]
    entry["own"] = alike[0]["own"] if alike else not _is_scored(prepared, run_key(prepared, setting))
    if entry not in entries:
        write_json(file, [*entries, entry])
    note_act(_home(prepared).parent, SETTING, run=name, entry=entry)


def is_setting_spoiled(prepared: Prepared, result: Result) -> bool:
    """Return whether a search scored a run's settings on today's folds, and the run had others before.

    Of a run that was tuned, and of the one that `tune` printed for it, the searched values tell; of one with another
    name all options of the model. Seeds, a refit, bags or pseudo labels make no other setting of it.
    """
    record = result.record
    setting = {"model": record.model, "fold_key": record.fold_key, "options": record.options}
    alike = []
    for name, entries in _read_settings(prepared).items():
        is_namesake = result.base in (name, name + SUFFIX)
        for entry in entries:
            fields = entry["fields"] if is_namesake else entry["options"].keys() - {"seed"}
            if _is_alike(entry, setting, fields):
                alike.append(entry)
    return not all(entry["own"] for entry in alike) if alike else _is_scored(prepared, record.key)


@dataclass(frozen=True)
class Looks:
    """Count what was scored on today's folds, of all that is remembered.

    Parameters
    ----------
    runs
        Finished runs of today's settings, the ensemble among them.
    retired
        Finished runs of other settings, whose folders are still here.
    settings
        Settings that `tune` tried, and that no run had before.
    prompts
        Versions of prompt lists whose score was seen.
    """

    runs: int
    retired: int
    settings: int
    prompts: int


def count_looks(prepared: Prepared, n_runs: int) -> Looks:
    """Count the looks at today's folds; `n_runs` runs of today's settings are finished."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    files = [file for file in home.glob("*/*/run.json") if "." not in file.parts[-3]]  # NAME.1 is a part of NAME
    records = [read_object(file) or {} for file in files]
    n_finished = sum(record.get("fold_key") == prepared.fold_key for record in records)
    entries = [entry for of_run in _read_settings(prepared).values() for entry in of_run]
    n_settings = sum(entry["fold_key"] == prepared.fold_key and not entry["own"] for entry in entries)
    n_prompts = sum(len(versions) for versions in _read_looks(home).values())
    return Looks(n_runs, max(n_finished - n_runs, 0), n_settings, n_prompts)


def _home(prepared: Prepared) -> Path:
    return prepared.competition.workspace.runs(prepared.competition.name) / TUNE


def _is_alike(entry: Entry, other: Entry, fields: Iterable[str]) -> bool:
    """Return whether two settings are of one model, on the same folds, with equal values of fields."""
    if any(entry[name] != other[name] for name in ("model", "fold_key")):
        return False
    options = other["options"]
    return all(field in options and options[field] == entry["options"].get(field) for field in fields)


def _is_scored(prepared: Prepared, key: str) -> bool:
    """Return whether a search scored the settings of exactly this key, and the run did not have them before."""
    studies = [scored.parents[2] for scored in _home(prepared).glob(f"*/*/{FITS}/{key}/{SCORED}")]
    return any(key not in _read_untuned(study) for study in studies)


def _read_settings(prepared: Prepared) -> dict[str, list[Entry]]:
    """Return the settings that searches scored, by run: those of the files, then those that the ledger alone knows."""
    home = _home(prepared)
    settings = {file.parent.name: _read_entries(file) for file in sorted(home.glob(f"*/{SEARCHED}"))}
    for act in read_acts(home.parent, SETTING):
        of_run = settings.setdefault(str(act.get("run")), [])
        of_run += [entry for entry in _whole_entries([act.get("entry")]) if entry not in of_run]
    return settings


def _read_entries(file: Path) -> list[Entry]:
    """Return the settings that are noted in a file; a foreign hand's entries are none."""
    content = read_json(file)
    return _whole_entries(content) if isinstance(content, list) else []


def _whole_entries(content: list[Any]) -> list[Entry]:
    entries = [entry for entry in content if isinstance(entry, dict)]
    return [entry for entry in entries if all(isinstance(entry.get(name), kind) for name, kind in ENTRY.items())]


def _read_untuned(folder: Path) -> list[str]:
    """Return the keys of settings that a run had before they were tried."""
    keys = read_json(folder / UNTUNED)
    return keys if isinstance(keys, list) else []


def note_prompts(folder: Path, prompts: PromptList, beside: Iterable[PromptList] = ()) -> None:
    """Remember that a score of this version of the list was seen; the first look counts.

    `beside` are the lists that lie beside it, remembered at the first look of all. Hold the competition's runs folder
    (`kit.core.held.hold`) where another process may note too.
    """
    looks = _read_looks(folder)
    is_first = not looks and _read_first(folder) is None  # a look at `names` leaves no row
    if is_first and (keys := {other.key for other in beside}):
        first = sorted({*keys, prompts.key})
        write_json(folder / FIRST_PROMPTS, first)
        note_act(folder, FIRST_LOOK, keys=first)
    if prompts.name == NAMES:  # nobody edits it
        return
    versions = looks.setdefault(prompts.name, {})
    if prompts.key not in versions:
        versions[prompts.key] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        write_json(folder / SEEN_PROMPTS, looks)
        note_act(folder, LOOK, list=prompts.name, key=prompts.key)


def are_prompts_spoiled(folder: Path, prompts: PromptList) -> bool:
    """Return whether this version of the list was written after the score of another version, or list, was seen.

    Its CV is then measured on rows that had a say in its words, whatever file they stand in now. The generated list
    never is, nor is the first version that was looked at, also when it is gone back to. Of words in a new file it
    cannot be told whether they answer to what was seen: they are taken to, where it is known what was there before.
    """
    if prompts.name == NAMES:
        return False
    looks, first = _read_looks(folder), _read_first(folder)
    if first is not None and prompts.key not in first:
        return True
    versions = list(looks.get(prompts.name, {}))  # a JSON object keeps its order
    return (bool(versions) and versions[0] != prompts.key) or _began_edited(looks, prompts.key)


def readable_prompts(pool: Pool) -> list[PromptList]:
    """Return all lists of a pool's competition; one that is refused, perhaps not finished yet, is not among them."""
    lists = []
    for name in list_prompts(pool.prompts):
        try:
            lists.append(prompts_of(pool, name))
        except InputError:  # whoever asks for it hears why
            continue
    return lists


def _began_edited(looks: dict[str, dict[str, str]], key: str) -> bool:
    """Return whether these words, when their score was first seen under any name, were an edited list's."""
    seen = [(versions[key], next(iter(versions)) != key) for versions in looks.values() if key in versions]
    first = min((datetime.fromisoformat(when) for when, _ in seen), default=None)
    return any(is_edited for when, is_edited in seen if datetime.fromisoformat(when) == first)


def _read_looks(folder: Path) -> dict[str, dict[str, str]]:
    """Return when each version of a list was first seen, by the list's name and the version's key.

    What the file has comes first; a look that the ledger alone remembers follows.
    """
    looks = read_object(folder / SEEN_PROMPTS) or {}
    for act in read_acts(folder, LOOK):
        looks.setdefault(act["list"], {}).setdefault(act["key"], act["made"])
    return looks


def _read_first(folder: Path) -> list[str] | None:
    """Return the keys of the lists that lay there at the first look; None where there was none."""
    first = read_json(folder / FIRST_PROMPTS)
    return first if first is not None else next((act["keys"] for act in read_acts(folder, FIRST_LOOK)), None)


def note_chosen(folder: Path, chosen: Iterable[Sequence[Joined]]) -> None:
    """Remember encoders in which labels had a say, below ``runs/NAME``: one alone, or several that they joined."""
    for encoders in chosen:
        note_act(folder, CHOICE, encoders=[list(each) for each in encoders])


def are_encoders_chosen(folder: Path, result: Result) -> bool:
    """Return whether a run's encoders, or some of them, are those that a plan chose by the labels."""
    used = [list(each) for each in encoders_of(result.record.options)]
    acts = [act.get("encoders") for act in read_acts(folder, CHOICE)] if used else []
    return any(encoders and all(each in used for each in encoders) for encoders in acts)
