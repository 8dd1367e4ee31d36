"""Predictions made elsewhere, in ``runs/NAME/RUN/imported/``: which count today, and why others do not."""

from __future__ import annotations

import numpy as np

from kit.files import key_of
from kit.prepare import Prepared
from kit.runs.result import IMPORTED, Result, read_facts


def list_imported(prepared: Prepared) -> list[str]:
    """Return the names of predictions that were imported for these folds."""
    own = ((name, read_import(prepared, name)) for name in _list_names(prepared))
    return [
        name
        for name, found in own
        if name not in prepared.competition.runs and found and what_is_gone(prepared, found) is None
    ]


def stale_imports(prepared: Prepared) -> dict[str, str]:
    """Return why imported predictions are used by nothing, and the remedy, by their name."""
    said = {}
    for name in _list_names(prepared):
        if name in prepared.competition.runs:
            said[name] = "has the name of a run, which counts; import it again under another"
        elif (own := read_import(prepared, name)) and (cause := what_is_gone(prepared, own)):
            said[name] = f"was imported for {cause}; import it again"
    return said


def read_import(prepared: Prepared, name: str) -> Result | None:
    """Return the predictions imported by a name, whatever they were made for, or None."""
    folder = prepared.competition.workspace.runs(prepared.competition.name) / name / IMPORTED
    facts = read_facts(folder)
    return Result(name, folder, facts) if facts else None


def what_is_gone(prepared: Prepared, own: Result) -> str | None:
    """Return what an import was made for and is gone by now, or None."""
    if own.facts["fold_key"] != prepared.fold_key:
        return "other folds or labels"
    then, now = own.facts.get("images_key"), import_images_key(prepared)
    same = own.facts.get("pool_key") == prepared.pool.key if then is None else then == now  # older ones know the pool
    return None if same else "other images"


def import_images_key(prepared: Prepared) -> str:
    """Return the key of the images that imported predictions are of: the scored and the test images' content."""
    pool, rows = prepared.pool, np.concatenate([prepared.labeled[prepared.scored_rows], prepared.split("test")])
    return key_of(list(pool.splits[rows]), list(pool.ids[rows]), list(pool.digests[rows]))


def _list_names(prepared: Prepared) -> list[str]:
    """Return the names of all imports."""
    home = prepared.competition.workspace.runs(prepared.competition.name)
    return sorted(file.parents[1].name for file in home.glob(f"*/{IMPORTED}/run.json"))
