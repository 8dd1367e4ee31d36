"""Searched: whether a run's settings are among those that `tune` scored on these folds.

Reads ``runs/NAME/tune/RUN/KEY/``: ``fits/KEY/scored.json`` is there for every setting that was scored on all folds,
KEY being the key of a run of these settings, and own.json names those that the run had before it was tuned. What was
picked by its score on the folds has, by that very score, an optimistic CV; a run's own values were picked by nobody.
"""

from __future__ import annotations

from pathlib import Path

from kit.files import read_json, write_json
from kit.prepare import Prepared

TUNE = "tune"  # below runs/NAME
FITS = "fits"
SCORED = "scored.json"
OWN = "own.json"


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


def was_searched(prepared: Prepared, key: str) -> bool:
    """Return whether a search scored the settings of a run's key on today's folds, and the run had others before."""
    home = prepared.competition.workspace.runs(prepared.competition.name) / TUNE
    studies = [scored.parents[2] for scored in home.glob(f"*/*/{FITS}/{key}/{SCORED}")]
    return any(key not in _read_own(study) for study in studies)


def _read_own(folder: Path) -> list[str]:
    """Return the keys that are noted as a run's own."""
    own = read_json(folder / OWN)
    return own if isinstance(own, list) else []
