"""Triage: the labels that are most likely wrong, laid out for a human; nothing is edited.

Reads a finished run's oof predictions and its encoder's features; writes ``runs/NAME/triage/``. What a human then
leaves out is left out of training folds alone: every row stays in the oof. File by file::

    quality.py  how believable a label is
    ranking.py  all labelled images that are scored, the most suspicious first
    writing.py  labels.csv, labels.png, outliers.png and made.json: written, and found again
    effect.py   what it is worth to leave images out of training
"""

from kit.curate.triage.effect import measure_exclusion
from kit.curate.triage.ranking import choose_run, rank_labels
from kit.curate.triage.writing import describe_images, find_sheets, is_of_today, triage_folder, write_triage

__all__ = [
    "choose_run",
    "describe_images",
    "find_sheets",
    "is_of_today",
    "measure_exclusion",
    "rank_labels",
    "triage_folder",
    "write_triage",
]
