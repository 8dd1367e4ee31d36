"""The memory of which versions of a prompt list were scored: words edited after a look at a CV fit that CV.

Reads and writes ``runs/NAME/prompts.json``: list -> {content key: when its score was first seen}, oldest first.
"""

from __future__ import annotations

import time
from pathlib import Path

from kit.files import read_json, write_json
from kit.prompts.lists import NAMES, PromptList

FILE = "prompts.json"


def note_looked(folder: Path, prompts: PromptList) -> None:
    """Remember that a score of this version of the list was seen; the first look counts.

    Parameters
    ----------
    folder
        The competition's runs folder; hold it (`kit.files.hold`) where another process may note too.
    prompts
        The list as it was scored.
    """
    if prompts.name == NAMES:
        return
    ledger = _read(folder)
    seen = ledger.setdefault(prompts.name, {})
    if prompts.key not in seen:
        seen[prompts.key] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        write_json(folder / FILE, ledger)


def is_optimistic(folder: Path, prompts: PromptList) -> bool:
    """Return whether this version of the list was written after the score of another version was seen.

    Its CV is then measured on rows that had a say in its words. The generated list never is, nor is the first version
    that was looked at, also when it is gone back to.

    Parameters
    ----------
    folder
        The competition's runs folder.
    prompts
        The list as it is now.
    """
    if prompts.name == NAMES:
        return False
    seen = list(_read(folder).get(prompts.name, {}))  # a JSON object keeps its order
    return bool(seen) and seen[0] != prompts.key


def _read(folder: Path) -> dict[str, dict[str, str]]:
    return read_json(folder / FILE) or {}
