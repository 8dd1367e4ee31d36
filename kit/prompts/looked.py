"""The memory of which versions of a prompt list were scored: words edited after a look at a CV fit that CV.

Reads and writes ``runs/NAME/prompts.json``: list -> {content key: when its score was first seen}, oldest first. A
version is known by its words, too: under the name of another file it is as optimistic as before. prompts_first.json
holds the content keys of all lists that were there when the first score of any list was seen, the generated one
included: what appears later may answer to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import InputError
from kit.files import read_json, read_object, write_json
from kit.prompts.lists import NAMES, PromptList, list_prompts, prompts_of

if TYPE_CHECKING:
    from kit.images import Pool

FILE = "prompts.json"
FIRST = "prompts_first.json"


def note_looked(folder: Path, prompts: PromptList, there: Iterable[PromptList] = ()) -> None:
    """Remember that a score of this version of the list was seen; the first look counts.

    Parameters
    ----------
    folder
        The competition's runs folder; hold it (`kit.files.hold`) where another process may note too.
    prompts
        The list as it was scored.
    there
        The lists that lie beside it; at the first look of all they are remembered.
    """
    ledger = _read(folder)
    is_first = not ledger and read_json(folder / FIRST) is None  # a look at `names` leaves no row in the ledger
    if is_first and (keys := {own.key for own in there}):
        write_json(folder / FIRST, sorted({*keys, prompts.key}))
    if prompts.name == NAMES:  # nobody edits it
        return
    seen = ledger.setdefault(prompts.name, {})
    if prompts.key not in seen:
        seen[prompts.key] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        write_json(folder / FILE, ledger)


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
    ledger, first = _read(folder), read_json(folder / FIRST)
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
    return read_object(folder / FILE) or {}
