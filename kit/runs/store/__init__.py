"""Runs on disk: what decides a run, where it lies, which of its rounds was kept.

A run lies in ``runs/NAME/RUN/KEY/``, where KEY is the hash of all that decides its predictions: another setting is
another folder, nothing is overwritten, and a setting that was tried before is re-used. Rounds of pseudo labels are
runs of their own, ``RUN.1``, ``RUN.2``. Predictions made elsewhere lie in ``runs/NAME/RUN/imported/``.
"""

from kit.runs.store.find import (
    DROPPED,
    KEPT,
    MISSING,
    SPLITS,
    Round,
    find_result,
    find_run,
    find_usable,
    pool_predictions,
    result_at,
    rounds_of,
    run_key,
    runs_of_other_folds,
    settings_of,
    teachers_of,
    walk_rounds,
)
from kit.runs.store.imported import import_images_key, list_imported, stale_imports
from kit.runs.store.result import (
    EVERYTHING,
    IMPORTED,
    Result,
    RunRecord,
    Thresholds,
    fold_folder,
    read_provenance,
    read_record,
    read_result,
    run_folder,
    write_result,
)
from kit.runs.store.score import commit, compare_runs, decided_rows, describe_run, is_worse, oof_rows, score_anew

__all__ = [
    "DROPPED",
    "EVERYTHING",
    "IMPORTED",
    "KEPT",
    "MISSING",
    "SPLITS",
    "Result",
    "Round",
    "RunRecord",
    "Thresholds",
    "commit",
    "compare_runs",
    "decided_rows",
    "describe_run",
    "find_result",
    "find_run",
    "find_usable",
    "fold_folder",
    "import_images_key",
    "is_worse",
    "list_imported",
    "oof_rows",
    "pool_predictions",
    "read_provenance",
    "read_record",
    "read_result",
    "result_at",
    "rounds_of",
    "run_folder",
    "run_key",
    "runs_of_other_folds",
    "score_anew",
    "settings_of",
    "stale_imports",
    "teachers_of",
    "walk_rounds",
    "write_result",
]
