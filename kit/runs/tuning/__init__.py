"""Tuning: search a run's settings on its folds, then say on other folds whether that helped.

Writes ``runs/NAME/tune/RUN/KEY/``: study.db, Optuna's trials, and ``fits/``, each setting's predictions of the folds.
KEY is the hash of all that decides a trial but the searched values themselves, so trials of other data, folds, spaces
or seeds never mix, and the same call goes on where a kill, a time limit or fewer `--trials` ended the one before.

The best value of a search is optimistic: it is the best of many on the very rows that chose it. What is reported beside
it is measured on folds of another seed, each of which is predicted with the setting that its rows had no part in
choosing (`kit.runs.tuning.honest`).
"""

from kit.runs.tuning.render import render
from kit.runs.tuning.report import Tuned, tune, tuned_name
from kit.runs.tuning.space import read_space
from kit.runs.tuning.study import study_folder

__all__ = ["Tuned", "read_space", "render", "study_folder", "tune", "tuned_name"]
