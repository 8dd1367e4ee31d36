"""Runs on disk: what decides a run, where it lies, which of its rounds was kept.

A run lies in ``runs/NAME/RUN/KEY/``, where KEY is the hash of all that decides its predictions: another setting is
another folder, nothing is overwritten, and a setting that was tried before is re-used. Rounds of pseudo labels are
runs of their own, ``RUN.0`` without any, ``RUN.1``, ``RUN.2``; ``RUN`` holds, fold by fold, the round that is kept.
Predictions made elsewhere lie in ``runs/NAME/RUN/imported/``.

Other wings import from here, the files of this one from each other.
"""

from kit.runs.store.find import find_result, find_run, result_at, settings_of
from kit.runs.store.imported import list_imported
from kit.runs.store.result import IMPORTED, Result, fold_folder, read_provenance
from kit.runs.store.score import commit, compare_runs, compare_with_the_best, decided_rows, oof_rows

__all__ = [
    "IMPORTED",
    "Result",
    "commit",
    "compare_runs",
    "compare_with_the_best",
    "decided_rows",
    "find_result",
    "find_run",
    "fold_folder",
    "list_imported",
    "oof_rows",
    "read_provenance",
    "result_at",
    "settings_of",
]
